"""A sweep on MD17 as this package trains it, stacks in parallel processes, against one run after another, in one run.

    python benchmarks/md17_sweep.py [--device cuda]

Every molecule with a trajectory or a stand-in; three seeds each of the plain GNN, augmentation, and REMUL at three betas. One after
another, each run has all threads to itself. Both sides take the same steps with the same code, so the ratio is that of stacking and of
processes alone. Writes its row into results/benchmarks.csv.
"""

from __future__ import annotations

import argparse
import time

import joblib
import torch
from exp_map import keep

from lib import tasks, train
from lib.data import DataError
from lib.plan import DATA, Run, plan
from lib.records import machine
from lib.runs import stacked

STEPS = 30
SHORT = {"steps": STEPS, "n_eval": 20, "error_samples": 1, "error_draws": 1}  # what is timed is training


def sweep() -> dict[str, tuple[tasks.Task, list[Run]]]:
    """By molecule, the task and its runs."""
    found = {}
    for run in plan("md17", "paper"):
        if run["model"] == "gnn" and run.get("lambda_equiv", 1.0) in (0.1, 1.0, 10.0):
            found.setdefault(run["scenario"], []).append({**run, **SHORT})
    loaded = {}
    for molecule, runs in found.items():
        try:
            loaded[molecule] = tasks.load("md17", **{name: runs[0][name] for name in DATA if name in runs[0]}), runs
        except DataError as error:
            print(f"{molecule} is left out: {error}")
    return loaded


def train_stack(task: tasks.Task, stack: list[Run], threads: int) -> None:
    torch.set_num_threads(threads)
    train.fit(task, stack)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    work = {molecule: (task.to(device), runs) for molecule, (task, runs) in sweep().items()}
    cores = 1 if device.startswith("cuda") else joblib.cpu_count()
    jobs = [(task, stack) for task, runs in work.values() for stack in stacked(runs, device)]
    jobs.sort(key=lambda job: -len(job[1]) * job[0].outputs.numel())  # the longest first, so that no process is left with it
    with joblib.Parallel(cores) as pool:
        pool(joblib.delayed(train_stack)(task, [{**stack[0], "steps": 2}], 1) for task, stack in jobs[: 2 * cores])  # imports, first calls
        started = time.perf_counter()
        pool(joblib.delayed(train_stack)(task, stack, 1) for task, stack in jobs)
        ours = time.perf_counter() - started
    train_stack(jobs[0][0], [{**jobs[0][1][0], "steps": 2}], cores)
    started = time.perf_counter()
    for task, runs in work.values():
        for run in runs:
            train_stack(task, [run], cores)
    reference = time.perf_counter() - started
    count = sum(len(runs) for _, runs in work.values())
    row = {"name": "md17_sweep", "size": f"{count} runs of {STEPS} steps, {len(work)} molecules", "ours_s": ours, "reference_s": reference}
    keep([{**row, "ratio": reference / ours, "device": machine(device), "threads": cores}])
    print(f"{row['size']}: ours {ours:.1f} s, one after another {reference:.1f} s, ratio {reference / ours:.2f}")


if __name__ == "__main__":
    main()
