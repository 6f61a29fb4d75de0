"""Runs are data: train what is missing, and keep a record of each."""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm import tqdm

from lib import models, tasks
from lib.experiments.canary import canary, trainer_of
from lib.experiments.checkpoint import Checkpoint, OutOfTimeError, clocks
from lib.experiments.clusters import CLUSTERS, Pool
from lib.experiments.freshness import code_digest, data_of, fingerprint, loader_digest, state
from lib.experiments.settings import plan, profile_of
from lib.experiments.stack import STACKABLE
from lib.experiments.store import RESULTS, MissingRecordError, basis_digest, provenance, read_record, record_path, write_record
from lib.experiments.values import ConfigError
from lib.losses import METHODS
from lib.protocol import Run

BACKENDS = ("loky", "multiprocessing", "serial", *CLUSTERS)
WANTED = {"missing": ("missing", "stale"), "earlier": ("missing", "stale", "earlier"), "never": (), "all": None}  # the states to train
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def records(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> list[dict[str, Any]]:
    """The runs' records, each with its `state`. Raises MissingRecordError with the first missing run and the command that makes it."""
    found = []
    for run in runs:
        path = record_path(experiment, run, results)
        record = read_record(path)
        if record is None:
            profile = profile_of(experiment, run)
            how = f"`python -m lib train {experiment} --profile {profile}`" if profile else "lib.experiments.sweep.train_missing"
            raise MissingRecordError(f"there is no record of the run {path.stem}: train it with {how}, or restore {path.name} from git")
        found.append({**record, "state": state(record, path.parent)})
    return found


def resolved(experiment: str, profile: str, results: Path = RESULTS) -> str:
    """The profile; for "best" the highest of paper and quick whose records are all there and not stale, quick where neither is."""
    if profile != "best":
        return profile
    for name in ("paper", "quick"):
        states = {state_of(experiment, run, results) for run in plan(experiment, name)}
        if not states & {"missing", "stale"}:
            return name
    return "quick"


def to_train(experiment: str, runs: Sequence[Run], which: str = "missing", results: Path = RESULTS) -> list[Run]:
    """Those of the runs that `train_missing` would train. Raises ConfigError for an unknown choice."""
    if which not in WANTED:
        raise ConfigError(f"--which must be one of {', '.join(WANTED)}, got {which!r}")
    return [run for run in runs if WANTED[which] is None or state_of(experiment, run, results) in WANTED[which]]


def train_missing(
    experiment: str,
    runs: Sequence[Run],
    *,
    results: Path = RESULTS,
    which: str = "missing",
    minutes: float = float("inf"),
    device: str = "cpu",
    backend: str = "loky",
    threads: int = 1,
) -> int:
    """Train the runs whose record is missing or stale (`which` = "missing"), those too whose canary is of an earlier form ("earlier"), or
    all of them; returns how many are left.

    A record is written as soon as its run ends. What is in flight when the `minutes` are over, or is killed, goes on from its checkpoint at
    the next call, by the same code on the same device (`lib.experiments.checkpoint`). Runs of one shape train as one
    stack; on a CPU as many train at once as there are cores, each with one thread unless told otherwise.

    Parameters
    ----------
    backend : "serial", "loky" or "multiprocessing", processes of this machine, or a cluster of `lib.experiments.clusters`.

    Raises ConfigError for an unknown backend or choice, and as `clusters` does.
    """
    todo = to_train(experiment, runs, which, results)
    if backend not in BACKENDS:
        raise ConfigError(f"--backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if not todo:
        return 0
    done, end = 0, time.time() + 60 * minutes

    def pending(runs: Sequence[Run]) -> Iterator:
        for stack in stacked(runs, device):
            if time.time() > end:
                return
            yield joblib.delayed(train_until)(end, experiment, stack, device, Path(results).resolve(), threads)

    alone = 1 if device.startswith("cuda") else min(joblib.cpu_count(), max(1, len(todo)))
    with pool_of(backend, alone) as pool, tqdm(total=len(todo), desc=experiment, unit="run") as bar:
        for wave in (False, True):  # what takes its basis from another run's record comes after it
            now = to_train(experiment, [run for run in runs if ("basis" in run) == wave], which, results)
            for count in pool(pending(now)):
                done += count
                bar.update(count)
    return max(len(todo), done) - done if which == "all" else len(to_train(experiment, runs, which, results))


@contextmanager
def pool_of(backend: str, workers: int) -> Iterator[Pool]:
    """What makes calls and gives what they return, as they end: a cluster, or so many processes of this machine."""
    if backend in CLUSTERS:
        with CLUSTERS[backend]() as pool:
            yield pool
    else:
        backend, workers = ("sequential", 1) if backend == "serial" or workers == 1 else (backend, workers)
        yield joblib.Parallel(workers, backend=backend, pre_dispatch="n_jobs", batch_size=1, return_as="generator_unordered")


def state_of(experiment: str, run: Run, results: Path = RESULTS) -> str:
    """The state of a run's record, see `lib.experiments.freshness`."""
    path = record_path(experiment, run, results)
    return state(read_record(path), path.parent)


def stacked(runs: Sequence[Run], device: str) -> list[list[Run]]:
    """Runs that differ in their seed and weights only, together; networks that take turns on a CPU one by one there. Those of the same data
    follow one another, so that a worker loads it once."""

    def shape(run: Run) -> str:
        alone = METHODS[run["method"]].adversarial or (device == "cpu" and getattr(models.class_of(run["model"]), "loops_on_cpu", False))
        return json.dumps({key: value for key, value in run.items() if alone or key not in STACKABLE}, sort_keys=True)

    by_data = sorted(runs, key=lambda run: (json.dumps(data_of(run), sort_keys=True), shape(run)))
    return [list(group) for _, group in itertools.groupby(by_data, key=shape)]


def reuse_memory() -> None:
    """Have glibc keep what is freed: by default large tensors go back to the system, which clears pages for the next step.

    Ours, for speed (benchmarks/memory.py); other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def train_stack(
    experiment: str, stack: Sequence[Run], device: str = "cpu", results: Path = RESULTS, threads: int = 1, deadline: float = float("inf")
) -> int:
    """Train one stack until `deadline` (of `time.monotonic`) at most, write its records, return how many: none if it has to go on later."""
    torch.set_num_threads(threads)
    reuse_memory()
    canaries = [canary(run) for run in stack]  # first: where one fails, nothing that was trained is lost
    first, started = stack[0], clocks()
    made = {"digest": code_digest(first), "loader": loader_digest(first), **provenance(device, torch.get_num_threads())}
    task, shadow = load_task(device, **data_of(first))
    source, trainer = discovered(experiment, first, results), trainer_of(first)
    known = None if source is None else torch.tensor(source["basis"])
    made |= {} if source is None else {"known": basis_digest(source)}
    origin = " ".join(map(str, (made["digest"], task.data, task.sha256, made.get("known"))))  # other data or another basis: from the start
    checkpoint = Checkpoint(Path(results).parent / "build" / "checkpoints", stack, origin, device, deadline)
    try:
        results_of_stack = trainer.fit(task, stack, known=known, checkpoint=checkpoint)
    except OutOfTimeError as over:
        print(over)
        return 0
    wall, core = (clocks() - started + checkpoint.before).tolist()
    made |= {"wall_s": wall / len(stack), "core_s": core / len(stack), "data": task.data, "sha256": task.sha256, "fingerprint": shadow}
    for run, result, replayed in zip(stack, results_of_stack, canaries, strict=True):
        write_record(record_path(experiment, run, results), {"run": run, **result, "canary": replayed, **made})
    checkpoint.remove()
    return len(stack)


def train_until(end: float, *call: Any) -> int:
    """`train_stack` until that time of day, which machines share, as they do not their monotonic clocks."""
    return train_stack(*call, deadline=time.monotonic() + end - time.time())


def discovered(experiment: str, run: Run, results: Path = RESULTS) -> dict[str, Any] | None:
    """The record that a run takes its basis from, or None. Raises MissingRecordError where it is not there."""
    if "basis" not in run:
        return None
    record = read_record(Path(results) / "runs" / experiment / f"{run['basis']}.json")
    if record is None:
        raise MissingRecordError(f"the basis of {run['basis']} is not there: train it first with `python -m lib train {experiment}`")
    return record


@functools.lru_cache(maxsize=1)
def load_task(device: str, task: str, **options: Any) -> tuple[tasks.Task, dict[str, Any]]:
    """The task on its device, and its fingerprint, kept for the next run of the same data."""
    loaded = tasks.load(task, **options)
    return loaded.to(device), fingerprint(loaded)
