"""What happens at which step of a training, whoever trains: batches, phases, the learning rate, looks at validation, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lib.losses import Phase

EVALUATIONS = 10  # validation passes of a run that names no number, evenly spaced; the best one's weights are kept
STAIRS = 50  # of the learning rate


class NonFiniteLossError(FloatingPointError):
    """A loss or a parameter became NaN or infinite."""


Run = Mapping[str, Any]  # names to plain values, all that makes a run: see `lib.experiments.settings.plan`


class Batches:
    """Which of `count` samples are in one batch after another: epochs in random order, a remainder smaller than a batch left out.

    Attributes
    ----------
    order : what is left of an epoch.  draws : the generator that the next one comes from.
    """

    def __init__(self, count: int, size: int, draws: torch.Generator):
        self.count, self.size, self.draws = count, size, draws
        self.order = torch.empty(0, dtype=torch.long, device=draws.device)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Int[Tensor, " size"]:
        if len(self.order) < self.size:
            self.order = torch.randperm(self.count, generator=self.draws, device=self.draws.device)
        batch, self.order = self.order[: self.size], self.order[self.size :]
        return batch


def looks(run: Run) -> list[int]:
    """The steps after which a run looks at validation: so many as it has `evaluations`, evenly spaced, the last step among them."""
    count = run.get("evaluations", EVALUATIONS)
    return sorted({max(1, round(run["steps"] * (i + 1) / count)) for i in range(count)})


def phase_of(run: Run, step: int) -> Phase:
    """Gamma grows linearly over the first `warmup` of the steps; from there R's weights fall linearly, to 0 at `decay` of the steps."""
    reach, push = 1.0, 1.0
    if "warmup" in run:
        reach = min(1.0, step / (run["warmup"] * run["steps"]))
    if "decay" in run:
        push = min(1.0, max(0.0, run["decay"] - step / run["steps"]) / (run["decay"] - run.get("warmup", 0.0)))
    return Phase(reach, push, reach**2)


def decayed(run: Run, step: int) -> float:
    """The learning rate's factor: from 1 towards `lr_decay` in 50 equal stairs. Source: GATr's code, which REMUL follows on N-body."""
    return run.get("lr_decay", 1.0) ** (STAIRS * (step - 1) // run["steps"] / STAIRS)


def add_point(curves: dict[str, list], point: Mapping[str, Any], seed: int) -> None:
    """Each number of the point at the end of its curve. Raises NonFiniteLossError, with all of them, where one is none."""
    if not all(map(math.isfinite, point.values())):
        raise NonFiniteLossError(f"step {point['step']} of seed {seed}: {dict(point)}; lower a learning rate or gamma")
    for name, value in point.items():
        curves.setdefault(name, []).append(value)
