"""How a group element acts on data. Every action takes K elements a sample: (B, K, n, n) on (B, ...) gives (B, K, ...).

Autocast does not reach them: they move data at the precision of g, a network's half-precision output under autocast too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lib.precision import autocast_off

Action = Callable[[Tensor, Tensor], Tensor]


def as_precise(x: Tensor, g: Tensor) -> Tensor:
    """Data at the precision of g, unless their own is higher."""
    return x.to(torch.promote_types(x.dtype, g.dtype))


@autocast_off
def on_vectors(g: Float[Tensor, "B K n n"], x: Float[Tensor, "B n"]) -> Float[Tensor, "B K n"]:
    """x -> g x. Source: SEMoLA sec. 4.1 (tensor inputs)."""
    return torch.einsum("bkij,bj->bki", g, as_precise(x, g))


@autocast_off
def on_stacks(g: Float[Tensor, "B K n n"], x: Float[Tensor, "B N n"]) -> Float[Tensor, "B K N n"]:
    """The same g on each of the N vectors (time steps, bodies) of a sample. Source: SEMoLA sec. 5.2 (per timestep)."""
    return torch.einsum("bkij,bmj->bkmi", g, as_precise(x, g))


@autocast_off
def on_bodies(g: Float[Tensor, "B K 3 3"], x: Float[Tensor, "B N F"]) -> Float[Tensor, "B K N F"]:
    """The same g on the position and the velocity of each of the N tokens, its last six numbers; a mass before them stays."""
    x = as_precise(x, g)
    scalars, vectors = x[..., :-6], x[..., -6:].unflatten(-1, (2, 3))
    moved = torch.einsum("bkij,bmvj->bkmvi", g, vectors).flatten(-2)
    return torch.cat([scalars.unsqueeze(1).expand(*moved.shape[:-1], -1), moved], -1)


@autocast_off
def on_atoms(g: Float[Tensor, "B K 4 4"], x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B K N 4"]:
    """The same affine map on the position of each atom (atomic number, position); a place without an atom, number 0, stays 0."""
    x = as_precise(x, g)
    number, position = x[..., :1], x[..., 1:]
    moved = torch.einsum("bkij,bmj->bkmi", g[..., :3, :3], position) + g[..., None, :3, 3]
    number = number.unsqueeze(1).expand(*moved.shape[:-1], 1)
    return torch.cat([number, torch.where(number > 0, moved, 0.0)], -1)


@autocast_off
def on_points(g: Float[Tensor, "B K m m"], x: Float[Tensor, "B N n"]) -> Float[Tensor, "B K N n"]:
    """The same affine map, m = n + 1, on each of the N points of a sample."""
    return on_directions(g, x) + g[..., None, :-1, -1]


@autocast_off
def on_directions(g: Float[Tensor, "B K m m"], x: Float[Tensor, "B N n"]) -> Float[Tensor, "B K N n"]:
    """The linear part of an affine map, m = n + 1, on each of the N vectors of a sample: what it does to differences of points."""
    return on_stacks(g[..., :-1, :-1], x)


@autocast_off
def on_images(g: Float[Tensor, "B K 3 3"], x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B K c h w"]:
    """(g x)(p) = x(g p): the 3x3 affine map g moves the sampling grid over [-1, 1]^2; bilinear, zero outside.

    The content moves by the inverse of g; coefficients are drawn symmetrically, so no method can tell the two apart. The K copies of one
    image share one call: their grids are laid side by side along the height.

    Source: SEMoLA sec. 5.1 (two-dimensional affine transformations), with LieGAN's align_corners = True.
    """
    x, (batch, copies) = as_precise(x, g), g.shape[:2]
    channels, height, width = x.shape[1:]
    pixels = pixel_grid(height, width, dtype=x.dtype, device=x.device)
    grid = torch.einsum("bkij,pj->bkpi", g[..., :2, :], pixels).reshape(batch, copies * height, width, 2)
    moved = torch.nn.functional.grid_sample(x, grid, align_corners=True)
    return moved.reshape(batch, channels, copies, height, width).transpose(1, 2)


@autocast_off
def on_films(g: Float[Tensor, "B K 2 2"], x: Float[Tensor, "B T 2 h w"]) -> Float[Tensor, "B K T 2 h w"]:
    """(g x)(p) = g x(g^-1 p): a rotation about the middle of T fields of vectors (u, v), rows from the south, columns from the west.

    Bilinear, zero outside; a quarter turn moves points to points. Source: REMUL sec. A.
    """
    x = as_precise(x, g)
    back = torch.nn.functional.pad(g.mT, (0, 1, 0, 1))
    moved = on_images(back, x.flatten(1, 2)).unflatten(2, x.shape[1:3])
    return torch.einsum("bkij,bktjhw->bktihw", g, moved)


def pixel_grid(height: int, width: int, *, dtype=torch.float32, device="cpu") -> Float[Tensor, "pixels 3"]:
    """Homogeneous coordinates (x, y, 1) of an image's pixels, row by row, corners at -1 and 1."""
    x = torch.linspace(-1, 1, width, dtype=dtype, device=device).repeat(height)
    y = torch.linspace(-1, 1, height, dtype=dtype, device=device).repeat_interleave(width)
    return torch.stack([x, y, torch.ones_like(x)], -1)


def trivially(g: Float[Tensor, "B K n n"], y: Shaped[Tensor, "B *shape"]) -> Shaped[Tensor, "B K *shape"]:
    """y -> y, the action on an invariant target: a label, an energy, class probabilities."""
    return y.unsqueeze(1).expand(y.shape[0], g.shape[1], *y.shape[1:])


def rotate_images(x: Float[Tensor, "B c h w"], angles: Float[Tensor, " B"], chunk: int = 2000) -> Float[Tensor, "B c h w"]:
    """Each image turned once by its angle (radians; counter-clockwise as displayed), bilinear, zero outside."""
    # rows grow downwards on screen, so turning the content counter-clockwise samples at the clockwise-turned point
    c, s, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    g = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).reshape(-1, 1, 3, 3)
    parts = zip(g.split(chunk), x.split(chunk), strict=True)
    return torch.cat([on_images(gi, xi).squeeze(1) for gi, xi in parts])
