"""What runs there are: settings from params.yaml, checked, as a list of flat configurations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lib import models, tasks
from lib.losses import METHODS, method_named
from lib.records import RESULTS, ROOT, read_record, record_path, state

COMMON = (
    "task", "scenario", "n_train", "n_eval", "model", "model_options", "method", "seed",
    "steps", "batch_size", "lr", "error_samples", "error_draws",
)  # fmt: skip
AUGMENTED = ("cardinality", "gamma", "norm", "copies", "test_copies", "target")  # of every method with an augmenter
COUNTS = ("n_train", "n_eval", "steps", "batch_size", "error_samples", "error_draws", "cardinality", "copies", "test_copies")
CHOICES = {"target": ("label", "prediction"), "similarity": ("features", "fourier")}

Run = dict[str, Any]


class ConfigError(ValueError):
    """A configuration that cannot be meant: an unknown name, or a value out of range."""


def parameters(experiment: str) -> dict[str, Any]:
    """That experiment's section of params.yaml. Raises ConfigError, with the known names, for any other."""
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    known = [name for name, section in sections.items() if isinstance(section, dict)]
    if experiment not in known:
        raise ConfigError(f"unknown experiment {experiment!r}: choose one of {', '.join(known)}, or add it to params.yaml")
    return sections[experiment]


def plan(experiment: str, profile: str = "best", results: Path = RESULTS, **changes: Any) -> list[Run]:
    """The runs of an experiment at a profile: scenarios x rows x seeds; a profile with a `search` tries its values in each row.

    Parameters
    ----------
    changes : settings that replace those of params.yaml in every run, e.g. lambda_equiv=0.5 or seeds=[3, 4].

    Raises ConfigError for an unknown profile or setting and for a value out of range.
    """
    section = parameters(experiment)
    profile = best_profile(experiment, results) if profile == "best" else profile
    if profile not in section["profiles"]:
        raise ConfigError(f"unknown profile {profile!r}: choose best or one of {', '.join(section['profiles'])}")
    settings = {"rows": section["rows"], **section["settings"], **section["profiles"][profile]}
    unknown = set(changes) - set(settings)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(sorted(unknown))}: choose from {', '.join(sorted(settings))}")
    settings |= changes
    rows = settings["rows"]
    if "search" in settings:
        rows = [{**row, **trial} for row in rows for trial in trials(settings["search"][row["method"]])]
    runs = [
        configuration({**settings, **row, **changes, "scenario": scenario, "seed": seed})
        for scenario, row, seed in itertools.product(settings["scenarios"], rows, settings["seeds"])
    ]
    return list({json.dumps(run, sort_keys=True): run for run in runs}.values())


def trials(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The product of a search's lists of values, then its `also` trials, one by one."""
    axes = {name: values for name, values in search.items() if name != "also"}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    return product + list(search.get("also", []))


def configuration(settings: Mapping[str, Any]) -> Run:
    """One run from settings: only what its method reads, checked. Raises ConfigError naming the value."""
    for name, known in (("task", tasks.TASKS), ("model", models.MODELS), ("method", METHODS)):
        if settings[name] not in known:
            raise ConfigError(f"unknown {name} {settings[name]!r}: choose one of {', '.join(known)}")
    method = method_named(settings["method"])
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
    scenarios = tasks.scenarios(run["task"])
    if run["scenario"] not in scenarios:
        raise ConfigError(f"unknown scenario {run['scenario']!r}: {run['task']} has {', '.join(scenarios)}")
    for name, value in run.items():
        if name.startswith("lambda_") and not value >= 0:
            role = " (beta, the weight of the equivariance term)" if name == METHODS[run["method"]].beta else ""
            raise ConfigError(f"{name}{role} must be at least 0, got {value}")
        if name in COUNTS and not (isinstance(value, int) and value >= 1):
            role = " (K, the augmentations per sample)" if name == "copies" else ""
            raise ConfigError(f"{name}{role} must be a whole number of at least 1, got {value}")
        if name in ("gamma", "lr") and not value > 0:
            raise ConfigError(f"{name} must be positive, got {value}")
        if name in CHOICES and value not in CHOICES[name]:
            raise ConfigError(f"{name} must be one of {', '.join(CHOICES[name])}, got {value!r}")


def best_profile(experiment: str, results: Path = RESULTS) -> str:
    """The highest of paper and quick whose records are all there and not stale; quick where neither is."""
    for profile in ("paper", "quick"):
        states = (state(read_record(record_path(experiment, run, results))) for run in plan(experiment, profile))
        if not any(s in ("missing", "stale") for s in states):
            return profile
    return "quick"


def profile_of(experiment: str, run: Run) -> str | None:
    """The first profile of params.yaml that a run belongs to."""
    return next((name for name in parameters(experiment)["profiles"] if run in plan(experiment, name)), None)
