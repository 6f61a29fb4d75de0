"""Means over groups of 3 x 3 matrices by quadrature, and their actions on tensors index by index: what projectors are held against."""

import math

import numpy as np
import torch

from lib.models.representations import CLOSED, PLANES, Coordinates, size_of


def turn(axis, angle):
    """Rotations about a coordinate axis."""
    g = torch.zeros(*angle.shape, 3, 3, dtype=torch.float64)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    g[..., axis, axis] = 1
    g[..., i, i] = g[..., j, j] = angle.cos()
    g[..., j, i], g[..., i, j] = angle.sin(), -angle.sin()
    return g


def quadrature(group, frequency):
    """Elements and weights whose weighted mean is exact for matrix entries of D_j, j <= frequency."""
    count = frequency + 1
    circle = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
    if group in CLOSED:
        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(frequency // 2 + 1))
        g = turn(2, circle)[:, None, None] @ turn(0, nodes.acos())[None, :, None] @ turn(2, circle)[None, None]
        g, weights = g.flatten(0, 2), (weights / (2 * count**2))[None, :, None].expand(count, -1, count).flatten()
    else:
        axis = 3 - sum(PLANES[group.split("_")[1][:2]])
        g, weights = turn(axis, circle), torch.full((count,), 1 / count, dtype=torch.float64)
    if group.startswith("O"):
        mirror = -torch.eye(3, dtype=torch.float64)
        if group not in CLOSED:
            mirror = torch.eye(3, dtype=torch.float64)
            mirror[PLANES[group.split("_")[1][:2]][0]] *= -1
        g, weights = torch.cat([g, g @ mirror]), torch.cat([weights, weights]) / 2
    return g, weights


def action(counts, g):
    """g on a space in irreps coordinates: on each index of each tensor."""
    coordinates = Coordinates(counts)
    moved = []
    for rank, t in enumerate(coordinates.tensors(torch.eye(size_of(counts), dtype=torch.float64))):
        t = t.reshape(*t.shape[:2], *[3] * rank)
        for index in range(2, rank + 2):
            t = torch.tensordot(t, g, dims=([index], [1])).movedim(-1, index)
        moved.append(t.flatten(2) if rank else t.unsqueeze(-1))
    return coordinates.irreps(moved).T


def averaged(group, weight, out, into):
    """The mean of g W g^-1, one element after another."""
    g, weights = quadrature(group, len(out) + len(into) - 2)
    return sum(w * action(out, h) @ weight @ action(into, h).T for h, w in zip(g, weights, strict=True))
