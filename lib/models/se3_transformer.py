"""SE(3)-Transformer: attention between tokens whose keys and values come through rotation-equivariant kernels.

Features of degree k are (B, N, C, 2k + 1). A kernel from degree k to degree m is sum_J R_J(|d|, w) Q_J Y_J(d / |d|): learned radial
functions R, Clebsch-Gordan intertwiners Q from e3nn, spherical harmonics Y of the direction between two tokens.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from e3nn.o3 import wigner_3j
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm

Features = Mapping[int, Float[Tensor, "B N _ _"]]  # by degree: channels, components


@functools.cache
def intertwiner(m: int, k: int, j: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "m k j"]:
    """e3nn's Clebsch-Gordan coefficients; from float64, so that a network in float64 is equivariant to its rounding."""
    return wigner_3j(m, k, j, dtype=torch.float64).to(device, dtype)


def kernel_basis(unit: Float[Tensor, "*edges 3"], degrees: int) -> dict[int, Float[Tensor, "*edges _ _"]]:
    """Q_J Y_J(d) for all pairs of degrees below `degrees`: once a forward pass, for every layer.

    By input degree k: the matrices (transposed) to every output degree m, for every J, side by side.
    """
    q = functools.partial(intertwiner, dtype=unit.dtype, device=unit.device)
    y = [torch.full_like(unit[..., :1], math.sqrt(0.25 / math.pi))]
    for j in range(1, 2 * degrees - 1):  # each from the one before and the direction itself, at its integral norm
        raised = torch.einsum("...a,...b,abc->...c", y[-1], unit, q(j - 1, 1, j))
        y.append(raised * (math.sqrt((2 * j + 1) / (4 * math.pi)) / raised.norm(dim=-1, keepdim=True).clamp(min=1e-12)))
    pairs = [(m, j, k) for k in range(degrees) for m in range(degrees) for j in range(abs(m - k), m + k + 1)]
    matrices = {k: [torch.einsum("mkj,...j->...km", q(m, k, j), y[j]) for m, j, i in pairs if i == k] for k in range(degrees)}
    return {k: torch.cat(parts, -1) for k, parts in matrices.items()}


def rows_of(m: int, k: int) -> slice:
    """Where a basis from degree k keeps its matrices to degree m."""
    counts = [paths(i, k) * (2 * i + 1) for i in range(m + 1)]
    return slice(sum(counts[:-1]), sum(counts))


def paths(m: int, k: int) -> int:
    """The number of J between |m - k| and m + k: independent kernels for a pair of channels."""
    return 2 * min(m, k) + 1


@functools.cache
def undirected(n: int, device: torch.device) -> tuple[Int[Tensor, " U"], Int[Tensor, " E"]]:
    """Of the ordered pairs (i, j) of n, by i and then j: the places of those with i < j, and each pair's number among these."""
    i, j = torch.tensor(list(itertools.permutations(range(n), 2)), device=device).T
    low, high = torch.minimum(i, j), torch.maximum(i, j)
    return (i < j).nonzero().squeeze(1), low * (2 * n - low - 1) // 2 + high - low - 1


class Kernels(nn.Module):
    """Messages of degrees `outs`, `c_out` channels each, from features of degrees `ins`, `c_in` channels each.

    The radial functions of a pair of degrees are a network of two hidden layers of 32; those of all pairs run as one batched product, once
    for both directions of an edge.
    """

    HIDDEN = 32

    def __init__(self, ins: Sequence[int], c_in: int, outs: Sequence[int], c_out: int, edge_features: int = 2):
        super().__init__()
        self.pairs = sorted(itertools.product(outs, ins), key=lambda pair: paths(*pair))  # of as many paths, together
        self.c_in, self.c_out, count, h = c_in, c_out, len(self.pairs), self.HIDDEN
        self.first, self.first_bias = stacked_linear(count, edge_features, h)
        self.second, self.second_bias = stacked_linear(count, h, h)
        self.norms = nn.ParameterList(torch.cat([torch.ones(1, count, 1, h), torch.zeros(1, count, 1, h)]) for _ in range(2))
        self.last, self.last_bias = nn.ParameterList(), nn.ParameterList()
        for number, group in itertools.groupby(self.pairs, key=lambda pair: paths(*pair)):
            weight, bias = stacked_linear(len(list(group)), h, c_out * c_in * number)
            self.last.append(weight)
            self.last_bias.append(bias)

    def forward(
        self, moved: Mapping[int, Float[Tensor, "E c_in _"]], edges: Float[Tensor, "U f"], edge_of: Int[Tensor, " E"]
    ) -> dict[int, Float[Tensor, "E c_out _"]]:
        """From the source features behind the basis, each undirected edge's weight and length, and which of them a message goes along."""
        x = edges.expand(len(self.pairs), -1, -1)
        for weight, bias, (scale, shift) in zip((self.first, self.second), (self.first_bias, self.second_bias), self.norms, strict=True):
            x = (layer_norm(torch.baddbmm(bias, x, weight), (self.HIDDEN,)) * scale + shift).relu()
        radial, start = {}, 0
        for weight, bias in zip(self.last, self.last_bias, strict=True):
            functions = torch.baddbmm(bias, x[start : start + len(weight)], weight)[:, edge_of].unflatten(-1, (self.c_out, -1))
            radial |= dict(zip(self.pairs[start : start + len(weight)], functions, strict=True))
            start += len(weight)
        messages = {}
        for m in sorted({m for m, _ in self.pairs}):
            ins = sorted(k for out, k in self.pairs if out == m)
            matrices = torch.cat([moved[k][..., rows_of(m, k)].reshape(len(edge_of), -1, 2 * m + 1) for k in ins], 1)
            messages[m] = torch.bmm(torch.cat([radial[m, k] for k in ins], -1), matrices)
        return messages


def stacked_linear(count: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (count, inputs, outputs), Kaiming-uniform, and biases, uniform in +-1 / sqrt(inputs), of `count` linear layers."""
    bound, reach = math.sqrt(6.0 / inputs), math.sqrt(1.0 / inputs)
    weight, bias = torch.empty(count, inputs, outputs).uniform_(-bound, bound), torch.empty(count, 1, outputs).uniform_(-reach, reach)
    return nn.Parameter(weight), nn.Parameter(bias)


class Attention(nn.Module):
    """Messages from the other tokens, weighted by the product of keys and a query, beside the token's own features."""

    def __init__(self, ins: Sequence[int], c_in: int, outs: Sequence[int], c_out: int):
        super().__init__()
        shared = [m for m in outs if m in ins]
        self.values, self.keys = Kernels(ins, c_in, outs, c_out), Kernels(ins, c_in, shared, c_out)
        self.queries = nn.ParameterDict({str(m): mixing(c_in, c_out) for m in shared})
        self.dims = sum(c_out * (2 * m + 1) for m in shared)

    def forward(
        self, f: Features, basis: Mapping[int, Tensor], edges: Tensor, edge_of: Tensor, offsets: Tensor, others: Tensor
    ) -> Features:
        """others: (N, N - 1), whom each token hears; offsets: (B, N, N - 1, 3), from them to it."""
        sources = {k: x[:, others] for k, x in f.items()}
        if 1 in f and f[1].shape[2] > 1:  # the first vector also says where it comes from
            sources[1] = torch.cat([sources[1][..., :1, :] + offsets.unsqueeze(-2), sources[1][..., 1:, :]], -2)
        shape = offsets.shape[:3]
        moved = {k: torch.bmm(x.flatten(0, 2), basis[k].flatten(0, 2)) for k, x in sources.items()}
        values, keys = self.values(moved, edges, edge_of), self.keys(moved, edges, edge_of)
        query = torch.cat([torch.einsum("bncm,cd->bndm", f[m], self.queries[str(m)]).flatten(2) for m in keys], -1)
        key = torch.cat([k.flatten(1) for k in keys.values()], -1).unflatten(0, shape)
        share = ((key @ query.unsqueeze(-1)).squeeze(-1) / math.sqrt(self.dims)).softmax(-1)
        heard = {m: torch.einsum("bno,bnocm->bncm", share, v.unflatten(0, shape)) for m, v in values.items()}
        return {m: torch.cat([x, f[m]], 2) if m in f else x for m, x in heard.items()}


def mixing(c_in: int, c_out: int) -> nn.Parameter:
    """A linear map of channels, the same for every component."""
    return nn.Parameter(torch.randn(c_in, c_out) / math.sqrt(c_in))


def norm_bias(x: Float[Tensor, "B N C m"], bias: Float[Tensor, " C"]) -> Float[Tensor, "B N C m"]:
    """ReLU(|x| + bias) x / |x|, a nonlinearity of the length alone."""
    size = x.square().sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
    return (size + bias.unsqueeze(-1)).relu() * (x / size)


class SE3Transformer(nn.Module):
    """Tokens of (mass,) position and velocity to the positions of all tokens; 293,920 parameters.

    The velocity is the one input feature; the output is a displacement. An edge knows its length and the product of the masses (1 without
    masses).

    Parameters
    ----------
    layers, channels, degrees, division : attention layers, channels of each degree, number of degrees, channels over those of a head.

    Raises ValueError for inputs that are not 6 or 7 numbers a token, or fewer than two tokens.

    Source: Fuchs et al. 2020 as configured for GATr's N-body baseline; REMUL B.1.
    """

    equivariant = True  # exactly: to the rounding of its precision

    def __init__(
        self,
        inputs: torch.Size,
        outputs: torch.Size,
        generators: Tensor | None = None,
        *,
        layers: int = 4,
        channels: int = 8,
        degrees: int = 4,
        division: int = 4,
    ):
        super().__init__()
        if inputs[-1] not in (6, 7):
            raise ValueError(f"SE3Transformer reads (mass,) position and velocity, 6 or 7 numbers a token, got {inputs[-1]}")
        if inputs[0] < 2:
            raise ValueError(f"attention to other tokens needs two tokens or more, got {inputs[0]}")
        every, c = range(degrees), channels // division
        self.degrees = degrees
        self.attentions = nn.ModuleList(Attention([1] if i == 0 else every, 1 if i == 0 else channels, every, c) for i in range(layers))
        skipped = [{m: c + (int(m == 1) if i == 0 else channels) for m in every} for i in range(layers)]
        self.mixes = nn.ModuleList(nn.ParameterDict({str(m): mixing(n, channels) for m, n in widths.items()}) for widths in skipped)
        self.biases = nn.ParameterList(torch.randn(degrees, channels) for _ in range(layers))
        self.last, last = Attention(every, channels, [1], 2), channels + 2
        self.select = nn.Sequential(nn.LayerNorm(last**2), nn.LeakyReLU(), nn.Linear(last**2, 2 * last))
        nn.init.kaiming_uniform_(self.select[2].weight)

    def forward(self, tokens: Float[Tensor, "B N F"]) -> Float[Tensor, "B N 3"]:
        mass, position, velocity = tokens[..., :-6], tokens[..., -6:-3], tokens[..., -3:]
        n = tokens.shape[1]
        others = torch.tensor([[j for j in range(n) if j != i] for i in range(n)], dtype=torch.long, device=tokens.device)
        offsets = position.unsqueeze(2) - position[:, others]
        length = offsets.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        weight = mass.unsqueeze(2) * mass[:, others] if mass.shape[-1] else torch.ones_like(length)
        both, basis = torch.cat([weight, length], -1).flatten(1, 2), kernel_basis(offsets / length, self.degrees)
        first, edge_of = undirected(n, tokens.device)
        edges = both[:, first].flatten(0, 1)
        edge_of = (edge_of + len(first) * torch.arange(len(tokens), device=tokens.device).unsqueeze(1)).flatten()

        f: Features = {1: velocity.unsqueeze(2)}
        for attention, mix, bias in zip(self.attentions, self.mixes, self.biases, strict=True):
            f = attention(f, basis, edges, edge_of, offsets, others)
            f = {m: norm_bias(torch.einsum("bncm,cd->bndm", x, mix[str(m)]), bias[m]) for m, x in f.items()}
        vectors = self.last(f, basis, edges, edge_of, offsets, others)[1]
        gram = (vectors @ vectors.mT).flatten(2)
        share = self.select(gram).unflatten(-1, (2, -1)).softmax(-1)
        return position + (share @ vectors)[..., 0, :]
