"""Measures: equivariance errors E and E' of a predictor, scores of a discovered basis, task metrics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.actions import Action, trivially
from lib.groups import bracket

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
            norms += difference.flatten(1).norm(dim=1) / samples
        return gap.flatten(1).norm(dim=1).mean().item(), norms.mean().item()


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


def basis_cosine(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "C n n"]) -> float:
    """Mean over the generators of |cos(L_c, L_GT,c)|, each true generator with its best unused match. Source: SEMoLA sec. 5."""
    similarity = (flat_unit(basis) @ flat_unit(truth).T).abs()
    return torch.stack([similarity[i, j] for i, j in match(similarity)]).mean().item()


def basis_mae(basis: Float[Tensor, "C n n"], truth: Float[Tensor, "C n n"]) -> float:
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
    coordinates and over each block alone, and the smallest counts: a generator that turns positions and forgets momenta scores 0.

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


# ------------------------------------------------------------------------------------------------------- task metrics


def accuracy(output: Float[Tensor, "B classes"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Share of samples, in percent, whose largest output is the label's."""
    return 100.0 * (output.argmax(-1) == y).to(output.dtype).mean()
