"""A sweep on MD17 as this package trains it against one run after another, in one run.

    python -m benchmarks.md17_sweep [--device cuda]

Every molecule with a trajectory or a stand-in; three seeds each of the plain GNN, augmentation, and REMUL at three betas. On a GPU the
package trains stacks under vmap; on a CPU single runs in parallel processes, one thread each, as stacks gain nothing there. One after
another, each run has all threads to itself: once with the network as its authors compute it, in a plain loop (md17_sweep), once with the
code of this package (md17_sweep_same_code: what stacks or processes alone give; on a GPU a stack of one is a little slower than a plain
loop). Writes its rows into results/benchmarks.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial

import joblib
import torch

from benchmarks.exp_map import keep
from lib import tasks
from lib.draws import random_stream
from lib.experiments import training
from lib.experiments.settings import plan
from lib.experiments.store import machine
from lib.experiments.sweep import reuse_memory, stacked
from lib.experiments.trainable import Trainable
from lib.experiments.values import DATA
from lib.losses import objective
from lib.protocol import Run
from lib.tasks.files.prepared import DataError
from tests.scattered_gnn import scattered

STEPS = 10
SHORT = {"steps": STEPS, "n_eval": 20, "error_samples": 1, "error_draws": 1}  # what is timed is training


def sweep() -> list[tuple[tasks.Task, list[Run]]]:
    """A task and its runs, molecule by molecule."""
    found = {}
    for run in plan("md17", "paper"):
        if run["model"] == "gnn" and run.get("lambda_equiv", 1.0) in (0.1, 1.0, 10.0):
            found.setdefault(run["scenario"], []).append({**run, **SHORT})
    loaded = []
    for molecule, runs in found.items():
        try:
            loaded.append((tasks.load("md17", **{name: runs[0][name] for name in DATA if name in runs[0]}), runs))
        except DataError as error:
            print(f"{molecule} is left out: {error}")
    return loaded


def train_stack(task: tasks.Task, stack: list[Run], threads: int) -> None:
    torch.set_num_threads(threads)
    reuse_memory()
    training.fit(task, stack)


def train_as_published(task: tasks.Task, run: Run) -> None:
    """The same run as a plain loop over the network of gathers: two passes where there are two terms, PyTorch's own gradient and Adam."""
    trainable = Trainable(run, task)
    optimiser, draws = (
        torch.optim.Adam(trainable.model.parameters(), run["lr"]),
        random_stream(run["seed"], "augment", task.train[0].device),
    )
    weights = {name: run[name] for name in trainable.method.hyperparameters}
    for _ in range(run["steps"]):
        chosen = torch.randperm(len(task.train[0]), device=task.train[0].device)[: run["batch_size"]]
        x, y = task.train[0][chosen], task.train[1][chosen]
        w = None if trainable.augmenter is None else trainable.augmenter.coefficients(len(x), run["copies"], draws)
        loss, _ = objective(
            trainable.method, weights, partial(scattered, trainable.model), trainable.augmenter, x, y, w,
            loss=task.loss, rho_x=task.rho_x, rho_y=task.rho_y,
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def timed(calls: Iterable[Callable[[], None]], device: str) -> float:
    started = time.perf_counter()
    for call in calls:
        call()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    work = [(task.to(device), runs) for task, runs in sweep()]
    cores = 1 if device.startswith("cuda") else joblib.cpu_count()
    stacks = [(task, stack) for task, runs in work for stack in stacked(runs, device)]
    stacks.sort(key=lambda job: -len(job[1]) * job[0].outputs.numel())  # the longest first, so that no process is left with it
    singles = [(task, run) for task, runs in work for run in runs]
    sides = {
        "ours": lambda pool: [partial(pool, [joblib.delayed(train_stack)(task, stack, 1) for task, stack in stacks])],
        "alone": lambda _: [partial(train_stack, task, [run], cores) for task, run in singles],
        "published": lambda _: [partial(train_as_published, task, run) for task, run in singles],
    }
    with joblib.Parallel(cores) as pool:
        pool(
            joblib.delayed(train_stack)(task, [{**stack[0], "steps": 2}], 1) for task, stack in stacks[: 2 * cores]
        )  # imports, first calls
        train_stack(stacks[0][0], [{**stacks[0][1][0], "steps": 2}], cores)
        seconds = {name: timed(side(pool), device) for name, side in sides.items()}
    size, rows = f"{len(singles)} runs of {STEPS} steps, {len(work)} molecules", []
    for name, reference in (("md17_sweep", "published"), ("md17_sweep_same_code", "alone")):
        pair = {"ours_s": seconds["ours"], "reference_s": seconds[reference], "ratio": seconds[reference] / seconds["ours"]}
        rows.append({"name": name, "size": size, **pair, "device": machine(device), "threads": cores})
        print(f"{name}: ours {pair['ours_s']:.1f} s, one after another {pair['reference_s']:.1f} s, ratio {pair['ratio']:.2f}")
    keep(rows)


if __name__ == "__main__":
    main()
