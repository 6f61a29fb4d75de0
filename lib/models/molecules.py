"""Molecules as graphs: nodes are the heavy atoms, edges join atoms that are one or two bonds apart. Lengths in angstrom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

BOND = 1.6  # atoms closer than this are bonded
AROMATIC = 1.39  # benzene's bonds


@dataclass(frozen=True)
class Molecule:
    """Heavy atoms and their edges, each edge in both directions.

    Attributes
    ----------
    z : atomic numbers.  pos : positions in the frame that the bonds are read from, angstrom.
    edge_index : pairs (i, j).  edge_attr : z_i, z_j, bonds between i and j (1 or 2), and 1 where the bond is a stick, see `molecule`.
    """

    z: Int[Tensor, " N"]
    pos: Float[Tensor, "N 3"]
    edge_index: Int[Tensor, "2 E"]
    edge_attr: Float[Tensor, "E 4"]

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Bonded pairs i < j, sorted."""
        pairs = self.edge_index[:, self.edge_attr[:, 2] == 1].T.tolist()
        return sorted((i, j) for i, j in pairs if i < j)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Molecule:
        """The same molecule on `device`, floating tensors as `dtype`."""
        return Molecule(self.z.to(device), self.pos.to(device, dtype), self.edge_index.to(device), self.edge_attr.to(device, dtype))

    def graph(self) -> Any:
        """The same four tensors as a torch_geometric.data.Data."""
        from torch_geometric.data import Data  # only here: training does without this package

        return Data(z=self.z, pos=self.pos, edge_index=self.edge_index, edge_attr=self.edge_attr)


def molecule(z: Int[Tensor, " atoms"], pos: Float[Tensor, "atoms 3"], sticks: Sequence[tuple[int, int]] = ()) -> Molecule:
    """The graph of the heavy ones (z > 1) among these atoms, bonded where they are less than 1.6 angstrom apart.

    Parameters
    ----------
    sticks : pairs of bonded heavy atoms to be flagged, counted without the hydrogens: the bonds that GMN holds rigid.

    Raises ValueError for a stick that is no bond.

    Source: the graph of Huang et al. 2022 (GMN), whose EGNN and GNN REMUL compares with.
    """
    heavy = z > 1
    z, pos = z[heavy], pos[heavy]
    n = len(z)
    itself = torch.eye(n, dtype=torch.bool, device=z.device)
    bonded = (torch.linalg.vector_norm(pos[:, None] - pos[None], dim=-1) < BOND) & ~itself
    one = bonded.float()
    apart = torch.where(bonded, 1.0, torch.where(((one @ one) > 0) & ~itself, 2.0, 0.0))
    stick = torch.zeros_like(apart)
    for i, j in sticks:
        if not (0 <= i < n and 0 <= j < n and bonded[i, j]):
            raise ValueError(f"stick {(i, j)} is no bond of this molecule of {n} heavy atoms: choose among its bonds")
        stick[i, j] = stick[j, i] = 1.0
    i, j = apart.nonzero().T
    edge_attr = torch.stack([z[i], z[j], apart[i, j], stick[i, j]], 1).to(pos.dtype)
    return Molecule(z, pos, torch.stack([i, j]), edge_attr)


def benzene() -> Molecule:
    """Benzene's carbon ring as a regular hexagon of side 1.39 angstrom in the x-y plane, around the origin: for drawings."""
    angle = torch.arange(6, dtype=torch.float64) * (math.pi / 3)
    ring = AROMATIC * torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], 1)  # a hexagon's side is its radius
    return molecule(torch.full((6,), 6), ring)
