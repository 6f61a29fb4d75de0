"""Measures: equivariance errors E and E' of a predictor, scores of a discovered basis, task metrics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.actions import Action, trivially
from lib.draws import uniform
from lib.exponential import exp_map
from lib.groups import bracket, normalised
from lib.precision import autocast_off, working

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
        dtype = working(fx.dtype)
        gap, norms = torch.zeros_like(fx, dtype=dtype), torch.zeros(len(x), dtype=dtype, device=fx.device)
        for _ in range(samples):
            g = group_elements(len(x)).unsqueeze(1)
            difference = (rho_y(g, fx).squeeze(1) - predict(rho_x(g, x).squeeze(1))).to(dtype)
            gap += difference / samples
            norms += difference.reshape(len(x), -1).norm(dim=1) / samples
        return gap.reshape(len(x), -1).norm(dim=1).mean().item(), norms.mean().item()


def there_and_back(rho_x: Action) -> Action:
    """x -> g^-1 (g x): no transformation at all but for what interpolation loses. With it in the place of rho_x and an invariant
    output, E and E' are the interpolation floor: what even an exactly invariant network would be charged. Ours."""

    @autocast_off
    def act(g: Float[Tensor, "B 1 n n"], x: Tensor) -> Tensor:
        inverse = torch.linalg.inv(g.to(working(g.dtype))).to(g.dtype)
        return rho_x(inverse, rho_x(g, x).squeeze(1))

    return act


# --------------------------------------------------------------------------------------------- scores of a found basis

# Of unit generators, or of their vector fields, a direction smaller than this share of the largest is none: two generators nearer than
# 11 degrees are one, as a single one scores above 0.99 (found) at less than 8 degrees from the truth. Ours.
ALIKE = 0.1


def unit(basis: Float[Tensor, "C n n"]) -> Float[Tensor, "C n n"]:
    """Each generator at Frobenius norm one, in float64; one with a NaN or an infinite entry is none, and zero."""
    finite = basis.isfinite().all(-1).all(-1)
    return normalised(torch.where(finite[:, None, None], basis.double(), 0.0), 1)


def basis_cosine(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"]) -> float:
    """Mean of |cos(L_c, L_GT,c)| over max(C, D) pairs, see `matched`: a missing or surplus generator counts 0.

    Source: SEMoLA sec. 5, where C = D; the other counts are Ours.
    """
    found, known, _ = matched(basis, truth)
    return (found * known).sum(1).mean().item()


def basis_mae(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"]) -> float:
    """Mean |entry difference| of the pairs of `matched`, at the ground truth's Frobenius norms; zero is the other of a missing or
    surplus generator.

    Source: SEMoLA sec. 5; the alignment of norm and sign, and counts other than C = D, are Ours: the paper does not state one.
    """
    found, known, order = matched(basis, truth)
    size = truth.double().flatten(1).norm(dim=1)
    size = torch.cat([size, size.mean().expand(len(known) - len(size))])[order]  # of a surplus generator the mean
    return ((found - known).abs().mean(1) * size).mean().item()


def matched(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"]) -> tuple[Tensor, Tensor, Tensor]:
    """Unit generators in max(C, D) pairs (found, true), greedily by |cosine|, each used once and at the better sign, and the true ones'
    places; zeros stand for those that one side has not."""
    found, known = unit(basis).flatten(1), unit(truth).flatten(1)
    found, known = (torch.nn.functional.pad(a, (0, 0, 0, max(0, len(b) - len(a)))) for a, b in ((found, known), (known, found)))
    cosine, pairs = found @ known.T, []
    left = cosine.abs()
    for _ in cosine:
        i, j = divmod(int(left.argmax()), len(known))
        pairs.append((i, j))
        left[i, :], left[:, j] = -1.0, -1.0
    i, j = torch.tensor(pairs, device=cosine.device).T
    return torch.where(cosine[i, j] < 0, -1.0, 1.0)[:, None] * found[i], known[j], j


def dimension(basis: Float[Tensor, "C n n"]) -> int:
    """Number of generators that differ: the numerical rank of the unit generators, singular values above `ALIKE` of the largest."""
    return len(orthonormal(unit(basis).flatten(1), ALIKE))


def inclusions(
    basis: Float[Tensor, "C n n"],
    truth: Float[Tensor, "D n n"],
    points: Float[Tensor, "N n"],
    blocks: Mapping[str, list[int]] | None = None,
) -> tuple[float, float]:
    """How far the found generators lie in the true ones' span, and the true in the found ones', by what they do to the data.

    Each is the smallest cosine between the vector fields x -> L x of the one and the span of the other's over the data: 0 for the first
    where there are surplus generators, for the second where some are missing. Each block of coordinates (a physical quantity: positions,
    momenta) is scaled to unit variance; it is taken over all coordinates and over each block alone, and the smallest counts: a generator
    that turns positions and does not move momenta scores 0. Blocks that turn at different speeds lower the score over all coordinates
    only: 0.95 at half speed, 0.99 bounds the ratio to 0.75-1.33.

    Ours: a cosine of matrices rejects true symmetries that act alike on the data (SEMoLA A.4.5).
    """
    points = points.double()
    fields = [torch.einsum("cij,pj->cpi", unit(b).to(points.device), points) for b in (basis, truth)]
    scaled = []
    for rows in (blocks or {"all": list(range(points.shape[1]))}).values():
        spread = points[:, rows].std().clamp(min=torch.finfo(points.dtype).tiny)
        scaled.append([(field[:, :, rows] / spread).flatten(1) for field in fields])
    scaled.append([torch.cat(parts, 1) for parts in zip(*scaled, strict=True)])
    return min(smallest_cosine(found, known) for found, known in scaled), min(smallest_cosine(known, found) for found, known in scaled)


def principal_angles(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "D n n"], points: Float[Tensor, "N n"]) -> Float[Tensor, " D"]:
    """The angles between the spans of the vector fields x -> L x of the two over the data, in degrees, the smallest first: all 0 where they
    do the same to it. A true direction without a found one is at 90; surplus ones do not count, `inclusions` sees them. Ours."""
    points = points.double()
    found, known = (orthonormal(torch.einsum("cij,pj->cpi", unit(b).to(points.device), points).flatten(1), ALIKE) for b in (basis, truth))
    cosines = torch.linalg.svdvals(found @ known.T).clamp(max=1.0)
    return torch.rad2deg(torch.nn.functional.pad(cosines, (0, len(known) - len(cosines))).acos())


def action_score(
    basis: Float[Tensor, "C n n"],
    truth: Float[Tensor, "D n n"],
    points: Float[Tensor, "N n"],
    blocks: Mapping[str, list[int]] | None = None,
) -> float:
    """The smaller of both `inclusions`: 1 where the spans act alike, 0 with a missing or a surplus generator. Ours."""
    return min(inclusions(basis, truth, points, blocks))


def smallest_cosine(inner: Float[Tensor, "C m"], outer: Float[Tensor, "D m"]) -> float:
    """Cosine of the largest angle of a vector of the inner span with the outer span; 0 for a zero or a larger inner span."""
    q_inner, q_outer = orthonormal(inner, ALIKE), orthonormal(outer, ALIKE)
    if not 0 < len(q_inner) <= len(q_outer):
        return 0.0
    return torch.linalg.svdvals(q_inner @ q_outer.T).min().clamp(max=1.0).item()


def orthonormal(vectors: Float[Tensor, "C m"], tolerance: float = 1e-6) -> Float[Tensor, "R m"]:
    """An orthonormal basis of the rows' span, directions below `tolerance` of the largest left out."""
    _, values, directions = torch.linalg.svd(vectors, full_matrices=False)
    return directions[values > tolerance * values.max().clamp(min=torch.finfo(vectors.dtype).tiny)]


def bracket_closure(basis: Float[Tensor, "C n n"]) -> float:
    """max over pairs of || [L_i, L_j] - its projection on span(L) ||_F / (||L_i|| ||L_j||): 0 for a closed algebra, at most sqrt 2, which
    a basis with a NaN or an infinite entry has. Ours."""
    if not basis.isfinite().all():
        return math.sqrt(2)
    basis = unit(basis)
    q = orthonormal(basis.flatten(1))
    brackets = [bracket(a, b).flatten() for a, b in itertools.combinations(basis, 2)]
    return max(((b - (b @ q.T) @ q).norm().item() for b in brackets), default=0.0)


# -------------------------------------------------------------------------------------- is it a symmetry of a known law


@autocast_off
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
        speed = (moved.square().mean() / x.square().mean()).sqrt()  # at 0 all is NaN
        g = exp_map(w, element.unsqueeze(0) / speed)
        gap = (law(rho_x(g, x).squeeze(1)) - rho_y(g, known).squeeze(1)).reshape(len(x), -1).norm(dim=1)
        scale = known.reshape(len(x), -1).norm(dim=1).square().mean().sqrt()
        worst = max(worst, (gap / scale).nan_to_num(nan=2.0).clamp(max=2.0).median().item())
    return worst


@autocast_off
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
    return (unit(basis).flatten(1) @ algebra.double().flatten(1).T).square().sum(1).min().item()


# ------------------------------------------------------------------------------------------------------- task metrics


def accuracy(output: Float[Tensor, "B classes"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Share of samples, in percent, whose largest output is the label's."""
    return 100.0 * (output.argmax(-1) == y).to(output.dtype).mean()


def mean_squared_error(output: Float[Tensor, "B *shape"], y: Float[Tensor, "B *shape"]) -> Float[Tensor, ""]:
    """Mean over samples and entries of (output - y)^2, in the square of their units."""
    return (output - y).square().mean()


def trimmed_squared_error(output: Float[Tensor, "B *shape"], y: Float[Tensor, "B *shape"], share: float) -> Float[Tensor, ""]:
    """The mean squared error without the ceil(share B) samples that err most, at most all but one: wrong targets are among them.

    Source: least trimmed squares, Rousseeuw (1984), here of each batch.
    """
    errors = (output - y).square().flatten(1).mean(1)
    return errors.sort().values[: max(1, len(errors) - math.ceil(share * len(errors)))].mean()
