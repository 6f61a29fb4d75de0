"""Tensors in three dimensions and the matrices between them that commute with a group: O(3), SO(3), or turns about one axis.

T_r is the space of tensors of rank r, on which g acts as g (x) ... (x) g. It falls into irreps, an odd number 2l + 1 of numbers each, on
which g acts as a matrix D_l(g), and -1 as the parity (-1)^r. A space is a number of copies of each T_r, `counts[r]`. It has tensor
coordinates, every copy's 3^r entries, and irreps coordinates, irreps of one degree and parity side by side; both are orthonormal.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from e3nn.o3 import wigner_3j
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.groups import elementary, rotations

Counts = tuple[int, ...]  # copies of T_0, T_1, ...
Irreps = tuple[tuple[int, int, int], ...]  # (degree, parity, copies), in the order of the coordinates

CLOSED = ("SO(3)", "O(3)")  # P in closed form
PLANES = {"xy": (0, 1), "yz": (1, 2), "xz": (0, 2)}
GROUPS = (*CLOSED, *(f"{name}_{plane}(2)" for name in ("SO", "O") for plane in PLANES))


def tensor_counts(channels: int) -> Counts:
    """Copies of T_0, T_1, ... that fill `channels` numbers, each rank with about as many: the highest rank R with (R + 1) 3^R <= channels
    once and T_r 3^(R - r) times, and so on with the rest.

    Raises ValueError for no channels. Source: Finzi et al. (2021), sec. 6, and their code's uniform_rep.
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    counts: list[int] = []
    while channels:
        highest = max(r for r in range(channels) if (r + 1) * 3**r <= channels)
        counts += [0] * (highest + 1 - len(counts))
        for r in range(highest + 1):
            counts[r] += 3 ** (highest - r)
        channels -= (highest + 1) * 3**highest
    return tuple(counts)


def size_of(space: Counts | Irreps) -> int:
    """The number of coordinates."""
    return sum(entry * 3**r if isinstance(entry, int) else (2 * entry[0] + 1) * entry[2] for r, entry in enumerate(space))


# ------------------------------------------------------------------------------------------------------------- irreps


@functools.cache
def coupling(degree: int, total: int) -> Float[Tensor, "n 3 m"]:
    """The isometry from degree (x) vector onto the irrep `total`, transposed; e3nn's Clebsch-Gordan coefficients, float64.

    Degree 1 is the vector (x, y, z) itself.
    """
    return wigner_3j(degree, 1, total, dtype=torch.float64) * math.sqrt(2 * total + 1)


def wigner(degree: int, g: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch m m"]:
    """D_l(g) of a rotation g, by D_l = C^T (D_(l-1) (x) g) C."""
    d = torch.ones_like(g[..., :1, :1])
    for j in range(1, degree + 1):
        c = coupling(j - 1, j).to(g)
        d = torch.einsum("abm,...ac,...bd,cdn->...mn", c, d, g, c)
    return d


@functools.cache
def degrees(rank: int) -> Counts:
    """The degrees of T_r's irreps, in the order of `tensor_basis`."""
    return (0,) if rank == 0 else tuple(j for degree in degrees(rank - 1) for j in range(abs(degree - 1), degree + 2))


@functools.cache
def tensor_basis(rank: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "entries entries"]:
    """T_r's irreps (rows) in its entries, an orthogonal matrix; from float64, so that float64 networks are exact to its rounding.

    T_r is T_(r-1) (x) vector, so the irreps of T_r are those of T_(r-1), each coupled with a vector.
    """
    if rank == 0:
        return torch.ones(1, 1, dtype=dtype, device=device)
    before = tensor_basis(rank - 1, torch.float64, torch.device("cpu")).split([2 * degree + 1 for degree in degrees(rank - 1)])
    rows = [
        torch.einsum("abm,ax->mxb", coupling(degree, j), block).flatten(1)
        for degree, block in zip(degrees(rank - 1), before, strict=True)
        for j in range(abs(degree - 1), degree + 2)
    ]
    return torch.cat(rows).to(device, dtype)


def irreps_of(counts: Counts) -> Irreps:
    """The irreps of a space, by degree, the even ones first."""
    found: dict[tuple[int, int], int] = {}
    for rank, count in enumerate(counts):
        for degree in degrees(rank):
            key = degree, rank % 2
            found[key] = found.get(key, 0) + count
    return tuple((degree, 1 - 2 * odd, copies) for (degree, odd), copies in sorted(found.items()) if copies)


class Coordinates(nn.Module):
    """From irreps coordinates of a space to its tensors, one stack (B, copies, 3^r) a rank, and back."""

    def __init__(self, counts: Counts):
        super().__init__()
        self.counts = counts
        places: dict[tuple[int, int], list[int]] = {}
        start = 0
        for rank, count in enumerate(counts):
            for degree in degrees(rank) * count:
                places.setdefault((degree, rank % 2), []).extend(range(start, start + 2 * degree + 1))
                start += 2 * degree + 1
        order = torch.tensor(list(itertools.chain(*(places[key] for key in sorted(places)))), dtype=torch.long)
        self.register_buffer("sorting", order)
        self.register_buffer("unsorting", order.argsort())

    def tensors(self, x: Float[Tensor, "B size"]) -> list[Float[Tensor, "B _ _"]]:
        copies = x.index_select(-1, self.unsorting).split([count * 3**r for r, count in enumerate(self.counts)], -1)
        stacks = [part.unflatten(-1, (count, 3**r)) for r, (part, count) in enumerate(zip(copies, self.counts, strict=True))]
        return [t if r < 2 else t @ tensor_basis(r, x.dtype, x.device) for r, t in enumerate(stacks)]

    def irreps(self, tensors: Sequence[Float[Tensor, "B _ _"]]) -> Float[Tensor, "B size"]:
        copies = [t if r < 2 else t @ tensor_basis(r, t.dtype, t.device).T for r, t in enumerate(tensors)]
        return torch.cat([t.flatten(-2) for t in copies], -1).index_select(-1, self.sorting)


# --------------------------------------------------------------------------------------------------------- projectors


class BlockTrace(nn.Module):
    """P(W) of SO(3) or O(3) in closed form: P(W)_(am, bn) = delta_mn / (2l + 1) sum_k W_(ak, bk) for copies a, b of one irrep, else 0.

    Of a matrix between two spaces P is the orthogonal projector onto those that commute with the group (Schur's lemma). SO(3) does not
    tell parities apart. Raises ValueError for another group.
    """

    def __init__(self, group: str, out: Irreps, into: Irreps):
        super().__init__()
        if group not in CLOSED:
            raise ValueError(f"group must be one of {', '.join(CLOSED)}, got {group!r}")
        rows, columns = (merged(irreps, parities=group == "O(3)") for irreps in (out, into))
        self.shape = size_of(out), size_of(into)
        self.blocks = []  # (copies out, copies in, components, first row, first column), by row
        for key, (first_row, copies_out, n) in rows.items():
            first_column, copies_in, _ = columns.get(key, (0, 0, n))
            self.blocks.append((copies_out, copies_in, n, first_row, first_column))
        places = [
            ((row + torch.arange(a * n).view(a, 1, n)) * self.shape[1] + column + torch.arange(b * n).view(1, b, n)).flatten()
            for a, b, n, row, column in self.blocks
        ]
        self.register_buffer("places", torch.cat(places))

    def mixing(self, weight: Float[Tensor, "out into"]) -> list[Float[Tensor, "_ _"]]:
        """For each irrep of the output the matrix (copies out, copies in) of means over the components."""
        # one gather, whose gradient is one scatter: a slice for each block would fill a whole matrix of zeros each
        parts = weight.flatten().index_select(0, self.places).split([a * b * n for a, b, n, *_ in self.blocks])
        return [part.view(a, b, n).mean(-1) for part, (a, b, n, *_) in zip(parts, self.blocks, strict=True)]

    def apply(self, weight: Float[Tensor, "out into"], x: Float[Tensor, "B into"]) -> Float[Tensor, "B out"]:
        """P(W) x, without the dense P(W)."""
        moved = []
        for mixing, (a, b, n, _, column) in zip(self.mixing(weight), self.blocks, strict=True):
            if b:
                moved.append((mixing @ x[:, column : column + b * n].unflatten(-1, (b, n))).flatten(1))
            else:
                moved.append(x.new_zeros(1, a * n).expand(len(x), -1))
        return torch.cat(moved, -1)

    def forward(self, weight: Float[Tensor, "out into"]) -> Float[Tensor, "out into"]:
        """P(W)."""
        means = [m.unsqueeze(-1).expand(a, b, n).flatten() for m, (a, b, n, *_) in zip(self.mixing(weight), self.blocks, strict=True)]
        return torch.zeros_like(weight).flatten().index_copy(0, self.places, torch.cat(means)).view(self.shape)


def merged(irreps: Irreps, parities: bool) -> dict[tuple[int, int], tuple[int, int, int]]:
    """First coordinate, copies and components of each degree (and parity); those of one degree are neighbours."""
    blocks: dict[tuple[int, int], tuple[int, int, int]] = {}
    start = 0
    for degree, parity, copies in irreps:
        key, n = (degree, parity if parities else 0), 2 * degree + 1
        first, before, _ = blocks.get(key, (start, 0, n))
        blocks[key] = first, before + copies, n
        start += copies * n
    return blocks


@functools.cache
def average(group: str, out: int, into: int, sign: int) -> Float[Tensor, "entries entries"]:
    """The mean over the group of D_out(g) (x) D_into(g), float64: P on matrices, row by row, between one irrep of each degree.

    `sign` is the product of the two parities. The means over a circle are sums over out + into + 1 equal angles, exact since no frequency
    is higher than out + into; a reflection is minus a half turn. O_xy(2) fixes z, and so on. Raises ValueError for an unknown group.
    """
    if group not in GROUPS:
        raise ValueError(f"unknown group {group!r}: choose one of {', '.join(GROUPS)}")
    n, m = 2 * out + 1, 2 * into + 1
    if group in CLOSED:
        eye = torch.eye(n, m, dtype=torch.float64).flatten()
        return torch.outer(eye, eye) / n * (out == into and (group == "SO(3)" or sign == 1))
    first, second = PLANES[group.split("_")[1][:2]]
    count = out + into + 1
    angles = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
    g = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    for (i, row), (j, column) in itertools.product(enumerate((first, second)), repeat=2):
        g[:, row, column] = rotations(angles)[:, i, j]

    def mean(g: Float[Tensor, "N 3 3"]) -> Float[Tensor, "entries entries"]:
        return torch.einsum("gab,gcd->acbd", wigner(out, g), wigner(into, g)).reshape(n * m, n * m) / len(g)

    if group.startswith("SO"):
        return mean(g)
    half_turn = 2 * elementary(3, first, first, dtype=torch.float64) - torch.eye(3, dtype=torch.float64)
    return mean(g) @ (torch.eye(n * m, dtype=torch.float64) + sign * mean(half_turn.unsqueeze(0))) / 2


@functools.cache
def combination(terms: tuple[tuple[float, str], ...], pair: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """sum_i c_i P_i between one irrep of each degree, (degree out, degree in, product of their parities)."""
    return sum(c * average(group, *pair) for c, group in terms).to(device, dtype)


class Averages(nn.Module):
    """sum_i c_i P_i(W) for any of the groups: entries sorted by the pair of irreps that they map between, one small matrix a pair."""

    def __init__(self, out: Irreps, into: Irreps):
        super().__init__()
        self.shape = size_of(out), size_of(into)
        places: dict[tuple[int, int, int], list[Int[Tensor, "_ _"]]] = {}
        row = 0
        for degree, parity, copies in out:
            n, column = 2 * degree + 1, 0
            rows = (row + torch.arange(copies * n)).view(copies, 1, n, 1)
            row += copies * n
            for other, other_parity, others in into:
                m = 2 * other + 1
                columns = (column + torch.arange(others * m)).view(1, others, 1, m)
                column += others * m
                key = degree, other, parity * other_parity
                places.setdefault(key, []).append((rows * self.shape[1] + columns).view(-1, n * m))
        self.pairs = {key: torch.cat(found) for key, found in places.items()}
        order = torch.cat([found.flatten() for found in self.pairs.values()])
        self.pairs = {key: tuple(found.shape) for key, found in self.pairs.items()}
        self.register_buffer("sorting", order)
        self.register_buffer("unsorting", order.argsort())

    def forward(self, weight: Float[Tensor, "out into"], terms: tuple[tuple[float, str], ...]) -> Float[Tensor, "out into"]:
        parts = weight.flatten().index_select(0, self.sorting).split([a * b for a, b in self.pairs.values()])
        moved = [
            (part.view(shape) @ combination(terms, pair, weight.dtype, weight.device)).flatten()
            for part, (pair, shape) in zip(parts, self.pairs.items(), strict=True)
        ]
        return torch.cat(moved).index_select(0, self.unsorting).view(self.shape)
