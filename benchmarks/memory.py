"""Training steps with and without `lib.experiments.sweep.reuse_memory`, each side in processes of its own, in turn.

    python benchmarks/memory.py

Writes its rows into results/benchmarks.csv.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import torch
from exp_map import keep

from lib import tasks
from lib.experiments import training
from lib.experiments.settings import DATA, labelled_plan
from lib.experiments.store import machine
from lib.experiments.sweep import reuse_memory

CASES = {  # experiment, row, settings of it, members of the stack
    "SEMoLA's CNN, K = 16": ("rotated_mnist_ablations", "SEMoLA", {"copies": 16}, 1),
    "GATr": ("nbody", "GATr", {}, 1),
    "nine perceptrons": ("mocap_mlp", "MLP", {}, 9),
}
SHORT = {"n_train": 1000, "n_eval": 20, "error_samples": 1, "error_draws": 1, "steps": 30}
WARM_UP, ROUNDS = 5, 3


def main() -> None:
    rows = []
    for name in CASES:
        medians = {"ours": [], "reference": []}
        for side in [*medians] * ROUNDS:
            done = subprocess.run([sys.executable, __file__, name, side], capture_output=True, text=True, check=True)
            medians[side].append(json.loads(done.stdout.splitlines()[-1]))
        ours, reference = (statistics.median(values) for values in medians.values())
        row = {"name": "memory", "size": name, "ours_s": ours, "reference_s": reference, "ratio": reference / ours}
        rows.append({**row, "device": machine("cpu"), "threads": 1})
        print(f"{name:24s} ours {1e3 * ours:8.1f} ms   reference {1e3 * reference:8.1f} ms   ratio {reference / ours:5.2f}", flush=True)
    keep(rows)


def one_side(name: str, side: str) -> None:
    """Print the median seconds of a step in this process."""
    torch.set_num_threads(1)
    if side == "ours":
        reuse_memory()
    experiment, label, wanted, members = CASES[name]
    runs = (run for row, run in labelled_plan(experiment, "quick") if row == label and wanted.items() <= run.items())
    run, times = {**next(runs), **SHORT}, []
    task = tasks.load(run["task"], **{key: run[key] for key in DATA if key in run})
    training.fit(task, [{**run, "seed": seed} for seed in range(members)], lambda _: times.append(time.perf_counter()))
    print(json.dumps(statistics.median([b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)])))


if __name__ == "__main__":
    one_side(*sys.argv[1:]) if len(sys.argv) > 1 else main()
