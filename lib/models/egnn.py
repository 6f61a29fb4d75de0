"""EGNN with velocities: messages from distances alone, coordinates that move along the edges and the initial velocities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.models.gnn import Edges, Messages, SiLU, Update, two_layers
from lib.models.molecules import Molecule

FARTHEST = 100.0  # angstrom: the most that a neighbour moves an atom along each axis, far beyond what is met


class Motion(nn.Module):
    """x_i + mean over j of phi_x(m_ij) (x_i - x_j) + phi_v(h_i) v_i."""

    def __init__(self, width: int):
        super().__init__()
        self.along_velocity = two_layers(width, width, 1)
        self.along_edges = nn.Sequential(nn.Linear(width, width), SiLU(), nn.Linear(width, 1, bias=False))
        nn.init.xavier_uniform_(self.along_edges[2].weight, gain=1e-3)  # so that at first atoms hardly move

    def forward(
        self,
        x: Float[Tensor, "N B 3"],
        v: Float[Tensor, "N B 3"],
        h: Float[Tensor, "N B C"],
        m: Float[Tensor, "E B C"],
        offsets: Float[Tensor, "E B 3"],
        edges: Edges,
    ) -> Float[Tensor, "N B 3"]:
        pulls = (offsets * self.along_edges(m)).clamp(-FARTHEST, FARTHEST)
        neighbours = edges.at_i.sum(0).clamp(min=1.0)[:, None, None]  # an atom without any stays
        return x + edges.summed(pulls) / neighbours + self.along_velocity(h) * v


class EGNN(nn.Module):
    """h = linear layer of (|v|, number); in each of `layers`, m = Messages(h, r), x <- Motion(x, m), h <- Update(h, m).

    r are the edge's squared lengths |x_i - x_j|^2, now and at the start; `width` channels, and the velocities v are those of the start in
    every layer. 122,436 parameters at 4 x 64; GMN's code has 12,416 more, of an update in the last layer that no position depends on.
    Equivariant to rotations, reflections and translations.

    Source: Satorras et al. 2021, EGNN with velocities of their N-body code; node and edge features from GMN; REMUL B.3.
    """

    equivariant = True  # exactly: to the rounding of its precision
    needs_graph = True
    loops_on_cpu = True  # as the GNN

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
        self.first = nn.Linear(2, width)
        self.messages = nn.ModuleList(Messages(width, 2 + self.edges.features.shape[1]) for _ in range(layers))
        self.updates = nn.ModuleList(Update(width) for _ in range(layers - 1))
        self.motions = nn.ModuleList(Motion(width) for _ in range(layers))

    def forward(self, tokens: Float[Tensor, "B N 7"]) -> Float[Tensor, "B N 3"]:
        number, x, v = tokens.transpose(0, 1).split([1, 3, 3], -1)
        h = self.first(torch.cat([torch.linalg.vector_norm(v, dim=-1, keepdim=True), number], -1))
        start = self.edges.between(x, -x).square().sum(-1, keepdim=True)
        for layer, (message, motion) in enumerate(zip(self.messages, self.motions, strict=True)):
            offsets = self.edges.between(x, -x)
            m = message(h, self.edges, torch.cat([offsets.square().sum(-1, keepdim=True), start], -1))
            x = motion(x, v, h, m, offsets, self.edges)
            if layer < len(self.updates):
                h = self.updates[layer](h, m, self.edges)
        return x.transpose(0, 1)
