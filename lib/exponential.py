"""The exponential map, from a Lie algebra to its group."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lib.precision import autocast_off, working

# A Taylor series is summed up to this norm: beyond it float32 loses digits to cancellation (e^2 * eps is 9e-7).
RADIUS = 2.0
# Squarings done where no bound is known: norms up to RADIUS * 2**10 = 2048 are exact, beyond it the result is NaN.
MAX_SQUARINGS = 10
# A bound may be passed by so many units of the last place: of coefficients and a basis rounded to their dtype it is no broken promise.
ROUNDINGS = 8


def taylor_degree(radius: float, dtype: torch.dtype) -> int:
    """The least D with radius^D / D! below half a unit of the last place.

    What the series leaves out is then rounding in the value, and in the derivatives too, whose terms are those of one degree less.
    """
    degree, remainder = 1, radius
    while remainder > 0.5 * torch.finfo(dtype).eps:
        degree += 1
        remainder *= radius / degree
    return degree


@autocast_off
def matrix_exp(matrices: Float[Tensor, "*batch n n"], bound: float | None = None) -> Float[Tensor, "*batch n n"]:
    """exp(A) by Taylor scaling and squaring: exp(A) = exp(A / 2^s)^(2^s), s from each matrix's own Frobenius norm.

    The number of squarings is fixed by `bound`, an upper bound of the norms, or by `MAX_SQUARINGS` without one; a matrix that
    needs fewer keeps its value. Nothing reads the norm on the host, so it runs under `vmap` and in a CUDA graph. A norm beyond
    the bound gives NaN, never a wrong matrix.

    Source: Ours: `torch.linalg.matrix_exp` synchronises with the host and costs several times more for small matrices.
    """
    if matrices.dtype != working(matrices.dtype):
        return through_float32(matrix_exp, matrices, bound=bound)
    squarings = MAX_SQUARINGS if bound is None else max(0, math.ceil(math.log2(max(bound, RADIUS) / RADIUS)))
    norm = torch.linalg.matrix_norm(matrices.detach(), keepdim=True)
    needed = torch.log2(norm / (RADIUS * (1 + ROUNDINGS * torch.finfo(norm.dtype).eps))).ceil().clamp(min=0.0)
    scaled = matrices * torch.exp2(-needed.clamp(max=float(squarings)))

    degree = taylor_degree(RADIUS, matrices.dtype)
    block = math.ceil(math.sqrt(degree))  # Paterson-Stockmeyer: about 2 sqrt(D) products in place of D
    powers = [torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device).expand_as(scaled)]
    for _ in range(block):
        powers.append(scaled if len(powers) == 1 else powers[-1] @ scaled)
    result = None
    for start in range(block * (degree // block), -1, -block):
        group = sum(
            (powers[k] * (1.0 / math.factorial(start + k)) for k in range(1, min(block, degree - start + 1))),
            powers[0] * (1.0 / math.factorial(start)),
        )
        result = group if result is None else powers[block] @ result + group

    for i in range(squarings):
        result = torch.where(needed > i, result @ result, result)
    return torch.where(needed <= squarings, result, torch.nan)


@autocast_off
def exp_map(
    coefficients: Float[Tensor, "*batch c"], generators: Float[Tensor, "C n m"], bound: float | None = None
) -> Float[Tensor, "*batch n n"]:
    """Group elements g = exp(sum_c w_c L_c).

    For one generator and a known `bound` of |w| ||L||_F, all samples share the powers of L: the interval [-bound, bound] is cut into
    cells with centres t_j, and exp(t L) = sum_k (t - t_j)^k / k! * exp(t_j L) L^k is one matrix product of the coefficients with a
    small table. Several generators, or no bound, go through `matrix_exp`.

    Parameters
    ----------
    bound : upper bound of the Frobenius norm of sum_c w_c L_c. It is a promise: where it is broken the result is NaN.

    Raises
    ------
    ValueError : the last axis of `coefficients` is not the number of generators, or a generator is not square.

    Source: SEMoLA sec. 4.1; shared powers: Ours, for speed (benchmarks/exp_map.py).
    """
    if generators.ndim != 3 or generators.shape[-1] != generators.shape[-2]:
        raise ValueError(f"generators must have shape (C, n, n), got {tuple(generators.shape)}: stack C square matrices")
    if coefficients.shape[-1] != len(generators):
        raise ValueError(f"{len(generators)} generators need as many coefficients in the last axis, got {coefficients.shape[-1]}")
    if coefficients.dtype != working(coefficients.dtype):
        return through_float32(exp_map, coefficients, generators, bound=bound)
    if len(generators) > 1 or bound is None:
        return matrix_exp(torch.einsum("...c,cij->...ij", coefficients, generators), bound)

    n, cells = generators.shape[-1], max(1, math.ceil(bound / RADIUS))
    half_width = bound / cells
    degree = taylor_degree(half_width, coefficients.dtype)

    # Any constant scale is exact in value and gradient; with this one |t| <= bound is the promise.
    scale = torch.linalg.matrix_norm(generators[0].detach())
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    t = coefficients[..., 0] * scale
    table = powers_of(generators[0] / scale, degree + 1)
    if cells > 1:
        table = centres(table, half_width, cells)[:, None] @ table

    cell = ((t.detach() + bound) / (2 * half_width)).floor().clamp(0, cells - 1)
    inside = cell[..., None] == torch.arange(cells, dtype=t.dtype, device=t.device)
    r = t - (2 * cell + 1 - cells) * half_width  # rounded as the centres are
    weights = torch.stack([torch.ones_like(r), r], -1)
    while weights.shape[-1] <= degree:  # powers by doubling, as of the generator
        r = r * r
        weights = torch.cat([weights, weights * r[..., None]], -1)
    weights = weights[..., : degree + 1] * factorials(degree, 1.0, r)
    if cells > 1:
        weights = (inside[..., :, None] * weights[..., None, :]).flatten(-2)
    result = (weights.reshape(-1, weights.shape[-1]) @ table.reshape(-1, n * n)).reshape(*t.shape, n, n)
    kept = t.detach().abs() <= bound * (1 + ROUNDINGS * torch.finfo(t.dtype).eps)
    return torch.where(kept[..., None, None], result, torch.nan)


def powers_of(matrix: Float[Tensor, "*batch n n"], count: int) -> Float[Tensor, "*batch count n n"]:
    """A^0, A^1 to A^(count - 1), by doubling: two products for twice as many."""
    found = torch.stack([torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix), matrix], -3)
    while found.shape[-3] < count:
        matrix = matrix @ matrix
        found = torch.cat([found, found @ matrix.unsqueeze(-3)], -3)
    return found[..., :count, :, :]


def factorials(degree: int, t: float, like: Tensor) -> Float[Tensor, " D"]:
    """t^k / k! for k up to the degree."""
    return torch.tensor([t**k / math.factorial(k) for k in range(degree + 1)], dtype=like.dtype, device=like.device)


def centres(powers: Float[Tensor, "D n n"], half_width: float, cells: int) -> Float[Tensor, "cells n n"]:
    """exp(t_j L) at the middles t_j of as many cells of that half width, either side of 0, from the powers of L.

    A step from one to the next multiplies by exp(2 half_width L); each side goes outwards from the middle, so that nothing is divided.
    """
    terms = torch.stack([factorials(len(powers) - 1, sign * half_width, powers) for sign in (-1, 1)])
    step = (terms @ powers.flatten(1)).view(2, *powers.shape[1:])
    far = step @ step
    sides = (powers_of(far, cells // 2 + 1)[:, 1:]) if cells % 2 else powers_of(far, cells // 2) @ step.unsqueeze(1)
    return torch.cat([sides[0].flip(0), *([powers[:1]] if cells % 2 else []), sides[1]])


def through_float32(exponential: Callable, *halves: Tensor, bound: float | None) -> Tensor:
    """An exponential of arguments in half precision."""
    dtype = halves[0].dtype
    bound = None if bound is None else bound * (1 + ROUNDINGS * torch.finfo(dtype).eps)
    return exponential(*(half.float() for half in halves), bound).to(dtype)
