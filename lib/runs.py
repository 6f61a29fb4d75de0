"""Runs are data: train what is missing, keep a record of each, and time what has no probe.

python -m lib.runs EXPERIMENT [--profile quick] [--plan] [--train missing|earlier|never|all] [--minutes 30] [--device cpu] [--backend loky]
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm import tqdm

from lib import models, tasks
from lib.canary import canary, trainer_of
from lib.data import DataError
from lib.freshness import ReplayError, code_digest, data_of, fingerprint, loader_digest, state
from lib.losses import METHODS
from lib.plan import ConfigError, Run, plan, profile_of
from lib.records import RESULTS, DamagedRecordError, MissingRecordError, basis_digest, provenance, read_record, record_path, write_record
from lib.stack import STACKABLE

WANTED = {"missing": ("missing", "stale"), "earlier": ("missing", "stale", "earlier"), "never": (), "all": None}  # the states to train
TIMED = ("smoke", "quick", "paper", "best")  # the profiles behind tables; what a search tries is not timed
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def records(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> list[dict[str, Any]]:
    """The runs' records, each with its `state`. Raises MissingRecordError with the first missing run and the command that makes it."""
    found = []
    for run in runs:
        path = record_path(experiment, run, results)
        record = read_record(path)
        if record is None:
            profile = profile_of(experiment, run)
            how = f"`python -m lib.runs {experiment} --profile {profile}`" if profile else "lib.runs.train_missing"
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


def train_missing(
    experiment: str,
    runs: Sequence[Run],
    *,
    results: Path = RESULTS,
    which: str = "missing",
    minutes: float = float("inf"),
    device: str = "cpu",
    backend: str = "loky",
) -> int:
    """Train the runs whose record is missing or stale (`which` = "missing"), those too whose canary is of an earlier form ("earlier"), or
    all of them; returns how many are left.

    A record is written as soon as its run ends, so a killed sweep loses the runs in flight only. No run starts after `minutes`.
    Runs of one shape train as one stack; on a CPU a stack has one thread, and as many train at once as there are cores.

    Parameters
    ----------
    backend : "serial", or joblib's name for several processes, "loky".
    """
    if which not in WANTED:
        raise ConfigError(f"--train must be one of {', '.join(WANTED)}, got {which!r}")
    if backend not in ("serial", "loky", "multiprocessing"):
        raise ConfigError(f"--backend must be serial, loky or multiprocessing, got {backend!r}")

    def wanted(run: Run) -> bool:
        return WANTED[which] is None or state_of(experiment, run, results) in WANTED[which]

    todo = [run for run in runs if wanted(run)]
    done, deadline = 0, time.monotonic() + 60 * minutes
    workers = min(joblib.cpu_count(), max(1, len(todo)))
    if device.startswith("cuda") or backend == "serial":
        workers, backend = 1, "sequential"

    def pending(runs: Sequence[Run]) -> Iterator:
        for stack in stacked(runs, device):
            if time.monotonic() > deadline:
                return
            yield joblib.delayed(train_stack)(experiment, stack, device, results)

    pool = joblib.Parallel(workers, backend=backend, pre_dispatch="n_jobs", batch_size=1, return_as="generator_unordered")
    with tqdm(total=len(todo), desc=experiment, unit="run", disable=not todo) as bar:
        for wave in (False, True):  # what takes its basis from another run's record comes after it
            for count in pool(pending([run for run in runs if ("basis" in run) == wave and wanted(run)])):
                done += count
                bar.update(count)
    return max(len(todo), done) - done if which == "all" else sum(map(wanted, runs))


def state_of(experiment: str, run: Run, results: Path = RESULTS) -> str:
    """The state of a run's record, see `lib.freshness`."""
    path = record_path(experiment, run, results)
    return state(read_record(path), path.parent)


def stacked(runs: Sequence[Run], device: str) -> list[list[Run]]:
    """Runs that differ in their seed and weights only, together; networks that take turns on a CPU one by one there."""

    def shape(run: Run) -> str:
        alone = METHODS[run["method"]].adversarial or (device == "cpu" and getattr(models.class_of(run["model"]), "loops_on_cpu", False))
        return json.dumps({key: value for key, value in run.items() if alone or key not in STACKABLE}, sort_keys=True)

    return [list(group) for _, group in itertools.groupby(sorted(runs, key=shape), key=shape)]


def reuse_memory() -> None:
    """Have glibc keep what is freed: by default large tensors go back to the system, which clears pages for the next step.

    Ours, for speed (benchmarks/memory.py); other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def train_stack(experiment: str, stack: Sequence[Run], device: str = "cpu", results: Path = RESULTS) -> int:
    """Train one stack, write its records, return how many."""
    torch.set_num_threads(1)
    reuse_memory()
    canaries = [canary(run) for run in stack]  # first: where one fails, nothing that was trained is lost
    first, started = stack[0], time.perf_counter()
    made = {"digest": code_digest(first), "loader": loader_digest(first), **provenance(device, torch.get_num_threads())}
    task, shadow = load_task(device, **data_of(first))
    source, trainer = discovered(experiment, first, results), trainer_of(first)
    known = None if source is None else torch.tensor(source["basis"])
    made |= {} if source is None else {"known": basis_digest(source)}
    results_of_stack = trainer.fit(task, stack, known=known)
    made |= {"wall_s": (time.perf_counter() - started) / len(stack), "data": task.data, "sha256": task.sha256, "fingerprint": shadow}
    for run, result, replayed in zip(stack, results_of_stack, canaries, strict=True):
        write_record(record_path(experiment, run, results), {"run": run, **result, "canary": replayed, **made})
    return len(stack)


def discovered(experiment: str, run: Run, results: Path = RESULTS) -> dict[str, Any] | None:
    """The record that a run takes its basis from, or None. Raises MissingRecordError where it is not there."""
    if "basis" not in run:
        return None
    record = read_record(Path(results) / "runs" / experiment / f"{run['basis']}.json")
    if record is None:
        raise MissingRecordError(f"the basis of {run['basis']} is not there: train it first with `python -m lib.runs {experiment}`")
    return record


@functools.lru_cache(maxsize=1)
def load_task(device: str, task: str, **options: Any) -> tuple[tasks.Task, dict[str, Any]]:
    """The task on its device, and its fingerprint, kept for the next run of the same data."""
    loaded = tasks.load(task, **options)
    return loaded.to(device), fingerprint(loaded)


# ------------------------------------------------------------------------------------------------------- command line


def estimates(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> list[float | None]:
    """Core-minutes of each run, in proportion to the steps of recorded runs of the same model, method and K; None without such."""

    def kind(run: Run) -> tuple:
        return run["model"], run["method"], run.get("copies")

    seconds: dict[tuple, list[float]] = {}
    for path in (Path(results) / "runs" / experiment).glob("*.json"):
        record = read_record(path)
        if "wall_s" in record:
            seconds.setdefault(kind(record["run"]), []).append(record["wall_s"] / record["run"]["steps"])
    means = {key: sum(values) / len(values) for key, values in seconds.items()}
    return [means[kind(run)] * run["steps"] / 60 if kind(run) in means else None for run in runs]


def print_plan(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> None:
    """One line a run: its state, its estimated minutes, its record's name; then the total of what is to be trained."""
    total, unknown = 0.0, 0
    for run, minutes in zip(runs, estimates(experiment, runs, results), strict=True):
        now = state_of(experiment, run, results)
        print(f"{now:9s} {'?' if minutes is None else f'{minutes:.1f}':>6s} min  {record_path(experiment, run, results).stem}")
        if now in ("missing", "stale"):
            total, unknown = total + (minutes or 0.0), unknown + (minutes is None)
    print(f"{len(runs)} runs; to train: about {total:.1f} core-minutes" + (f" and {unknown} runs of unknown cost" if unknown else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 where runs are left to train, 2 for a configuration that cannot be meant.

    An experiment whose data are not there is skipped: the message names the file and the ways to get it, the status is 0.
    """
    parser = argparse.ArgumentParser(prog="python -m lib.runs", description="Plan the runs of an experiment and train what is missing.")
    parser.add_argument("experiment", help="a section of params.yaml")
    parser.add_argument("--profile", default="best", help="smoke, quick, paper, search, or best (the highest that is complete)")
    parser.add_argument("--plan", action="store_true", help="print the runs, their state and estimated minutes, and train nothing")
    parser.add_argument("--train", default="missing", help="missing (the default; stale runs too), earlier (those too), never, or all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many minutes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--backend", default="loky", help="loky (as many processes as cores), multiprocessing, or serial")
    options = parser.parse_args(arguments)
    try:
        runs = plan(options.experiment, resolved(options.experiment, options.profile))
        print_plan(options.experiment, runs)
        if options.plan:
            return 0
        how = {"which": options.train, "minutes": options.minutes, "device": options.device, "backend": options.backend}
        left = train_missing(options.experiment, runs, **how)
        if not left and options.train != "never" and options.profile in TIMED:
            from lib.probe import probe_missing  # which imports this module

            probe_missing(options.experiment, runs, device=options.device)
    except ConfigError as error:
        print(f"lib.runs: {error}", file=sys.stderr)
        return 2
    except (ReplayError, DamagedRecordError) as error:
        print(f"lib.runs: {error}; nothing was trained", file=sys.stderr)
        return 2
    except DataError as error:
        print(f"{options.experiment} is skipped: {error}", file=sys.stderr)
        return 0
    if left:
        print(f"{left} runs are left: the same command goes on with them", file=sys.stderr)
    return int(left > 0)


if __name__ == "__main__":
    # by its own name, so that worker processes find the functions they are sent
    sys.exit(__import__("lib.runs", fromlist=["main"]).main())
