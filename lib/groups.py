"""Matrix Lie groups: bases of Lie algebras, the exponential map, samplers, and the bracket.

A basis is a tensor of generators, shape (C, n, n). Angles are in radians.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# A Taylor series is summed up to this norm: beyond it float32 loses digits to cancellation (e^2 * eps is 9e-7).
RADIUS = 2.0
# Squarings done where no bound is known: norms up to RADIUS * 2**10 = 2048 are exact, beyond it the result is NaN.
MAX_SQUARINGS = 10
# A bound may be passed by so many units of the last place: of coefficients and a basis rounded to their dtype it is no broken promise.
ROUNDINGS = 8


# --------------------------------------------------------------------------------------------------------- precision


def autocast_off(function: Callable) -> Callable:
    """The function with `torch.autocast` off on its arguments' device: its products keep their dtype.

    Ours: in bfloat16 g^-1 g is off the identity by 2e-2, and data moved by g are no longer the group's.
    """

    @functools.wraps(function)
    def precise(*args, **kwargs):
        devices = (a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor | torch.Generator))
        with torch.autocast(next(devices, "cpu"), enabled=False):
            return function(*args, **kwargs)

    return precise


def working(dtype: torch.dtype) -> torch.dtype:
    """The precision to compute in: float32 for half precision, whose results are rounded once, at the end."""
    return torch.promote_types(dtype, torch.float32)


def through_float32(exponential: Callable, *halves: Tensor, bound: float | None) -> Tensor:
    """An exponential of arguments in half precision."""
    dtype = halves[0].dtype
    bound = None if bound is None else bound * (1 + ROUNDINGS * torch.finfo(dtype).eps)
    return exponential(*(half.float() for half in halves), bound).to(dtype)


# ---------------------------------------------------------------------------------------------- bases of generators


def elementary(n: int, i: int, j: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n n"]:
    """The matrix E_ij: one at row i, column j, zero elsewhere."""
    matrix = torch.zeros(n, n, dtype=dtype)
    matrix[i, j] = 1.0
    return matrix


def so(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "C n n"]:
    """Rotations in n dimensions: E_ji - E_ij for i < j, C = n(n-1)/2; exp(w L) turns axis i towards axis j by w radians.

    Source: SEMoLA sec. 3 (Lie groups); for n = 2 the generator is J = [[0, -1], [1, 0]].
    """
    if n < 2:
        raise ValueError(f"so(n) needs n >= 2, got n = {n}: choose the dimension of the space that is rotated")
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    return torch.stack([elementary(n, j, i, dtype=dtype) - elementary(n, i, j, dtype=dtype) for i, j in pairs])


def affine(generators: Float[Tensor, "C n n"]) -> Float[Tensor, "C m m"]:
    """Linear generators as generators of homogeneous coordinates: [[L, 0], [0, 0]]."""
    return torch.nn.functional.pad(generators, (0, 1, 0, 1))


def translations(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n m m"]:
    """The n translations of homogeneous coordinates: E_in, so that exp(w L) moves axis i by w."""
    return torch.stack([elementary(n + 1, i, n, dtype=dtype) for i in range(n)])


def se(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "C m m"]:
    """Rotations, then translations, of homogeneous coordinates: C = n(n+1)/2."""
    return torch.cat([affine(so(n, dtype=dtype)), translations(n, dtype=dtype)])


def affine_mask(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, "m m"]:
    """The entries a generator of homogeneous coordinates may use: all but the last row (six of nine for images).

    Source: SEMoLA sec. 5.1, "the six-dimensional space of 2D affine transformations".
    """
    mask = torch.ones(n + 1, n + 1, dtype=dtype)
    mask[-1] = 0.0
    return mask


def affine_family(*, dtype: torch.dtype = torch.float32) -> Float[Tensor, "6 3 3"]:
    """Six generators that span the affine maps of the plane: both translations (times 0.1), rotation, scaling, stretch and shear.

    Source: Augerino (Benton et al. 2020), its two-dimensional module.
    """
    e = [[elementary(2, i, j, dtype=dtype) for j in range(2)] for i in range(2)]
    linear = [e[1][0] - e[0][1], e[0][0] + e[1][1], e[0][0] - e[1][1], e[0][1] + e[1][0]]
    return torch.cat([0.1 * translations(2, dtype=dtype), affine(torch.stack(linear))])


@autocast_off
def bracket(a: Float[Tensor, "*batch n n"], b: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The Lie bracket [a, b] = ab - ba."""
    return a @ b - b @ a


@autocast_off
def normalised(generators: Float[Tensor, "C n n"], norm: int | float | None = None) -> Float[Tensor, "C n n"]:
    """Each generator at the Frobenius norm `norm`, sqrt n by default, however large or small it is.

    A zero matrix stays zero, and there the gradient is the identity's: finite, so that it can learn. Ours.
    """
    norm = math.sqrt(generators.shape[-1]) if norm is None else norm
    largest = generators.detach().abs().amax((-2, -1), keepdim=True)
    unit = generators / torch.where(largest > 0, largest, 1.0)  # its squares neither vanish nor overflow
    size = torch.linalg.matrix_norm(torch.where(largest > 0, unit, 1.0), keepdim=True)
    return unit * torch.where(largest > 0, norm / size, 1.0)


# -------------------------------------------------------------------------------------------------- exponential map


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
    centres = torch.arange(1 - cells, cells, 2, dtype=coefficients.dtype, device=coefficients.device) * half_width
    degree = taylor_degree(half_width, coefficients.dtype)

    # Any constant scale is exact in value and gradient; with this one |t| <= bound is the promise.
    scale = torch.linalg.matrix_norm(generators[0].detach())
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    unit, t = generators[0] / scale, coefficients[..., 0] * scale
    powers = [torch.eye(n, dtype=unit.dtype, device=unit.device)]
    for _ in range(degree):
        powers.append(powers[-1] @ unit)
    table = torch.stack(powers)
    if cells > 1:
        table = torch.einsum("jab,kbc->jkac", matrix_exp(centres[:, None, None] * unit, bound), table)

    cell = ((t.detach() + bound) / (2 * half_width)).floor().clamp(0, cells - 1)
    inside = cell[..., None] == torch.arange(cells, dtype=t.dtype, device=t.device)
    r = t - (2 * cell + 1 - cells) * half_width  # rounded as the centres are
    terms = [torch.ones_like(r)]
    for k in range(1, degree + 1):
        terms.append(terms[-1] * r / k)
    weights = torch.stack(terms, -1)
    if cells > 1:
        weights = (inside[..., :, None] * weights[..., None, :]).flatten(-2)
    result = (weights.reshape(-1, weights.shape[-1]) @ table.reshape(-1, n * n)).reshape(*t.shape, n, n)
    kept = t.detach().abs() <= bound * (1 + ROUNDINGS * torch.finfo(t.dtype).eps)
    return torch.where(kept[..., None, None], result, torch.nan)


# --------------------------------------------------------------------------------------------------------- samplers


# Standard deviations of a Gaussian start of an n x n generator, by LieGAN's names: kaiming_normal_ of a (C, n, n) tensor counts n^2 inputs.
STARTS = {"kaiming": lambda n: math.sqrt(2) / n, "unit": lambda n: 1.0, "hundredth": lambda n: 0.01}


def gaussian_start(start: str, cardinality: int, n: int, generator: torch.Generator) -> Float[Tensor, "C n n"]:
    """Generators with independent Gaussian entries of the spread `STARTS[start]`. Source: LieGAN's code, g_init."""
    return STARTS[start](n) * torch.randn(cardinality, n, n, generator=generator)


def random_stream(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator of its own for each seed and purpose: methods of one seed share the network's start and the order of the batches.

    Its seed is numpy's SeedSequence of both, the same on every machine; a generator on a CPU reads the lower 32 bits of it.
    """
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=tuple(purpose.encode()))
    return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def uniform(size: tuple[int, ...], low: float, high: float, generator: torch.Generator, dtype=torch.float32) -> Tensor:
    """Uniform numbers in [low, high) from `generator`, on its device."""
    return low + (high - low) * torch.rand(size, generator=generator, device=generator.device, dtype=dtype)


def rotations(angles: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Rotations of the plane by `angles` radians, [[cos, -sin], [sin, cos]]."""
    c, s = angles.cos(), angles.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


@autocast_off
def haar(n: int, size: tuple[int, ...], generator: torch.Generator, dtype=torch.float32) -> Float[Tensor, "*size n n"]:
    """Rotations drawn from the uniform (Haar) measure of SO(n).

    Q of a Gaussian matrix's QR decomposition, columns signed by the diagonal of R (Haar on O(n)), one column flipped where det Q < 0.
    """
    gaussian = torch.randn(*size, n, n, generator=generator, device=generator.device, dtype=working(dtype))
    q, r = torch.linalg.qr(gaussian)
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    flip = torch.ones(*size, n, dtype=q.dtype, device=q.device)
    flip[..., 0] = torch.linalg.det(q).sign()
    return (q * flip.unsqueeze(-2)).to(dtype)


AXES = ("uniform", "euler")


@autocast_off
def rotations_between(
    low: float, high: float, size: tuple[int, ...], generator: torch.Generator, dtype=torch.float32, axes: str = "uniform"
) -> Float[Tensor, "*size 3 3"]:
    """Rotations of space by angles of either sign whose size is uniform in [low, high] radians.

    About a "uniform" axis, or about x, then y, then z ("euler"), each by an angle of its own.

    Raises ValueError for another rule. Source: REMUL B.1, [0, 10] and [90, 180] degrees; the axis rule is Ours, none is stated.
    """
    if axes not in AXES:
        raise ValueError(f"axes must be one of {', '.join(AXES)}, got {axes!r}")
    size, precise = (*size, 3) if axes == "euler" else size, working(dtype)
    angles = uniform(size, low, high, generator, precise)
    angles = angles * torch.where(uniform(size, 0.0, 1.0, generator, precise) < 0.5, -1.0, 1.0)
    if axes == "euler":
        about = torch.diag_embed(angles)  # one turn about each axis
    else:
        directions = torch.randn(*size, 3, generator=generator, device=generator.device, dtype=precise)
        about = torch.nn.functional.normalize(directions, dim=-1) * angles[..., None]
    # so(3) lists the planes xy, xz, yz: turning about an axis (a, b, c) is c, -b, a in those planes.
    planes = torch.stack([about[..., 2], -about[..., 1], about[..., 0]], -1)
    g = matrix_exp(torch.einsum("...c,cij->...ij", planes, so(3, dtype=precise).to(angles.device)), 1.5 * high)
    return (g[..., 2, :, :] @ g[..., 1, :, :] @ g[..., 0, :, :] if axes == "euler" else g).to(dtype)
