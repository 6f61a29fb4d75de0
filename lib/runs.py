"""Runs are data: plan them, train what is missing, keep a record of each.

python -m lib.runs EXPERIMENT [--profile quick] [--plan] [--train missing|never|all] [--minutes 30] [--device cpu] [--backend loky]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch
import yaml
from tqdm import tqdm

from lib import models, tasks, train
from lib.losses import METHODS, method_named
from lib.records import ROOT, MissingRecordError, provenance, read_record, record_path, state, write_record

PROFILES = ("smoke", "quick", "paper")  # by rising cost; `best` is the highest of quick and paper that is complete
COMMON = (
    "task", "scenario", "n_train", "n_eval", "model", "model_options", "method", "seed",
    "steps", "batch_size", "lr", "error_samples", "error_draws",
)  # fmt: skip
AUGMENTED = ("cardinality", "gamma", "norm", "copies", "test_copies", "target")  # of every method with an augmenter
COUNTS = ("n_train", "n_eval", "steps", "batch_size", "error_samples", "error_draws", "cardinality", "copies", "test_copies")

Run = dict[str, Any]


class ConfigError(ValueError):
    """A configuration that cannot be meant: an unknown name, or a value out of range."""


# --------------------------------------------------------------------------------------------------------------- plan


def parameters(experiment: str, root: Path = ROOT) -> dict[str, Any]:
    """That experiment's section of params.yaml. Raises ConfigError, with the known names, for any other."""
    sections = yaml.safe_load((Path(root) / "params.yaml").read_text())
    known = [name for name, section in sections.items() if isinstance(section, dict)]
    if experiment not in known:
        raise ConfigError(f"unknown experiment {experiment!r}: choose one of {', '.join(known)}, or add it to params.yaml")
    return sections[experiment]


def plan(experiment: str, profile: str = "best", root: Path = ROOT, **changes: Any) -> list[Run]:
    """The runs of an experiment at a profile: scenarios x rows x seeds, or the profile's `search` in place of the rows.

    Parameters
    ----------
    changes : settings that replace those of params.yaml in every run, e.g. lambda_equiv=0.5.

    Raises ConfigError for an unknown profile or setting and for a value out of range.
    """
    section = parameters(experiment, root)
    if profile == "best":
        profile = best_profile(experiment, root)
    if profile not in section["profiles"]:
        raise ConfigError(f"unknown profile {profile!r}: choose best or one of {', '.join(section['profiles'])}")
    settings = {**section["settings"], **section["profiles"][profile]}
    unknown = set(changes) - set(settings) - {"scenarios", "seeds", "rows"}
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(sorted(unknown))}: choose from {', '.join(sorted(settings))}")
    settings |= changes
    rows = list(settings.get("rows", section["rows"]))
    if "search" in settings:
        rows = [{**row, **trial} for row in rows for trial in trials(settings["search"][row["method"]])]
    runs = [
        configuration({**settings, **row, "scenario": scenario, "seed": seed})
        for scenario, row, seed in itertools.product(settings["scenarios"], rows, settings["seeds"])
    ]
    return list({json.dumps(run, sort_keys=True): run for run in runs}.values())


def trials(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The product of a search's lists of values, then its `also` trials, one by one."""
    axes = {name: values for name, values in search.items() if name != "also"}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return product + list(search.get("also", []))


def configuration(settings: Mapping[str, Any]) -> Run:
    """One run from settings: only what its method reads, checked. Raises ConfigError naming the value."""
    try:
        method = method_named(settings["method"])
    except KeyError as error:
        raise ConfigError(error.args[0]) from error
    names = (*COMMON, *(AUGMENTED if method.basis else ()), *method.hyperparameters)
    names += ("similarity",) if "lambda_aug" in method.regularisers else ()
    settings = {**settings, "model_options": settings["networks"].get(settings["model"], {})}
    missing = [name for name in names if name not in settings]
    if missing:
        raise ConfigError(f"method {settings['method']} needs {', '.join(missing)}: add it to params.yaml")
    run = {name: settings[name] for name in names}
    check(run)
    return run


def check(run: Run) -> None:
    """Raises ConfigError for the first value of a run that cannot be meant."""
    for name, known in (("task", tasks.TASKS), ("model", models.MODELS), ("method", METHODS)):
        if run[name] not in known:
            raise ConfigError(f"unknown {name} {run[name]!r}: choose one of {', '.join(known)}")
    scenarios = tasks.scenarios(run["task"])
    if run["scenario"] not in scenarios:
        raise ConfigError(f"unknown scenario {run['scenario']!r}: {run['task']} has {', '.join(scenarios)}")
    choices = {"target": ("label", "prediction"), "similarity": ("features", "fourier")}
    for name, value in run.items():
        if name.startswith("lambda_") and not value >= 0:
            raise ConfigError(f"{name} (a weight of the objective) must be at least 0, got {value}")
        if name in COUNTS and not (isinstance(value, int) and value >= 1):
            raise ConfigError(f"{name} must be a whole number of at least 1, got {value}")
        if name in ("gamma", "lr") and not value > 0:
            raise ConfigError(f"{name} must be positive, got {value}")
        if name in choices and value not in choices[name]:
            raise ConfigError(f"{name} must be one of {', '.join(choices[name])}, got {value!r}")


def best_profile(experiment: str, root: Path = ROOT) -> str:
    """The highest of paper and quick whose records are all there and not stale; quick where neither is."""
    for profile in ("paper", "quick"):
        states = {state(read_record(record_path(experiment, run, root)), root) for run in plan(experiment, profile, root)}
        if not states & {"missing", "stale"}:
            return profile
    return "quick"


def records(experiment: str, runs: Sequence[Run], root: Path = ROOT) -> list[dict[str, Any]]:
    """The runs' records, each with its `state`. Raises MissingRecordError with the first missing run and the command that makes it."""
    found = []
    for run in runs:
        path = record_path(experiment, run, root)
        record = read_record(path)
        if record is None:
            raise MissingRecordError(
                f"no record of the run {path.stem} ({', '.join(f'{k}={run[k]}' for k in ('scenario', 'model', 'method', 'seed'))}):\n"
                f"train it with `{command(experiment, run)}`, or get results/ from git again"
            )
        found.append({**record, "state": state(record, root)})
    return found


def command(experiment: str, run: Run) -> str:
    """The command that trains what is missing of the profile that a run belongs to."""
    for profile in parameters(experiment)["profiles"]:
        if run in plan(experiment, profile):
            return f"python -m lib.runs {experiment} --profile {profile}"
    return f"lib.runs.train_missing('{experiment}', [run])"


# -------------------------------------------------------------------------------------------------------------- train


def train_missing(
    experiment: str,
    runs: Sequence[Run],
    *,
    root: Path = ROOT,
    which: str = "missing",
    minutes: float = float("inf"),
    device: str = "cpu",
    backend: str = "loky",
    workers: int | None = None,
) -> int:
    """Train the runs whose record is missing or stale (`which` = "missing"), or all of them; returns how many are left.

    A record is written as soon as its run ends, so a killed sweep loses the runs in flight only. No run starts after `minutes`.
    On a CPU each run has one thread, and as many run at once as there are cores; on a GPU runs of one shape train as one stack.
    """
    if which not in ("missing", "never", "all"):
        raise ConfigError(f"--train must be missing, never or all, got {which!r}")
    todo = [] if which == "never" else [r for r in runs if which == "all" or needs_training(experiment, r, root)]
    stacks = stacked(todo, device)
    workers = workers or (1 if device.startswith("cuda") or backend == "serial" else joblib.cpu_count(only_physical_cores=True))
    deadline = time.monotonic() + 60 * minutes

    def pending() -> Iterator:
        for stack in stacks:
            if time.monotonic() > deadline:
                return
            yield joblib.delayed(train_stack)(experiment, stack, device, root)

    pool = joblib.Parallel(
        n_jobs=workers, backend="sequential" if workers == 1 else backend, pre_dispatch="n_jobs", batch_size=1,
        return_as="generator_unordered",
    )  # fmt: skip
    done = 0
    with tqdm(total=len(todo), desc=experiment, unit="run", disable=not todo) as bar:
        for count in pool(pending()):
            done += count
            bar.update(count)
    return len(todo) - done


def needs_training(experiment: str, run: Run, root: Path = ROOT) -> bool:
    return state(read_record(record_path(experiment, run, root)), root) in ("missing", "stale")


def stacked(runs: Sequence[Run], device: str) -> list[list[Run]]:
    """Runs that differ in their seed and weights only, together on a GPU; on a CPU one by one, so that each core has its own."""
    if not device.startswith("cuda"):
        return [[run] for run in runs]

    def shape(run: Run) -> str:
        return json.dumps({key: value for key, value in run.items() if key not in train.STACKABLE}, sort_keys=True)

    return [list(group) for _, group in itertools.groupby(sorted(runs, key=shape), key=shape)]


def train_stack(experiment: str, stack: Sequence[Run], device: str = "cpu", root: Path = ROOT) -> int:
    """Train one stack, write its records, return how many."""
    torch.set_num_threads(1)
    first, started = stack[0], time.perf_counter()
    task = load_task(first["task"], device, root, **{name: first[name] for name in ("scenario", "n_train", "n_eval")})
    made = provenance(first, device, torch.get_num_threads(), root)
    results = train.fit(task, stack)
    for run, result in zip(stack, results, strict=True):
        spent = (time.perf_counter() - started) / len(stack)
        record = {"run": run, **result, "wall_s": spent, "canary": train.canary(run), "data": task.data, "sha256": task.sha256, **made}
        write_record(record_path(experiment, run, root), record)
    return len(stack)


@functools.lru_cache(maxsize=1)
def load_task(name: str, device: str, root: Path, **options: Any) -> tasks.Task:
    """The task on its device, kept for the next run of the same data."""
    return tasks.load(name, root=root, **options).to(device)


# ------------------------------------------------------------------------------------------------------- command line


def estimates(experiment: str, runs: Sequence[Run], root: Path = ROOT) -> dict[int, float]:
    """Minutes of one core for each run (by its place), scaled by steps from the records of the same model and method."""
    seconds: dict[tuple, list[float]] = {}
    for path in (Path(root) / "results" / "runs" / experiment).glob("*.json"):
        record = read_record(path)
        if "wall_s" in record:
            run = record["run"]
            seconds.setdefault((run["model"], run["method"], run.get("copies")), []).append(record["wall_s"] / run["steps"])
    known = {key: sum(values) / len(values) for key, values in seconds.items()}
    keys = [(run["model"], run["method"], run.get("copies")) for run in runs]
    return {i: known[key] * runs[i]["steps"] / 60 for i, key in enumerate(keys) if key in known}


def print_plan(experiment: str, runs: Sequence[Run], root: Path = ROOT) -> None:
    """One line a run: its state, its estimated minutes, its record's name; then the total of what is to be trained."""
    minutes, total, unknown = estimates(experiment, runs, root), 0.0, 0
    for i, run in enumerate(runs):
        path = record_path(experiment, run, root)
        now = state(read_record(path), root)
        print(f"{now:9s} {f'{minutes[i]:6.1f} min' if i in minutes else '     ? min'}  {path.stem}")
        if now in ("missing", "stale"):
            total, unknown = total + minutes.get(i, 0.0), unknown + (i not in minutes)
    print(f"{len(runs)} runs; to train: about {total:.1f} core-minutes" + (f" and {unknown} runs of unknown cost" if unknown else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 where runs are left to train, 2 for a configuration that cannot be meant."""
    parser = argparse.ArgumentParser(prog="python -m lib.runs", description="Plan the runs of an experiment and train what is missing.")
    parser.add_argument("experiment", help="a section of params.yaml")
    parser.add_argument("--profile", default="best", help="smoke, quick, paper, search, or best (the highest that is complete)")
    parser.add_argument("--plan", action="store_true", help="print the runs, their state and estimated minutes, and train nothing")
    parser.add_argument("--train", default="missing", help="missing (the default; stale runs too), never, or all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many minutes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--backend", default="loky", help="joblib's backend for several processes, or serial")
    options = parser.parse_args(arguments)
    try:
        runs = plan(options.experiment, options.profile)
        print_plan(options.experiment, runs)
        if options.plan:
            return 0
        left = train_missing(
            options.experiment, runs, which=options.train, minutes=options.minutes, device=options.device, backend=options.backend
        )
    except ConfigError as error:
        print(f"lib.runs: {error}", file=sys.stderr)
        return 2
    if left:
        print(f"{left} runs are left: the same command goes on with them", file=sys.stderr)
    return int(left > 0)


if __name__ == "__main__":
    # by its own name, so that worker processes find the functions they are sent
    sys.exit(__import__("lib.runs", fromlist=["main"]).main())
