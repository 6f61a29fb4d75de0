"""Convolutions that commute with quarter turns (C4), of vector fields and of fields of functions on the group; a network of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from lib.models.rollout import Rollout

KINDS = {"vector": 2, "regular": 4}  # how a fibre moves: its channels (u, v), or one for each of the four turns
STARTS = ("vector", "regular"), ("regular", "regular"), ("regular", "vector")


def turn(kernel: Float[Tensor, "*c 3 3"], quarters: int) -> Float[Tensor, "*c 3 3"]:
    """p -> K(R^-1 p), R a turn by so many quarters, counter-clockwise where rows grow upwards."""
    return torch.rot90(kernel, -quarters, (-2, -1))


def fibre(kind: str, quarters: int, like: Tensor) -> Float[Tensor, "c c"]:
    """rho(R): how a turn moves a fibre. A regular one's channel h goes to channel h + quarters."""
    if kind == "regular":
        return torch.eye(4, dtype=like.dtype, device=like.device).roll(quarters, 0)
    c, s = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]
    return torch.tensor([[c, -s], [s, c]], dtype=like.dtype, device=like.device)


def steered(free: Float[Tensor, "out into c 3 3"], into: str, out: str) -> Float[Tensor, "out to into from 3 3"]:
    """Kernels K between fields with K(R p) = rho_out(R) K(p) rho_in(R)^-1, from free ones.

    Of a regular side, which has one channel a turn, the free kernels are those of the first channel, as functions of the other side's c
    channels; what they are for the turn h is moved by it. Every such kernel has exactly one free one (Weiler & Cesa 2019, eq. 4).
    """
    if out == "regular":
        parts = [torch.einsum("oicyx,cd->oidyx", turn(free, h), fibre(into, -h, free)) for h in range(4)]
        return torch.stack(parts, 1)
    parts = [torch.einsum("dc,oicyx->oidyx", fibre(out, h, free), turn(free, h)) for h in range(4)]
    return torch.stack(parts, 3).transpose(1, 2)


class C4Convolution(nn.Module):
    """A 3x3 convolution from fields of one kind to fields of another, zeros beyond the edges; a bias for each regular field.

    Parameters
    ----------
    inputs, outputs : fields, of `into` and `out`, each "vector" or "regular", not both vectors.

    Source: Weiler & Cesa (2019). All kernels of 3x3 points, where their package samples harmonics, is Ours.
    """

    def __init__(self, inputs: int, outputs: int, into: str = "regular", out: str = "regular"):
        super().__init__()
        if (into, out) not in STARTS:
            raise ValueError(f"into and out must be one of {', '.join(map(' to '.join, STARTS))}, got {into} to {out}")
        self.into, self.out = into, out
        other = KINDS[into if out == "regular" else out]
        bound = 1 / math.sqrt(9 * inputs * KINDS[into])  # as nn.Conv2d draws them
        self.weight = nn.Parameter(torch.empty(outputs, inputs, other, 3, 3).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound)) if out == "regular" else None

    def kernel(self) -> Float[Tensor, "out into 3 3"]:
        """Channels to channels, those of a field side by side."""
        return steered(self.weight, self.into, self.out).flatten(2, 3).flatten(0, 1)

    def biases(self) -> Float[Tensor, " out"] | None:
        """The same for all channels of a field; vectors have none, which would choose a direction."""
        return None if self.bias is None else self.bias.repeat_interleave(KINDS["regular"])

    def forward(self, x: Float[Tensor, "B into h w"]) -> Float[Tensor, "B out h w"]:
        return conv2d(x, self.kernel(), self.biases(), padding=1)


class E2CNN(Rollout):
    """The convolutional network with C4 convolutions: vectors to `fields` regular ones, ReLU, and back to a vector. Exactly equivariant.

    Source: REMUL sec. A, Wang et al. (2022); without their normalisation over the batch, see `lib.models.rollout`.
    """

    equivariant = True
    layer = C4Convolution

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, fields: int = 16, layers: int = 5,
    ):  # fmt: skip
        super().__init__(inputs, outputs)
        if layers < 2:
            raise ValueError(f"layers must be at least 2, into regular fields and out of them, got {layers}")
        between = [self.layer(fields, fields) for _ in range(layers - 2)]
        first, last = self.layer(self.past, fields, into="vector"), self.layer(fields, 1, out="vector")
        self.convolutions = nn.ModuleList([first, *between, last])

    def kernels(self) -> list[tuple[Tensor, Tensor | None]]:
        return [(convolution.kernel(), convolution.biases()) for convolution in self.convolutions]
