"""A step of SEMoLA as this package trains it against the same step in plain PyTorch, in turns, in one run.

    python -m benchmarks.semola_step

Plain: `torch.linalg.matrix_exp` of each sample's element, a copy of the sample for each element, PyTorch's own Adam, and no stack. Both
steps have the same network, batch, copies and terms. Writes its rows into results/benchmarks.csv.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from benchmarks.exp_map import compared, keep
from benchmarks.gatr import alternating
from lib import tasks
from lib.actions import on_images, on_stacks, on_vectors, pixel_grid
from lib.experiments.freshness import data_of
from lib.experiments.settings import labelled_plan
from lib.experiments.stack import Stack
from lib.experiments.sweep import reuse_memory
from lib.experiments.trainable import Trainable
from lib.losses import WHOLE
from lib.protocol import Batches, Run

STEPS = {"two_body": ("SEMoLA_0", 20), "discrete_rotation": ("SEMoLA", 20), "rotated_mnist": ("SEMoLA", 5)}  # in one timing


def plain_exponential(augmenter: nn.Module) -> Callable[[Tensor], Tensor]:
    """exp(sum_c w_c L_c), each by itself."""
    return lambda w: torch.linalg.matrix_exp(torch.einsum("bkc,cij->bkij", w, augmenter.basis()))


def plain_images(g: Tensor, x: Tensor) -> Tensor:
    """Every image as many times as it has elements, and a grid for each."""
    copies, (height, width) = g.shape[1], x.shape[2:]
    grid = torch.einsum("bij,pj->bpi", g.flatten(0, 1)[:, :2], pixel_grid(height, width)).reshape(-1, height, width, 2)
    return grid_sample(x.repeat_interleave(copies, 0), grid, align_corners=True).unflatten(0, (len(x), copies))


def plain_vectors(g: Tensor, x: Tensor) -> Tensor:
    """Every element times its sample."""
    return (g @ x[:, None, :, None].expand(-1, g.shape[1], -1, -1)).squeeze(-1)


def plain_stacks(g: Tensor, x: Tensor) -> Tensor:
    """Every element times each vector of its sample."""
    return (g[:, :, None] @ x[:, None, ..., None].expand(-1, g.shape[1], -1, -1, -1)).squeeze(-1)


PLAIN = {on_images: plain_images, on_stacks: plain_stacks, on_vectors: plain_vectors}


class PlainLoop:
    """The run's training as one would write it down."""

    def __init__(self, run: Run, task: tasks.Task):
        actions = {name: PLAIN[getattr(task, name)] for name in ("rho_x", "rho_y") if getattr(task, name) in PLAIN}
        self.run, self.task = run, replace(task, **actions)
        self.trainable = Trainable(run, self.task)
        self.trainable.augmenter.forward = plain_exponential(self.trainable.augmenter)
        self.optimiser = torch.optim.Adam(self.trainable.parameters(), run["lr"])
        self.draws = torch.Generator().manual_seed(0)
        self.batches = Batches(len(task.train[1]), run["batch_size"], self.draws)

    def step(self) -> None:
        (x, y), chosen = self.task.train, next(self.batches)
        coefficients = self.trainable.augmenter.coefficients(len(chosen), self.run["copies"], self.draws)
        weights = {name: self.run[name] for name in self.trainable.method.hyperparameters}
        loss, _ = self.trainable(x[chosen], y[chosen], coefficients, weights, WHOLE)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def repeat(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def main() -> None:
    reuse_memory()
    rows = []
    for (experiment, (label, steps)), members in itertools.product(STEPS.items(), (1, 6)):
        run = dict(labelled_plan(experiment, "quick"))[label]
        run = {name: value for name, value in run.items() if name not in ("restarts", "warmup", "decay")}
        data = data_of(run)
        task = tasks.load(data.pop("task"), **data)
        stack, plain, places = Stack(task, [{**run, "seed": seed} for seed in range(members)]), PlainLoop(run, task), itertools.count(1)
        times = alternating(partial(repeat, steps, lambda s=stack, at=places: s.step(next(at))), partial(repeat, steps, plain.step))
        ours, theirs = times[0] / steps / members, times[1] / steps
        size = f"{experiment} batch {run['batch_size']} K={run['copies']}, {members} run{'s' * (members > 1)} together"
        rows.append(compared("semola_step", size, ours, theirs))
    keep(rows)


if __name__ == "__main__":
    main()
