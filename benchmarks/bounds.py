"""How far a training step of each kind of network is from what its operations alone would take: the breakdown of a step, in one run.

    python -m benchmarks.bounds

The bound is the counted operations of a step (three predictions' worth a sample and pass) at the rate of one large matrix product,
measured here, too. Prints the parts of a step; writes the rows `bound` into results/benchmarks.csv: ours_s a step, reference_s its bound,
ratio the share of the step that the bound explains.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.exp_map import compared, keep
from lib import tasks
from lib.experiments.freshness import data_of
from lib.experiments.prices import operations, work_of
from lib.experiments.settings import labelled_plan
from lib.experiments.stack import Stack
from lib.experiments.sweep import reuse_memory
from lib.experiments.timing import parts_of_a_step
from lib.experiments.trainable import Trainable

STEPS, SIZE = 20, 1024
ROWS = {
    "rotated_mnist": ("CNN", "GCNN", "SEMoLA"), "two_body": ("MLP", "SEMoLA_0", "EMLP + GT"), "nbody": ("Transformer", "REMUL", "GATr"),
    "mocap": ("Transformer", "REMUL"), "mocap_mlp": ("MLP", "EMLP"), "md17": ("GNN", "REMUL", "EGNN"), "flow": ("CNN", "E2CNN"),
    "qm9": ("SEMoLA",),
}  # fmt: skip


def rate() -> float:
    """Operations a second of one large matrix product."""
    a, b = torch.randn(2, SIZE, SIZE).unbind(0)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * SIZE**3 / statistics.median(times)


def main() -> None:
    reuse_memory()
    rows, fastest = [], rate()
    print(f"a product of {SIZE} x {SIZE} matrices: {fastest / 1e9:.0f} billion operations a second, {torch.get_num_threads()} threads")
    for experiment, labels in ROWS.items():
        for label in labels:
            run = dict(labelled_plan(experiment, "quick"))[label]
            run = {name: value for name, value in run.items() if name != "restarts"}
            data = data_of(run)
            task = tasks.load(data.pop("task"), **data)
            stack, times = Stack(task, [run]), []
            for step in range(1, STEPS + 4):
                start = time.perf_counter()
                stack.step(step)
                times.append(time.perf_counter() - start)
            taken = statistics.median(times[3:])
            alone = {**run, "steps": 1, "evaluations": 1, "n_eval": 0, "error_samples": 0}
            bound = operations(alone, work_of(run)) / fastest
            parts = parts_of_a_step(Trainable(run, task), task, run, time.perf_counter)
            forward, backward = (1e3 * parts[part]["median"] for part in ("forward_s", "backward_s"))
            print(f"forward {forward:8.2f} ms, backward {backward:8.2f} ms; ", end="")
            rows.append(compared("bound", f"{experiment}: {label}", taken, bound))
    keep(rows)


if __name__ == "__main__":
    main()
