"""The equivariant multilayer perceptron of SO(3) or O(3) on tensors, and what its relaxations in `lib.models.soft_mlp` share with it.

Weights are dense, in irreps coordinates, where the equivariant part of a matrix is a block trace. Products and gates are taken in tensor
coordinates. See `lib.models.representations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from lib.groups import so
from lib.lie_derivative import layer_norms
from lib.models.representations import BlockTrace, Coordinates, Counts, irreps_of, size_of, tensor_counts

Tensors = list[Float[Tensor, "B _ _"]]  # one stack (B, copies, 3^r) for each rank r


def weight_and_bias(out: Counts, into: Counts) -> tuple[nn.Parameter, nn.Parameter]:
    """An orthogonal matrix, and biases uniform in [0, 1 / sqrt(their number)). Source: Finzi et al.'s code."""
    n = size_of(out)
    weight = nn.init.orthogonal_(torch.empty(n, size_of(into)))
    return nn.Parameter(weight), nn.Parameter(torch.rand(n) / math.sqrt(n))


class Projected(nn.Module):
    """x -> P(W) x + P(b): equivariant, with P computed from the dense W and b at every call."""

    def __init__(self, group: str, out: Counts, into: Counts):
        super().__init__()
        self.weight, self.bias = weight_and_bias(out, into)
        self.project = BlockTrace(group, irreps_of(out), irreps_of(into))
        scalars = BlockTrace(group, irreps_of(out), irreps_of((1,)))
        self.register_buffer("invariant", scalars(torch.ones(size_of(out), 1)).squeeze(1))  # P of a vector keeps these entries

    def forward(self, x: Float[Tensor, "B into"]) -> Float[Tensor, "B out"]:
        return self.project.apply(self.weight, x) + self.invariant * self.bias


class Bilinear(nn.Module):
    """Products of a few copies S of T_(i+j), read as maps from T_j to T_i, with all copies t of T_j, mixed: sum_kj w_kj S_k t_j to T_i.

    Of T_r at most 3^r copies are read so: the first, since at the start all are alike. Weights start as N(0, 1).

    Source: Finzi et al. (2021), sec. 6, and their code, which draws the copies at random; it has as many weights.
    """

    def __init__(self, counts: Counts):
        super().__init__()
        self.read = [min(count, 3**r) for r, count in enumerate(counts)]
        self.ranks = [range(1, len(counts) - i) for i in range(len(counts))]  # the j > 0 that go with an output of rank i
        # scalars, which only scale the copies of their output's rank, apart: their products need not be written out
        self.scaling = nn.Parameter(torch.randn(sum(c * k for c, k in zip(counts[1:], self.read[1:], strict=True)), counts[0]))
        self.mixing = nn.ParameterList(
            torch.randn(counts[i], sum(self.read[i + j] * counts[j] for j in js)) for i, js in enumerate(self.ranks) if js
        )

    def forward(self, t: Tensors) -> Tensors:
        read = [stack[:, :k] for stack, k in zip(t, self.read, strict=True)]
        factors = (t[0].squeeze(-1) @ self.scaling.T).split([s.shape[1] * k for s, k in zip(t[1:], self.read[1:], strict=True)], -1)
        scaled = [f.unflatten(-1, (-1, s.shape[1])) @ s for f, s in zip(factors, read[1:], strict=True)]
        contracted = []
        for i, mixing in enumerate(self.mixing):
            products = []
            for j in self.ranks[i]:
                maps = read[i + j].unflatten(-1, (3**j, 3**i)).permute(0, 3, 1, 2)  # (B, 3^i, k, 3^j)
                products.append((maps.flatten(1, 2) @ t[j].mT).unflatten(1, (3**i, -1)).flatten(2))  # (B, 3^i, k copies)
            contracted.append((torch.cat(products, -1) @ mixing.T).mT)
        first, *others = contracted
        return [first, *(a + b for a, b in zip(scaled, others, strict=False)), *scaled[len(others) :]]


def gated(counts: Counts) -> Counts:
    """A space with one scalar more, the last ones, for each tensor of rank 1 or more."""
    return counts[0] + sum(counts[1:]), *counts[1:]


class Gate(nn.Module):
    """Scalars pass a swish; each tensor is multiplied by the sigmoid of its own gate."""

    def forward(self, t: Tensors) -> Tensors:
        counts = [stack.shape[1] for stack in t[1:]]
        scalars, *gates = t[0].split([t[0].shape[1] - sum(counts), *counts], 1)
        return [silu(scalars), *(gate.sigmoid() * stack for gate, stack in zip(gates, t[1:], strict=True))]


def on_tensors(element: Float[Tensor, "3 3"], t: Float[Tensor, "B copies _"], rank: int) -> Float[Tensor, "B copies _"]:
    """The infinitesimal action of L on tensors of that rank: (L (x) 1 + 1 (x) L) t for two indices."""
    moved = torch.zeros_like(t)
    for place in range(rank):
        indices = t.unflatten(-1, (3**place, 3, -1))
        moved = moved + torch.einsum("ij,bcpjq->bcpiq", element, indices).flatten(-3)
    return moved


def on_flat_vectors(element: Float[Tensor, "3 3"], x: Float[Tensor, "B m"]) -> Float[Tensor, "B m"]:
    """L on vectors of three that lie one after another."""
    return (x.unflatten(1, (-1, 3)) @ element.mT).flatten(1)


class TensorMLP(nn.Module):
    """Blocks of a linear layer, 0.1 times a bilinear one and gates, then a linear layer, between vectors in space.

    `linear` makes a layer of the numbers of an output and an input space, `gate` the nonlinearity of a block; vectors are read and
    predicted in the length `unit`. Raises ValueError for inputs or outputs that are no vectors (x, y, z), and for fewer than 6 channels,
    all of which would be scalars.
    """

    loops_on_cpu = True  # its stacked products round differently from its single ones

    def __init__(
        self,
        inputs: torch.Size,
        outputs: torch.Size,
        channels: int,
        blocks: int,
        linear: Callable[[Counts, Counts], nn.Module],
        gate: Callable[[], nn.Module] = Gate,
        unit: float = 1.0,
    ):
        super().__init__()
        if inputs[-1] % 3 or not outputs or outputs[-1] != 3:
            raise ValueError(f"inputs must be vectors (*, 3 k) and outputs (*, 3), got {tuple(inputs)} and {tuple(outputs)}")
        counts = tensor_counts(channels)
        if len(counts) < 2:
            raise ValueError(f"channels must be at least 6, for fewer are all scalars, got {channels}")
        self.inputs, self.outputs, self.channels, self.unit = inputs, outputs, channels, unit
        widths = [(0, math.prod(inputs) // 3), *[counts] * blocks]
        self.linears = nn.ModuleList(linear(gated(counts), width) for width in widths[:-1])
        self.bilinears = nn.ModuleList(Bilinear(gated(counts)) for _ in range(blocks))
        self.gates = nn.ModuleList(gate() for _ in range(blocks))
        self.before, self.after = Coordinates(gated(counts)), Coordinates(counts)
        self.last = linear((0, math.prod(outputs) // 3), widths[-1])

    def forward(self, x: Float[Tensor, "B *inputs"]) -> Float[Tensor, "B *outputs"]:
        x = x.flatten(1) / self.unit
        for i in range(len(self.linears)):
            x = self.block(i, x)
        return self.unit * self.last(x).unflatten(1, self.outputs)

    def block(self, i: int, x: Float[Tensor, "B into"]) -> Float[Tensor, "B size"]:
        """One hidden layer, in irreps coordinates."""
        t = self.before.tensors(self.linears[i](x))
        t = [stack + 0.1 * product for stack, product in zip(t, self.bilinears[i](t), strict=True)]
        return self.after.irreps(self.gates[i](t))

    def lie_derivative(self, x: Float[Tensor, "B *inputs"]) -> list[float]:
        """What each block and the last linear layer add to the Lie derivative along so(3), and the whole; see `layer_norms`."""
        layers = [(partial(self.block, i), self.turned) for i in range(len(self.linears))]
        layers += [(self.last, on_flat_vectors)]
        return [self.unit * norm for norm in layer_norms(layers, x.flatten(1) / self.unit, on_flat_vectors, so(3).to(x))]

    def turned(self, element: Float[Tensor, "3 3"], x: Float[Tensor, "B size"]) -> Float[Tensor, "B size"]:
        """What L does to a hidden layer: to tensors of rank r the sum of its actions on each of their r indices."""
        return self.after.irreps([on_tensors(element, t, r) for r, t in enumerate(self.after.tensors(x))])


class TensorEMLP(TensorMLP):
    """EMLP for SO(3) or O(3): every linear layer projected at each call.

    Of 31 tokens of position and velocity to 31 positions, 1,092,648 parameters, as Finzi et al.'s with 532 channels.

    Parameters
    ----------
    group : "SO(3)" or "O(3)".  channels, blocks : numbers of a hidden layer, spread over tensors by `tensor_counts`, and hidden layers.
    unit : length in which vectors are read and predicted. Ours: the network is not equivariant to a change of scale.

    Source: Finzi et al. (2021); REMUL Table 6 (channels). Irreps coordinates of the weights are Ours: to the projection and to the start
    they make no difference, to Adam's steps they do. The group is Ours: REMUL names none.
    """

    equivariant = True  # exactly: to the rounding of its precision

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, group: str = "SO(3)", channels: int = 532,
        blocks: int = 3, unit: float = 1.0,
    ):  # fmt: skip
        super().__init__(inputs, outputs, channels, blocks, lambda out, into: Projected(group, out, into), unit=unit)
