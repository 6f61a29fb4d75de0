"""Adam on the stacks that are trained, against two other ways to step them, in turn in one process with one thread.

    python -m benchmarks.adam

`formula` writes the update out with tensor operations, in blocks that stay in the cache; `class` is `torch.optim.Adam(fused=True)` with a
group for each member. Writes its rows into results/benchmarks.csv.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from benchmarks.exp_map import keep
from lib.experiments.stack import Adam
from lib.experiments.store import machine
from lib.experiments.sweep import reuse_memory

STACKS = {  # members, parameters each
    "6 perceptrons of motion capture": (6, 1_116_653),
    "a Transformer of N-body": (1, 11_827_587),
    "6 small Transformers": (6, 60_000),
    "15 GNNs": (15, 105_027),
    "3 CNNs": (3, 31_000),
    "6 perceptrons of two bodies": (6, 36_000),
    "6 tiny perceptrons": (6, 5_000),
}
ROUNDS, ENTRIES = 15, 2_000_000  # rounds counted; entries that a side steps through in one, at least
BLOCK = 2**17


class Formula:
    """The update as it is written."""

    def __init__(self, theta: Tensor, rates: Tensor, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.rates, self.betas, self.eps, self.steps = rates, betas, eps, 0
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)

    def step(self, theta: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        b1, b2 = self.betas
        for at, g, mean, square in zip(*(part.split(BLOCK, 1) for part in (theta, gradient, self.mean, self.square)), strict=True):
            mean.mul_(b1).add_(g * (1 - b1))
            square.mul_(b2).add_((g * g).mul_(1 - b2))
            size = (square / (1 - b2**self.steps)).sqrt_().add_(self.eps)
            at.sub_((mean / (1 - b1**self.steps)).mul_(self.rates).div_(size))


class Class:
    """PyTorch's optimiser."""

    def __init__(self, theta: Tensor, rates: Tensor):
        groups = [{"params": [row], "lr": rate} for row, rate in zip(theta, rates.flatten().tolist(), strict=True)]
        self.optimiser = torch.optim.Adam(groups, fused=True)

    def step(self, theta: Tensor, gradient: Tensor) -> None:
        for group, row in zip(self.optimiser.param_groups, gradient, strict=True):
            group["params"][0].grad = row
        self.optimiser.step()


def compare(members: int, parameters: int) -> list[float]:
    """Median seconds of a step of ours, of the formula and of the class, after a check that all three end in the same place."""
    start, *gradients = torch.randn(3, members, parameters, generator=torch.Generator().manual_seed(0))
    rates = torch.full((members, 1), 1e-3)
    sides = [(theta, kind(theta, rates)) for kind in (Adam, Formula, Class) for theta in [start.clone()]]
    times, repeats = [[] for _ in sides], max(1, round(ENTRIES / start.numel()))
    for _ in range(ROUNDS + 2):
        for (theta, adam), seconds in zip(sides, times, strict=True):
            began = time.perf_counter()
            for i in range(repeats):
                adam.step(theta, gradients[i % 2])
            seconds.append((time.perf_counter() - began) / repeats)
    for theta, _ in sides[1:]:
        torch.testing.assert_close(theta, sides[0][0], rtol=1e-3, atol=1e-3)
    return [statistics.median(seconds[2:]) for seconds in times]


def main() -> None:
    torch.set_num_threads(1)
    reuse_memory()
    rows = []
    for size, stack in STACKS.items():
        ours, *others = compare(*stack)
        for name, reference in zip(("adam_formula", "adam_class"), others, strict=True):
            row = {"name": name, "size": size, "ours_s": ours, "reference_s": reference, "ratio": reference / ours}
            rows.append({**row, "device": machine("cpu"), "threads": 1})
            print(f"{size:32s} {name:13s} ours {1e3 * ours:7.3f} ms   reference {1e3 * reference:7.3f} ms   ratio {reference / ours:5.2f}")
    keep(rows)


if __name__ == "__main__":
    main()
