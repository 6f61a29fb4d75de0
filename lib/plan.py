"""What runs there are: settings from params.yaml, checked, as a list of flat configurations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib import gradual, models, tasks
from lib.freshness import state
from lib.groups import AXES, STARTS
from lib.liegan import DISCRIMINATORS
from lib.losses import METHODS
from lib.records import RESULTS, ROOT, read_record, record_path

DATA = (*tasks.OPTIONS, *tasks.SIZES)
COMMON = (
    "task", *DATA, "model", "model_options", "method", "seed", "steps", "batch_size", "lr", "error_samples", "error_draws",
)  # fmt: skip
AUGMENTED = ("cardinality", "gamma", "norm", "copies", "test_copies", "target", "warmup")  # of every method with a basis
DISCOVERY = (
    "cardinality", "mask", "sigma", "draw", "lambda_aug", "lambda_ortho", "similarity", "start", "lr", "lr_discriminator",
)  # fmt: skip
OPTIONAL = (  # left out of a run where there is none
    "timesteps", "scaled", "axes", "horizon", "assignment", "centred", "warmup", "decay", "mask", "basis", "gradual", "lr_decay",
    "clip", "surface", "restarts", "evaluations",
)  # fmt: skip
COUNTS = (
    "n_train", "n_eval", "steps", "batch_size", "error_samples", "error_draws", "cardinality", "copies", "test_copies", "timesteps",
    "horizon", "surface", "restarts", "evaluations",
)  # fmt: skip
CHOICES = {
    "target": ("label", "prediction"),
    "similarity": ("features", "fourier"),
    "draw": ("normal", "integers"),
    "axes": AXES,
    "centred": (True, False),
    "start": tuple(STARTS),
}

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
    """The runs of an experiment at a profile: scenarios x rows x seeds; a profile with a `search` tries the values that it has for a row's
    label or method, and leaves out rows without any. A row with `scenarios` of its own is left out of the others.

    Parameters
    ----------
    changes : settings that replace those of params.yaml, e.g. lambda_equiv=0.5 or seeds=[3, 4]; a row keeps what it pins as its own.

    Raises ConfigError for an unknown profile or setting and for a value out of range.
    """
    return [run for _, run in labelled_plan(experiment, profile, results, **changes)]


def labelled_plan(experiment: str, profile: str = "best", results: Path = RESULTS, **changes: Any) -> list[tuple[str, Run]]:
    """The runs of `plan`, each with the label of its row."""
    section = parameters(experiment)
    profile = best_profile(experiment, results) if profile == "best" else profile
    if profile not in section["profiles"]:
        raise ConfigError(f"unknown profile {profile!r}: choose best or one of {', '.join(section['profiles'])}")
    settings = merged({"rows": section["rows"], **section["settings"]}, section["profiles"][profile])
    unknown = set(changes) - set(settings)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(sorted(unknown))}: choose from {', '.join(sorted(settings))}")
    settings |= changes
    by_label = {row["label"]: row for row in settings["rows"]}
    rows = settings["rows"]
    if "search" in settings:
        tried = [(row, settings["search"].get(row["label"], settings["search"].get(row["method"]))) for row in rows]
        rows = [{**row, **trial} for row, search in tried if search for trial in trials(search)]

    def run_of(row: Mapping[str, Any], scenario: str, seed: int) -> Run:
        own = settings["liegan"] if row["method"] == "liegan" else {}
        values = {**settings, **own, **row, "scenario": scenario, "seed": seed}
        if values.get("basis"):
            if values["basis"] not in by_label:
                raise ConfigError(f"row {row['label']!r} takes its basis from {values['basis']!r}: choose one of {', '.join(by_label)}")
            values["basis"] = record_path(experiment, run_of(by_label[values["basis"]], scenario, seed)).stem
        return configuration(values)

    runs = [(row["label"], run_of(row, *place)) for *place, row in in_order(settings, rows)]
    return list({(label, json.dumps(run, sort_keys=True)): (label, run) for label, run in runs}.values())


def in_order(settings: Mapping[str, Any], rows: Sequence[Mapping]) -> Iterator[tuple[str, int, Mapping]]:
    """(scenario, seed, row), rows that another takes its basis from first."""
    for scenario in settings["scenarios"]:
        for row in sorted(rows, key=lambda row: bool(row.get("basis"))):
            if scenario in row.get("scenarios", settings["scenarios"]):
                yield from ((scenario, seed, row) for seed in settings["seeds"])


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; where both have a mapping, the one is completed by the other."""
    both = {
        name: {**base[name], **value} for name, value in changes.items() if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **both}


def trials(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The product of a search's lists of values, then its `also` trials, one by one."""
    axes = {name: values for name, values in search.items() if name != "also"}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    return product + list(search.get("also", []))


def configuration(settings: Mapping[str, Any]) -> Run:
    """One run from settings: only what its method reads, checked. Raises ConfigError naming the value."""
    if settings["task"] not in tasks.TASKS:
        raise ConfigError(f"unknown task {settings['task']!r}: choose one of {', '.join(tasks.TASKS)}")
    if settings["method"] not in METHODS:
        raise ConfigError(f"unknown method {settings['method']!r}: choose one of {', '.join(METHODS)}")
    method = METHODS[settings["method"]]
    networks = DISCRIMINATORS if method.adversarial else models.MODELS
    if settings["model"] not in networks:
        raise ConfigError(f"unknown model {settings['model']!r}: choose one of {', '.join(networks)}")
    if method.adversarial:
        names = (*(name for name in COMMON if name not in ("error_samples", "error_draws")), *DISCOVERY)
    else:
        augmenter = {None: (), "group": ("group", "copies", "target")}.get(method.basis, AUGMENTED)
        names = (*COMMON, "basis", *augmenter, *method.hyperparameters, "lr_decay", "clip", "surface", "restarts", "evaluations")
        names += ("decay",) if method.regularisers else ()
        names += ("gradual",) if isinstance(method.alpha, str) and isinstance(method.beta, str) else ()
        names += ("similarity",) if "lambda_aug" in method.regularisers else ()
        names += ("mask",) if method.basis == "learnable" else ()
        names += ("start",) if method.gaussian_start or (method.basis == "learnable" and settings.get("start")) else ()
    options = {**settings["networks"].get(settings["model"], {}), **settings.get("options", {})}
    settings = {**settings, "model_options": options}
    missing = [name for name in names if name not in settings and name not in OPTIONAL]
    if missing:
        raise ConfigError(f"method {settings['method']} needs {', '.join(missing)}: add it to params.yaml")
    run = {name: settings[name] for name in names if name not in OPTIONAL or settings.get(name) is not None}
    check(run)
    return run


def check(run: Run) -> None:
    """Raises ConfigError for the first value of a run that cannot be meant."""
    scenarios = tasks.scenarios(run["task"])
    if run["scenario"] not in scenarios:
        raise ConfigError(f"unknown scenario {run['scenario']!r}: {run['task']} has {', '.join(scenarios)}")
    for name, value in run.items():
        if name.startswith("lambda_") and not value >= 0:
            role = " (beta, the weight of the equivariance term)" if name == "lambda_equiv" else ""
            raise ConfigError(f"{name}{role} must be at least 0, got {value}")
        if name in COUNTS and not (isinstance(value, int) and value >= 1):
            role = " (K, the augmentations per sample)" if name == "copies" else ""
            raise ConfigError(f"{name}{role} must be a whole number of at least 1, got {value}")
        if name == "assignment" and not (isinstance(value, int) and (value == 0 or (value > 0 and run["scenario"] == "walk"))):
            raise ConfigError(f"assignment must be 0, or for walk a positive whole number, got {value} for {run['scenario']}")
        if name == "surface" and value < 3:
            raise ConfigError(f"surface must be at least 3 points each way, got {value}")
        if name in ("gamma", "lr", "lr_discriminator", "sigma", "clip") and not value > 0:
            raise ConfigError(f"{name} must be positive, got {value}")
        if name in ("warmup", "decay", "lr_decay") and not 0 < value <= 1:
            what = "of the learning rate" if name == "lr_decay" else "of the steps"
            raise ConfigError(f"{name} must be a share {what} in (0, 1], or null for none, got {value}")
        if name == "decay" and value <= run.get("warmup", 0.0):
            raise ConfigError(f"decay starts where warmup ends and must be larger than {run['warmup']}, got {value}")
        if name == "gradual":
            try:
                gradual.checked(value)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        if name in CHOICES and value not in CHOICES[name]:
            raise ConfigError(f"{name} must be one of {', '.join(map(str, CHOICES[name]))}, got {value!r}")


def best_profile(experiment: str, results: Path = RESULTS) -> str:
    """The highest of paper and quick whose records are all there and not stale; quick where neither is."""
    for profile in ("paper", "quick"):
        paths = [record_path(experiment, run, results) for run in plan(experiment, profile)]
        states = (state(read_record(path), path.parent) for path in paths)
        if not any(s in ("missing", "stale") for s in states):
            return profile
    return "quick"


def profile_of(experiment: str, run: Run) -> str | None:
    """The first profile of params.yaml that a run belongs to."""
    return next((name for name in parameters(experiment)["profiles"] if run in plan(experiment, name)), None)
