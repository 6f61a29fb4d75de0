"""Runs the README's loops, with a network and data in the place of the reader's own:  python tests/snippets.py [DEVICE [DTYPE]]"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

README = Path(__file__).parents[1] / "README.md"


class OnGraphs(nn.Module):
    """A displacement for each node, from its position and velocity."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 3)

    def forward(self, data: Any) -> torch.Tensor:
        return self.net(torch.cat([data.pos, data.vel], -1))


def run(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What the names stand for after all of the README's Python has run."""
    from torch_geometric.data import Batch, Data

    torch.manual_seed(0)
    make = {"device": device, "dtype": dtype}
    vectors = lambda count: torch.randn(count, 3, **make)  # noqa: E731
    graphs = Batch.from_data_list([Data(pos=vectors(n), vel=vectors(n), y=vectors(n)) for n in (3, 5)])
    network = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 3)).to(**make)
    x = vectors(8)
    names = {"model": network, "predict": network, "loader": [(x, x.cross(x.roll(1, 0), dim=-1))], "x": x}
    for place, block in enumerate(re.findall(r"```python\n(.*?)```", README.read_text(), re.S)):
        if place:
            names |= {"model": OnGraphs().to(**make), "loader": [graphs]}
        own = block.replace("LieAugmenter(3, gamma=1.0)", f"LieAugmenter(3, gamma=1.0).to('{device}', {dtype})")
        own = own.replace("haar(3)", f"haar(3).to('{device}', {dtype})")
        exec(own, names)
    return names


if __name__ == "__main__":
    found = run(*sys.argv[1:2], *(getattr(torch, name) for name in sys.argv[2:3]))
    print({name: value.item() for name, value in found["terms"].items()})
