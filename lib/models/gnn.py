"""A message-passing network on the atoms of one molecule; it reads positions as plain numbers, so it has no built-in symmetry.

The graph is the same for every sample, so "take the value at an edge's end" and "sum over a node's edges" are products with constant
incidence matrices. On a CPU they take the time of gathers and index_add; on a GPU, unlike these, they give the same sums every time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot, silu

from lib.molecules import Molecule


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

    def summed(self, m: Float[Tensor, "B E C"]) -> Float[Tensor, "B N C"]:
        """sum over j of m_ij."""
        return self.at_i.T @ m


class Messages(nn.Module):
    """m_ij = SiLU(W' SiLU(W [h_i, h_j, e_ij] + b) + b')."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.first, self.second = nn.Linear(2 * width + features, width), nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "B N C"], edges: Edges, features: Float[Tensor, "*B E e"]) -> Float[Tensor, "B E C"]:
        # W in three parts, those of h_i and h_j once a node and not once an edge
        w_i, w_j, w_e = self.first.weight.split([h.shape[-1], h.shape[-1], features.shape[-1]], 1)
        m = edges.at_i @ linear(h, w_i) + edges.at_j @ linear(h, w_j) + linear(features, w_e, self.first.bias)
        return silu(self.second(silu(m)))


class Update(nn.Module):
    """h_i + MLP([h_i, sum over j of m_ij]), one hidden layer with SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = two_layers(2 * width, width, width)

    def forward(self, h: Float[Tensor, "B N C"], m: Float[Tensor, "B E C"], edges: Edges) -> Float[Tensor, "B N C"]:
        return h + self.mlp(torch.cat([h, edges.summed(m)], -1))


def two_layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))


class GNN(nn.Module):
    """h = linear layer of (number, position); h <- Update(h, Messages(h)), `layers` times; absolute positions by one hidden layer.

    `width` channels. 105,027 parameters at 4 x 64. The velocity of a token is not read.

    Source: Satorras et al. 2021, the GNN of their N-body code; REMUL B.3, initial positions and atom types.
    """

    needs_graph = True

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
        h = self.first(tokens[..., :4])
        for message, update in zip(self.messages, self.updates, strict=True):
            h = update(h, message(h, self.edges, self.edges.features), self.edges)
        return self.last(h)
