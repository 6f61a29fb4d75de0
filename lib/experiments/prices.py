"""What runs cost before they are trained: by counted operations and saved tensors, from what recorded runs took."""

from __future__ import annotations

import functools
import heapq
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from lib import models, tasks
from lib.experiments.freshness import data_of
from lib.experiments.store import RESULTS, read_record, record_path, seconds_of
from lib.experiments.sweep import stacked, state_of
from lib.experiments.values import ConfigError
from lib.losses import METHODS
from lib.protocol import Run, looks
from lib.tasks.files.sources import DataError

# What a larger network's additional operations run at. Ours: 42 to 55 billion a second between sizes of one network on one core, of four
# bodies (tests/test_prices.py has it from the records) and of motion; of a GPU nothing is recorded, and 20 trillion are taken.
CORE, GPU = 50e9, 20e12
SAMPLES = 4  # that a network is counted on


class Work(NamedTuple):
    """Of one sample: operations of a prediction, and bytes that its backward pass keeps; bytes of the parameters."""

    operations: float
    kept: float
    parameters: int


def work_of(run: Run) -> Work:
    """Counted on a few samples of the run's task."""
    sizes = {name: SAMPLES for name in tasks.SIZES if name in run}
    return _work(json.dumps([run["model"], run.get("model_options", {}), data_of(run) | sizes], sort_keys=True))


@functools.cache
def _work(described: str) -> Work:
    model, options, data = json.loads(described)
    name = data.pop("task")
    try:
        task = tasks.load(name, **data)
    except (DataError, ValueError):  # made-up samples have the form of real ones, but fewer atoms, frames and pixels
        task = tasks.load_tiny(name, scenario=data["scenario"])
    shapes, (x, y) = (task.train[0].shape[1:], task.outputs), (part[:SAMPLES].clone() for part in task.train)
    if judges := model in models.DISCRIMINATORS:
        network = models.discriminator(model, x, y, **options)
    else:
        network = models.build(model, torch.Generator(), *shapes, task.generators, task.graph, **options)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x, y) if judges else network(x)
    activations = sum(size for place, size in kept.items() if place not in own)
    parameters = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    return Work(counter.get_total_flops() / len(x), activations / len(x), parameters)


def seen(run: Run) -> int:
    """Samples that pass the network in a step: the batch, and its copies; of a discriminator fakes for either side, and real ones."""
    method = METHODS[run["method"]]
    if method.adversarial:
        return 3 * run["batch_size"]
    return run["batch_size"] * ((method.alpha != 0.0) + (method.beta != 0.0) * run.get("copies", 1))


def operations(run: Run, work: Work) -> float:
    """Of a whole run: three predictions' worth for each sample of a step, one for each of a look and of the evaluation, if it has them."""
    if METHODS[run["method"]].adversarial:
        return work.operations * 3 * run["steps"] * seen(run)
    averaged = METHODS[run["method"]].basis not in (None, "group")
    moved = run["error_samples"] * run["error_draws"] * (1 + run.get("test_copies", 1) if averaged else 2)
    return work.operations * (3 * run["steps"] * seen(run) + len(looks(run)) * run["n_eval"] + moved + 2 * run["n_eval"])


def memory(run: Run, work: Work) -> float:
    """Bytes of tensors at a step: parameters, their gradient and Adam's two moments, and what the backward pass keeps."""
    return 4 * work.parameters + work.kept * seen(run)


def estimates(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> list[float | None]:
    """Core-minutes of each run: its operations at `CORE`, and as many steps with what a step of the recorded run of its model, method and
    K that is nearest in size took besides; of several the latest, as older code was slower. None where there is no such record."""

    def kind(run: Run) -> tuple:
        return run["model"], run["method"], run.get("copies"), run["task"]

    recorded: dict[tuple, list[tuple[float, str, float]]] = {}
    for path in (Path(results) / "runs" / experiment).glob("*.json"):
        record = read_record(path)
        if "wall_s" in record:
            run, work = record["run"], work_of(record["run"])
            spent = seconds_of(record) - operations(run, work) / CORE
            recorded.setdefault(kind(run), []).append((work.operations, record["date"], spent / run["steps"]))
    found = []
    for run in runs:
        known, work = recorded.get(kind(run), []), work_of(run)
        nearest = min((abs(other - work.operations) for other, _, _ in known), default=None)
        if nearest is None:
            found.append(None)
            continue
        _, besides = max((date, spent) for other, date, spent in known if abs(other - work.operations) == nearest)
        found.append(max(0.0, run["steps"] * besides + operations(run, work) / CORE) / 60)
    return found


def hours(minutes: Sequence[float], workers: int) -> float:
    """Until all is done by so many workers, the longest first. Raises ConfigError for fewer than one."""
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    busy = [0.0] * workers
    for one in sorted(minutes, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy) / 60


def print_plan(experiment: str, runs: Sequence[Run], workers: int = 1, results: Path = RESULTS) -> None:
    """One line a run: its state, its estimated minutes, its record's name; then what all of them cost, and those that are to be trained:
    in core-minutes, in hours by so many workers, on a GPU at least, and in memory."""
    costs = estimates(experiment, runs, results)
    states = [state_of(experiment, run, results) for run in runs]
    for run, minutes, now in zip(runs, costs, states, strict=True):
        print(f"{now:9s} {'?' if minutes is None else f'{minutes:.1f}':>6s} min  {record_path(experiment, run, results).stem}")
    todo = [(run, minutes) for run, minutes, now in zip(runs, costs, states, strict=True) if now in ("missing", "stale")]
    known = [minutes for _, minutes in todo if minutes is not None]
    unknown = f" and {len(todo) - len(known)} runs of unknown cost" if len(known) < len(todo) else ""
    if todo:
        print(what_they_need([run for run, _ in todo], known, workers))
    total = sum(minutes or 0.0 for minutes in costs)
    print(f"{len(runs)} runs, about {total:.1f} core-minutes from no records; to train: about {sum(known):.1f} core-minutes{unknown}")


def what_they_need(runs: Sequence[Run], minutes: Sequence[float], workers: int) -> str:
    """Hours of so many workers with one core each, hours of a GPU, and memory of a worker and of the GPU."""
    largest = max(memory(run, work_of(run)) for run in runs)
    stacks = [sum(memory(run, work_of(run)) for run in stack) for stack in stacked(runs, "cuda")]
    gpu = sum(operations(run, work_of(run)) for run in runs) / GPU / 3600
    by = f"about {hours(minutes, workers):.1f} h by {workers} worker{'s' * (workers > 1)} of {largest / 2**30:.2f} GiB"
    return f"{by}; a GPU: {gpu:.2g} h at {GPU / 1e12:g} TFLOP/s, which nobody measured, and {max(stacks) / 2**30:.2f} GiB"
