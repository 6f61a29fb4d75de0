"""Matrix Lie groups: bases of Lie algebras, their bracket, and samplers of group elements.

A basis is a tensor of generators, shape (C, n, n). Angles are in radians.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.draws import uniform
from lib.exponential import matrix_exp
from lib.precision import autocast_off, working

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


def affine_family_3d(*, dtype: torch.dtype = torch.float32) -> Float[Tensor, "12 4 4"]:
    """Twelve generators that span the affine maps of space: rotations, symmetric shears, a scaling of each axis, translations (times 0.5).

    Source: Augerino (Benton et al. 2020), its module for molecules.
    """
    e = [[elementary(3, i, j, dtype=dtype) for j in range(3)] for i in range(3)]
    shears = [e[i][j] + e[j][i] for i, j in ((0, 1), (0, 2), (1, 2))]
    linear = torch.cat([so(3, dtype=dtype), torch.stack([*shears, *(e[i][i] for i in range(3))])])
    return torch.cat([affine(linear), 0.5 * translations(3, dtype=dtype)])


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


# --------------------------------------------------------------------------------------------------------- samplers


# Standard deviations of a Gaussian start of an n x n generator, by LieGAN's names: kaiming_normal_ of a (C, n, n) tensor counts n^2 inputs.
STARTS = {"kaiming": lambda n: math.sqrt(2) / n, "unit": lambda n: 1.0, "hundredth": lambda n: 0.01}


def gaussian_start(start: str, cardinality: int, n: int, generator: torch.Generator) -> Float[Tensor, "C n n"]:
    """Generators with independent Gaussian entries of the spread `STARTS[start]`. Source: LieGAN's code, g_init."""
    return STARTS[start](n) * torch.randn(cardinality, n, n, generator=generator)


def rotations(angles: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Rotations of the plane by `angles` radians, [[cos, -sin], [sin, cos]]."""
    c, s = angles.cos(), angles.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


@autocast_off
def homogeneous(linear: Float[Tensor, "*batch n n"], shift: Float[Tensor, "*batch n"] | None = None) -> Float[Tensor, "*batch m m"]:
    """The affine maps x -> linear x + shift in homogeneous coordinates, m = n + 1."""
    n = linear.shape[-1]
    g = torch.nn.functional.pad(linear, (0, 1, 0, 1))
    g[..., n, n] = 1.0
    if shift is not None:
        g[..., :n, n] = shift
    return g


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
