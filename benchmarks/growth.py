"""How the time and the memory of a step grow: with samples, copies, generators, the size of matrices, members of a stack, and tokens.

    python -m benchmarks.growth

Every point has a process of its own, one thread: seconds are the median of steps, bytes the most that the process had beyond what it needs
at the series' least size, tracing included. Writes results/growth.csv: axis, series, size, seconds, bytes, device.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from benchmarks import exp_map
from lib import models, tasks
from lib.augmenter import LieAugmenter
from lib.draws import random_stream
from lib.experiments.freshness import data_of
from lib.experiments.settings import labelled_plan
from lib.experiments.stack import Stack
from lib.experiments.store import machine
from lib.experiments.sweep import reuse_memory

FILE = Path(__file__).parents[1] / "results" / "growth.csv"
SECONDS, FEWEST = 1.5, 7  # of a point's timing, and of its steps
SMALL = {  # networks of the tables at sizes that tell how they grow, on batches of 8
    "Transformer": ("transformer", {"blocks": 4, "width": 96, "heads": 4}),
    "GATr": ("gatr", {"blocks": 4, "mv": 8, "s": 32, "heads": 4}),
    "SE(3)-Transformer": ("se3_transformer", {"layers": 2, "channels": 4, "degrees": 2}),
}


def of_training(members: int = 1, **changed: int) -> Callable[[], object]:
    """A step of SEMoLA on two bodies, as it is trained."""
    run = {**dict(labelled_plan("two_body", "quick"))["SEMoLA_0"], **changed}
    run = {name: value for name, value in run.items() if name not in ("restarts", "warmup", "decay")}
    data = data_of(run)
    stack, step = Stack(tasks.load(data.pop("task"), **data), [{**run, "seed": seed} for seed in range(members)]), itertools.count(1)
    return lambda: stack.step(next(step))


def of_augmentation(n: int = 8, cardinality: int = 1, batch: int = 256) -> Callable[[], object]:
    """Elements of a group, each applied to a vector, and the gradient with respect to the generators."""
    generator = torch.Generator().manual_seed(0)
    augmenter = LieAugmenter(n, cardinality, init=torch.randn(cardinality, n, n, generator=generator))
    w, x = augmenter.coefficients(batch, 1, generator), torch.randn(batch, 1, n, 1, generator=generator)
    return lambda: exp_map.step(augmenter, augmenter, w, x)


def of_network(name: str, tokens: int) -> Callable[[], object]:
    """A forward and a backward pass over eight samples of so many bodies."""
    model, options = SMALL[name]
    x = torch.randn(8, tokens, 7)
    network = models.build(model, random_stream(0, "network"), x.shape[1:], torch.Size([tokens, 3]), None, None, **options)

    def step() -> None:
        network.zero_grad()
        network(x).square().mean().backward()

    return step


POINTS = {  # axis -> series -> how a step of that size is made, and the sizes
    "samples a batch": {"SEMoLA on two bodies": (lambda size: of_training(batch_size=size), (16, 64, 256, 1024, 4096))},
    "copies K a sample": {"SEMoLA on two bodies": (lambda size: of_training(copies=size), (1, 4, 16, 64, 256))},
    "runs of a stack": {"SEMoLA on two bodies": (lambda size: of_training(members=size), (1, 2, 4, 8, 16, 32))},
    "generators C": {"augmentation, n = 8": (lambda size: of_augmentation(cardinality=size, batch=2048), (1, 2, 4, 8, 16, 32))},
    "size n of matrices": {
        "one generator": (lambda size: of_augmentation(n=size), (4, 8, 16, 32, 64)),
        "two generators": (lambda size: of_augmentation(n=size, cardinality=2), (4, 8, 16, 32, 64)),
    },
    "bodies": {name: (lambda size, name=name: of_network(name, size), (4, 8, 16, 32, 64, 128)) for name in SMALL},
}


def most_after_four(step: Callable[[], object]) -> int:
    """The most bytes that the process has had after four steps, of which one was traced and two were looked at."""
    for _ in range(4):
        step()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(axis: str, series: str, size: int) -> dict:
    """A point: seconds of a step, and bytes that it needs beyond the least one's."""
    torch.set_num_threads(1)
    reuse_memory()
    torch.manual_seed(0)
    made, sizes = POINTS[axis][series]
    smallest, step = made(min(sizes)), made(size)
    least, most = (most_after_four(one) for one in (smallest, step))
    spent, until = [], time.perf_counter() + SECONDS
    while len(spent) < FEWEST or time.perf_counter() < until:
        start = time.perf_counter()
        step()
        spent.append(time.perf_counter() - start)
    found = {"seconds": statistics.median(spent), "bytes": most - least, "device": machine("cpu")}
    return {"axis": axis, "series": series, "size": size, **found}


def main() -> None:
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        points = [(axis, series, size) for axis, lines in POINTS.items() for series, (_, sizes) in lines.items() for size in sizes]
        for axis, series, size in points:
            rows.append(pool.apply(measured, (axis, series, size)))
            print(f"{axis:18s} {series:22s} {size:5d} {rows[-1]['seconds']:9.5f} s {rows[-1]['bytes'] / 2**20:8.1f} MiB")
    pd.DataFrame(rows).to_csv(FILE, index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main()
