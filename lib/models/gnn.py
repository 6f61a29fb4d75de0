"""A message-passing network on the atoms of one molecule; it reads positions as plain numbers, so it has no built-in symmetry.

The graph is the same for every sample, so "take the value at an edge's end" and "sum over a node's edges" are products with constant
incidence matrices. Atoms and edges come before samples, which makes each of them one large product. Unlike gathers and index_add, they
give the same sums every time on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot

from lib.models.molecules import Molecule


class FusedSiLU(torch.autograd.Function):
    """x sigmoid(x). Its gradient is one pass over memory and has none of its own; PyTorch's, under torch.func, has and takes several."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return nn.functional.silu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.ops.aten.silu_backward(gradient, *ctx.saved_tensors)


silu = FusedSiLU.apply


class Edges(nn.Module):
    """A molecule's edges (i, j): which ends they have, and their features.

    Raises ValueError unless a sample is atomic number, position and velocity, 7 numbers, of each of the molecule's atoms.
    """

    def __init__(self, graph: Molecule, inputs: torch.Size):
        super().__init__()
        n = len(graph.z)
        if tuple(inputs) != (n, 7):
            raise ValueError(f"a molecule of {n} heavy atoms has samples of shape ({n}, 7), got {tuple(inputs)}")
        ends = one_hot(graph.edge_index, n).to(graph.edge_attr)
        for name, tensor in (("at_i", ends[0]), ("at_j", ends[1]), ("features", graph.edge_attr)):
            self.register_buffer(name, tensor, persistent=False)

    def between(self, a: Float[Tensor, "N B C"], b: Float[Tensor, "N B C"]) -> Float[Tensor, "E B C"]:
        """a_i + b_j."""
        ends = torch.cat([self.at_i, self.at_j], 1)
        return (ends @ torch.cat([a, b]).flatten(1)).unflatten(1, a.shape[1:])

    def summed(self, m: Float[Tensor, "E B C"]) -> Float[Tensor, "N B C"]:
        """sum over j of m_ij."""
        return (self.at_i.T @ m.flatten(1)).unflatten(1, m.shape[1:])


class Messages(nn.Module):
    """m_ij = SiLU(W' SiLU(W [h_i, h_j, r_ij, e_ij] + b) + b'), with e_ij the edge's features and r_ij what a sample adds to them."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.first, self.second = nn.Linear(2 * width + features, width), nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "N B C"], edges: Edges, r: Float[Tensor, "E B r"] | None = None) -> Float[Tensor, "E B C"]:
        # W in parts: those of h_i and h_j once a node and not once an edge, that of e_ij once and not once a sample
        width, fixed = h.shape[-1], edges.features.shape[1]
        w_i, w_j, w_r, w_e = self.first.weight.split([width, width, self.first.in_features - 2 * width - fixed, fixed], 1)
        m = edges.between(linear(h, w_i), linear(h, w_j)) + linear(edges.features, w_e, self.first.bias).unsqueeze(1)
        if r is not None:
            m = m + linear(r, w_r)
        return silu(self.second(silu(m)))


class Update(nn.Module):
    """h_i + MLP([h_i, sum over j of m_ij]), one hidden layer with SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = two_layers(2 * width, width, width)

    def forward(self, h: Float[Tensor, "N B C"], m: Float[Tensor, "E B C"], edges: Edges) -> Float[Tensor, "N B C"]:
        return h + self.mlp(torch.cat([h, edges.summed(m)], -1))


class SiLU(nn.Module):
    """`silu` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return silu(x)


def two_layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(nn.Linear(inputs, width), SiLU(), nn.Linear(width, outputs))


class GNN(nn.Module):
    """h = linear layer of (number, position); h <- Update(h, Messages(h)), `layers` times; absolute positions by one hidden layer.

    `width` channels. 105,027 parameters at 4 x 64. The velocity of a token is not read.

    Source: Satorras et al. 2021, the GNN of their N-body code; GMN's edge features, without a length; REMUL B.3, initial positions and atom
    types.
    """

    needs_graph = True
    loops_on_cpu = True  # alone an eighth faster than under vmap; a stack of fifteen gains nothing

    def __init__(
        self,
        inputs: torch.Size,
        outputs: torch.Size,
        generators: Tensor | None,
        graph: Molecule,
        *,
        layers: int = 4,
        width: int = 64,
    ):
        super().__init__()
        self.edges = Edges(graph, inputs)
        self.first = nn.Linear(4, width)
        self.messages = nn.ModuleList(Messages(width, self.edges.features.shape[1]) for _ in range(layers))
        self.updates = nn.ModuleList(Update(width) for _ in range(layers))
        self.last = two_layers(width, width, outputs[-1])

    def forward(self, tokens: Float[Tensor, "B N 7"]) -> Float[Tensor, "B N 3"]:
        h = self.first(tokens[..., :4].transpose(0, 1))
        for message, update in zip(self.messages, self.updates, strict=True):
            h = update(h, message(h, self.edges), self.edges)
        return self.last(h).transpose(0, 1)
