"""A step as trainings make it, traced and replayed, against the same step as it is written, in turns, in one run.

    python -m benchmarks.traced

Writes its rows into results/benchmarks.csv.
"""

from __future__ import annotations

import itertools
from functools import partial

from benchmarks.exp_map import compared, keep
from benchmarks.gatr import alternating
from benchmarks.semola_step import repeat
from lib import tasks
from lib.experiments import stack
from lib.experiments.freshness import data_of
from lib.experiments.settings import labelled_plan
from lib.experiments.sweep import reuse_memory

ROWS = {  # steps of one timing
    ("two_body", "MLP"): 20, ("two_body", "SEMoLA_0"): 10, ("two_body", "EMLP + GT"): 10, ("mocap_mlp", "EMLP"): 4,
    ("nbody", "Transformer"): 2, ("mocap", "Transformer"): 2, ("md17", "GNN"): 1, ("md17", "EGNN"): 1, ("nbody", "GATr"): 1,
    ("rotated_mnist", "SEMoLA"): 1,
}  # fmt: skip


def main() -> None:
    reuse_memory()
    rows = []
    for (experiment, label), steps in ROWS.items():
        run = dict(labelled_plan(experiment, "quick"))[label]
        run = {name: value for name, value in run.items() if name not in ("restarts", "warmup", "decay")}
        data, sides = data_of(run), []
        task = tasks.load(data.pop("task"), **data)
        for traced_from in (0, run["steps"] + 1):
            stack.TRACED_FROM = traced_from
            made, places = stack.Stack(task, [run]), itertools.count(1)
            sides.append(partial(repeat, steps, lambda made=made, at=places: made.step(next(at))))
        times = alternating(*sides)
        rows.append(compared("traced", f"{experiment}: {label}", *(seconds / steps for seconds in times)))
    keep(rows)


if __name__ == "__main__":
    main()
