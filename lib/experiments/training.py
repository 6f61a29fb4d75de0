"""Training: one loop for every method; runs that differ in their seed or weights only train as one stack.

A run is a flat dictionary of plain values (see `lib.experiments.sweep`): task, scenario, model, method, hyperparameters, protocol and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from lib.experiments.checkpoint import Checkpoint, take_steps
from lib.experiments.evaluation import evaluate, evaluating
from lib.experiments.loss_surface import loss_surface, ruggedness
from lib.experiments.stack import Stack
from lib.experiments.trainable import Trainable
from lib.protocol import Run, looks
from lib.tasks import Task

FAR = 1_000_000  # between the seeds of a run's restarts


def fit(task: Task, runs: Sequence[Run], progress: Callable[[int], None] | None = None, **options: Any) -> list[dict[str, Any]]:
    """Train the runs as one stack on the task's device and evaluate the best weights on validation; one result a run.

    `options` are those of `trained`, which says what is raised. A run with a `surface` has the loss around its best weights too, on that
    many points in each of two directions. A run with `restarts` is trained that many times, see `best_of_restarts`.
    """
    if "restarts" in runs[0]:
        return best_of_restarts(task, runs, progress, **options)
    stack, spent = trained(task, runs, progress, **options)
    found = zip(runs, stack.best, stack.curves, strict=True)
    return [{**judged(stack.trainable(vector), task, run), "curves": curves, "train_s": spent} for run, vector, curves in found]


def trained(
    task: Task,
    runs: Sequence[Run],
    progress: Callable[[int], None] | None = None,
    *,
    known: Tensor | None = None,
    noise: float = 0.0,
    favoured: int | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[list[dict[str, list]]], None] | None = None,
) -> tuple[Stack, float]:
    """The stack, which knows the best weights of each run on validation, and the seconds a run.

    Each run draws from generators of its own, so its result does not depend on the stack: on a CPU exactly, but up to rounding where a
    layer has a single output (scalar predictions, GATr). On a GPU, and for networks that do not say `loops_on_cpu`, the stack is one
    program under `vmap`; else, and where a network draws at random in training (dropout), its members take turns. On a CPU steps are traced
    and replayed (`lib.experiments.traced`) unless they are few.

    Parameters
    ----------
    progress : called with the number of optimiser steps just done, summed over the stack.
    known : generators (C, n, n) found before, in place of the task's ground truth, for fixed augmenters and equivariant networks.
    noise : standard deviation of what is added to the start of every parameter, the basis too.
    favoured : the look at validation, counted from 0, whose score counts for the best: each is multiplied by 1 plus its distance from it.
        For `lib.experiments.canary`, which has to see that the best weights are kept and not the last.
    checkpoint : what the training goes on from, if it is there, and where it is kept from time to time.
    watch : called after each look at validation with the curves so far, one mapping a run.

    Raises
    ------
    ValueError : runs that differ in more than `STACKABLE`.  NonFiniteLossError : a loss became NaN or infinite.
    OutOfTimeError : the checkpoint's deadline is over.

    Source: SEMoLA A.1 (Adam, one learning rate, other defaults). Keeping the best weights on validation is Ours for SEMoLA; for REMUL it is
    GATr's early stopping, with fewer validations unless a run's `evaluations` asks for more, and without a network's own penalty in the
    validation loss. A remainder of the samples smaller than a batch is left out.
    """
    stack, checks = Stack(task, runs, known, noise), looks(runs[0])

    def step(number: int) -> None:
        terms = stack.step(number)
        if number in checks:
            stack.look(number, terms, 1.0 if favoured is None else 1.0 + abs(checks.index(number) - favoured))
            if watch:
                watch(stack.curves)
        if progress:
            progress(len(runs))

    return stack, take_steps(stack, runs[0]["steps"], step, checkpoint) / len(runs)


def judged(trainable: Trainable, task: Task, run: Run) -> dict[str, Any]:
    """The metrics and the basis of what was trained, and the loss around its weights where the run has a `surface`."""
    scores, basis = evaluate(trainable, task, run)
    if "surface" not in run:
        return {"metrics": scores, "basis": basis}
    with evaluating(trainable.model):
        grid = loss_surface(trainable.model, partial(task_loss, task), run["surface"], run["seed"])
    return {"metrics": {**scores, **ruggedness(grid)}, "basis": basis, "surface": grid.tolist()}


def best_of_restarts(
    task: Task, runs: Sequence[Run], progress: Callable[[int], None] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """`fit` from as many seeds as a run has `restarts`, the first its own; the result with the best validation score, and every restart's.

    Ours: which basis a run settles on is a matter of its start; where it is no symmetry the averaged predictor's validation score shows it.
    """
    count = runs[0]["restarts"]
    single = [{name: value for name, value in run.items() if name != "restarts"} for run in runs]
    tried = fit(task, [{**run, "seed": run["seed"] + FAR * i} for run in single for i in range(count)], progress, **options)
    score, best = f"val_{task.metric_name}", max if task.metric_name == "accuracy" else min
    results = []
    for start in range(0, len(tried), count):
        group = tried[start : start + count]
        kept = best(group, key=lambda result: result["metrics"][score])
        spent = sum(result["train_s"] for result in group)
        results.append({**kept, "train_s": spent, "restarts": [result["metrics"] for result in group]})
    return results


def task_loss(task: Task, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """The task's loss over all training samples."""
    return task.loss(predict(task.train[0]), task.train[1])
