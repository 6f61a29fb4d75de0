"""Measures: equivariance errors E and E' of a predictor, scores of a discovered basis, task metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.actions import Action, trivially
from lib.groups import bracket, exp_map, uniform

Predictor = Callable[[Tensor], Tensor]

# ------------------------------------------------------------------------------------------------ equivariance errors


def equivariance_errors(
    predict: Predictor,
    x: Float[Tensor, "B *shape"],
    group_elements: Callable[[int], Float[Tensor, "B n n"]],
    samples: int = 100,
    *,
    rho_x: Action,
    rho_y: Action = trivially,
) -> tuple[float, float]:
    """E = mean_x || mean_i rho(g_i) f(x) - mean_i f(g_i x) ||_2 and E' = mean_x mean_i || f(g_i x) - rho(g_i) f(x) ||_2.

    One set of M = `samples` group elements a sample serves both, so E <= E' by the triangle inequality.

    Parameters
    ----------
    group_elements : draws one element for each of the B samples, called M times.

    Source: SEMoLA eqs. (3)-(4), REMUL eqs. (12)-(13), M = 100.
    """
    with torch.no_grad():
        fx = predict(x)
        gap, norms = torch.zeros_like(fx), torch.zeros(len(x), dtype=fx.dtype, device=fx.device)
        for _ in range(samples):
            g = group_elements(len(x)).unsqueeze(1)
            difference = rho_y(g, fx).squeeze(1) - predict(rho_x(g, x).squeeze(1))
            gap += difference / samples
            norms += difference.reshape(len(x), -1).norm(dim=1) / samples
        return gap.reshape(len(x), -1).norm(dim=1).mean().item(), norms.mean().item()


def there_and_back(rho_x: Action) -> Action:
    """x -> g^-1 (g x): no transformation at all but for what interpolation loses. With it in the place of rho_x and an invariant
    output, E and E' are the interpolation floor: what even an exactly invariant network would be charged. Ours."""

    def act(g: Float[Tensor, "B 1 n n"], x: Tensor) -> Tensor:
        return rho_x(torch.linalg.inv(g), rho_x(g, x).squeeze(1))

    return act


# --------------------------------------------------------------------------------------------- scores of a found basis


def flat_unit(basis: Float[Tensor, "C n n"]) -> Float[Tensor, "C m"]:
    """Each generator as a vector of length one."""
    return torch.nn.functional.normalize(basis.flatten(1), dim=1)


def basis_cosine(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"]) -> float:
    """Mean over the generators of |cos(L_c, L_GT,c)|, each true generator with its best unused match. Source: SEMoLA sec. 5."""
    similarity = (flat_unit(basis) @ flat_unit(truth).T).abs()
    return torch.stack([similarity[i, j] for i, j in match(similarity)]).mean().item()


def basis_mae(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"]) -> float:
    """Mean |entry difference| to the ground truth, at the ground truth's Frobenius norm and with the better sign.

    Source: SEMoLA sec. 5; the alignment of norm and sign is Ours, the paper does not state one.
    """
    found, known = flat_unit(basis), flat_unit(truth)
    size = truth.flatten(1).norm(dim=1)
    cosine = found @ known.T
    gaps = [(found[i] * cosine[i, j].sign() - known[j]).abs().mean() * size[j] for i, j in match(cosine.abs())]
    return torch.stack(gaps).mean().item()


def match(similarity: Float[Tensor, "C D"]) -> list[tuple[int, int]]:
    """Pairs of found and true generators, greedily by similarity, each used once."""
    pairs, left = [], similarity.clone()
    for _ in range(min(similarity.shape)):
        i, j = divmod(int(left.argmax()), similarity.shape[1])
        pairs.append((i, j))
        left[i, :], left[:, j] = -1.0, -1.0
    return pairs


def action_score(
    basis: Float[Tensor, "C n n"],
    truth: Float[Tensor, "D n n"],
    points: Float[Tensor, "N n"],
    blocks: dict[str, list[int]] | None = None,
) -> float:
    """Smallest cosine between the vector fields x -> L x and x -> L_GT x over the data: principal angles between their spans.

    Each block of coordinates (a physical quantity: positions, momenta) is scaled to unit variance; the score is taken over all
    coordinates and over each block alone, and the smallest counts: a generator that turns positions and does not move momenta scores 0.
    Blocks that turn at different speeds lower the score over all coordinates only: 0.95 at half speed, 0.99 bounds the ratio to 0.75-1.33.

    Ours: a cosine of matrices rejects true symmetries that act alike on the data (SEMoLA A.4.5).
    """
    blocks = blocks or {"all": list(range(points.shape[1]))}
    fields = [torch.einsum("cij,pj->cpi", b.to(points), points) for b in (basis, truth)]
    scores = []
    scaled = []
    for rows in blocks.values():
        spread = points[:, rows].std().clamp(min=torch.finfo(points.dtype).tiny)
        found, known = (field[:, :, rows] / spread for field in fields)
        scaled.append((found.flatten(1), known.flatten(1)))
        scores.append(smallest_cosine(*scaled[-1]))
    scores.append(smallest_cosine(*(torch.cat(parts, 1) for parts in zip(*scaled, strict=True))))
    return min(scores)


def smallest_cosine(found: Float[Tensor, "C m"], known: Float[Tensor, "D m"]) -> float:
    """Cosine of the largest principal angle between two spans; 0 where one is a point of the other's complement."""
    q_found, q_known = orthonormal(found), orthonormal(known)
    if min(len(q_found), len(q_known)) < min(len(found), len(known)):
        return 0.0
    return torch.linalg.svdvals(q_found @ q_known.T).min().clamp(max=1.0).item()


def orthonormal(vectors: Float[Tensor, "C m"]) -> Float[Tensor, "R m"]:
    """An orthonormal basis of the rows' span, directions below 1e-6 of the largest left out."""
    _, values, directions = torch.linalg.svd(vectors, full_matrices=False)
    return directions[values > 1e-6 * values.max().clamp(min=torch.finfo(vectors.dtype).tiny)]


def bracket_closure(basis: Float[Tensor, "C n n"]) -> float:
    """max over pairs of || [L_i, L_j] - its projection on span(L) ||_F / (||L_i|| ||L_j||): 0 for a closed algebra. Ours."""
    q = orthonormal(basis.flatten(1))
    residual = 0.0
    for i in range(len(basis)):
        for j in range(i):
            b = bracket(basis[i], basis[j]).flatten()
            outside = b - (b @ q.T) @ q
            residual = max(residual, (outside.norm() / (basis[i].norm() * basis[j].norm())).item())
    return residual


# -------------------------------------------------------------------------------------- is it a symmetry of a known law


def symmetry_residual(
    law: Predictor, basis: Float[Tensor, "C n n"], x: Float[Tensor, "B *shape"], generator: torch.Generator, *, rho_x: Action, rho_y: Action
) -> float:
    """Median over samples of || law(g x) - rho(g) law(x) ||, over the root mean square of || law(x) ||; of the worst generator.

    g = exp(w L / v), w ~ U(-1, 1), with v the speed of L on the data, rms ||L x|| / rms ||x||: every generator moves the data by as much,
    a rotation of all coordinates by up to one radian. A median, and a sample counts as 2 at most (an opposite), because a generator that is
    no symmetry can move a sample onto a pole of the law; a generator that moves no data scores 2: it is no discovery. The actions must be
    linear in g (vectors and stacks of vectors). Ours: unlike a cosine it does not know the answer beforehand.
    """
    known, worst = law(x), 0.0
    w = uniform((len(x), 1, 1), -1.0, 1.0, generator, x.dtype)
    for element in basis.to(x.dtype):
        moved = rho_x(element.expand(len(x), 1, *element.shape), x)
        speed = (moved.square().mean() / x.square().mean()).sqrt().clamp(min=torch.finfo(x.dtype).tiny)
        g = exp_map(w, element.unsqueeze(0) / speed)
        gap = (law(rho_x(g, x).squeeze(1)) - rho_y(g, known).squeeze(1)).reshape(len(x), -1).norm(dim=1)
        scale = known.reshape(len(x), -1).norm(dim=1).square().mean().sqrt()
        worst = max(worst, (gap / scale).nan_to_num(nan=2.0).clamp(max=2.0).median().item())
    return worst


def symmetry_algebra(
    law: Predictor, x: Float[Tensor, "B *shape"], n: int, *, rho_x: Action, rho_y: Action = trivially, tolerance: float = 1e-8
) -> Float[Tensor, "R n n"]:
    """An orthonormal basis of all linear symmetries of a law: {L : d/dw [law(exp(wL) x) - rho(exp(wL)) law(x)] = 0 at w = 0 for every x}.

    The derivative is linear in L: its null space over the samples, singular values below `tolerance` of the largest. Use float64, and
    a few times n^2 samples. rho_y is the trivial action or acts as rho_x does. Ours.
    """
    columns = []
    for i, j in itertools.product(range(n), range(n)):
        element = torch.zeros(1, 1, n, n, dtype=x.dtype, device=x.device)
        element[..., i, j] = 1.0
        element = element.expand(len(x), 1, n, n)
        known, change = torch.autograd.functional.jvp(law, x, rho_x(element, x).squeeze(1))
        if rho_y is not trivially:
            change = change - rho_y(element, known).squeeze(1)
        columns.append(change.flatten())
    _, values, directions = torch.linalg.svd(torch.stack(columns, 1), full_matrices=True)
    values = torch.nn.functional.pad(values, (0, n * n - len(values)))
    return directions[values <= tolerance * values.max()].unflatten(1, (n, n))


def share_inside(basis: Float[Tensor, "C n n"], algebra: Float[Tensor, "R n n"]) -> float:
    """The least ||P L||^2 / ||L||^2 of the generators, P the projection on the algebra's span; R / n^2 by chance. Ours."""
    unit = flat_unit(basis)
    return (unit @ algebra.flatten(1).to(unit).T).square().sum(1).min().item()


# ------------------------------------------------------------------------------------------------------- task metrics


def accuracy(output: Float[Tensor, "B classes"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Share of samples, in percent, whose largest output is the label's."""
    return 100.0 * (output.argmax(-1) == y).to(output.dtype).mean()


def mean_squared_error(output: Float[Tensor, "B *shape"], y: Float[Tensor, "B *shape"]) -> Float[Tensor, ""]:
    """Mean over samples and entries of (output - y)^2, in the square of their units."""
    return (output - y).square().mean()
