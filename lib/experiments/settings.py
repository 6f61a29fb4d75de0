"""What runs there are: settings from params.yaml, checked, as a list of flat configurations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lib import models, tasks, weights
from lib.experiments.sections import parameters
from lib.experiments.store import record_path
from lib.experiments.values import DATA, WHOLE, ConfigError, checked, listed, network_options, number, options, refuse_unknown
from lib.losses import METHODS
from lib.protocol import Run

COMMON = (
    "task", *DATA, "model", "model_options", "method", "seed", "steps", "batch_size", "lr", "error_samples", "error_draws",
)  # fmt: skip
AUGMENTED = ("cardinality", "gamma", "norm", "copies", "test_copies", "target", "warmup")  # of every method with a basis
DISCOVERY = (
    "cardinality", "mask", "sigma", "draw", "lambda_aug", "lambda_ortho", "similarity", "start", "lr", "lr_discriminator",
)  # fmt: skip
OPTIONAL = (  # left out of a run where there is none
    "timesteps", "scaled", "axes", "horizon", "assignment", "centred", "strength", "heavy", "trimmed", "shuffled", "seen",
    "warmup", "decay", "mask", "basis", *weights.KINDS, "lr_decay", "clip", "surface", "restarts", "evaluations",
    "worst_samples", "worst_steps",
)  # fmt: skip
OWN = {"scenario", "seed", "model", "model_options", "method", "basis"}  # what no setting says for all runs
SECTION = ("rows", "settings", "profiles", "notebook", "timed")


def plan(experiment: str, profile: str, **changes: Any) -> list[Run]:
    """The runs of an experiment at a profile: scenarios x rows x seeds; a profile with a `search` tries the values that it has for a row's
    label or method, and leaves out rows without any. A row with `scenarios` of its own is left out of the others.

    Parameters
    ----------
    changes : settings that replace those of params.yaml, e.g. lambda_equiv=0.5 or seeds=[3, 4]; a row keeps what it pins as its own.

    Raises ConfigError for an unknown profile or setting, wherever it stands in the section, for a value out of range, and for two rows of
    one label that are not the same.
    """
    return [run for _, run in labelled_plan(experiment, profile, **changes)]


def labelled_plan(experiment: str, profile: str, **changes: Any) -> list[tuple[str, Run]]:
    """The runs of `plan`, each with the label of its row."""
    section = parameters(experiment)
    profiles = checked_profiles(experiment, section)
    if profile not in profiles:
        raise ConfigError(f"unknown profile {profile!r}: choose one of {', '.join(profiles)}")
    settings = profiles[profile]
    refuse_unknown(changes, settings, "setting", f" of {experiment}")
    settings = {**settings, **changes}
    check_settings(settings, f" of {experiment} as changed", profiles[profile]["rows"])

    def run_of(row: Mapping[str, Any], scenario: str, seed: int) -> Run:
        own = settings.get("liegan", {}) if row["method"] == "liegan" else {}
        values = {**settings, **own, **row, "scenario": scenario, "seed": seed}
        if values.get("basis"):
            same = {name: row[name] for name in DATA if name in row}  # a basis is found in the data that it is used on
            source = source_of(row, scenario, settings["rows"]) | same
            source = next((trial for _, trial in tried(settings) if same and trial | source == trial), source)  # in its trial's steps
            values["basis"] = record_path(experiment, run_of(source, scenario, seed)).stem
        return configuration(values)

    planned = [(place, row["label"], run_of(row, *where)) for *where, (place, row) in in_order(settings)]
    refuse_mixed(planned)
    return list({(label, json.dumps(run, sort_keys=True)): (label, run) for _, label, run in planned}.values())


def in_order(settings: Mapping[str, Any]) -> Iterator[tuple[str, int, tuple[int, Mapping]]]:
    """(scenario, seed, (place of the row, row or trial)), rows that another takes its basis from first."""
    seeds = [number("seed", seed, WHOLE) for seed in listed("seeds", settings.get("seeds"))]
    scenarios = listed("scenarios", settings.get("scenarios"))
    for scenario in scenarios:
        for place, row in sorted(tried(settings), key=lambda tried: bool(tried[1].get("basis"))):
            if scenario in row.get("scenarios", scenarios):
                yield from ((scenario, seed, (place, row)) for seed in seeds)


def tried(settings: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The rows, each with its place; where there is a `search`, with each of the trials that it has for their label or method."""
    found = []
    for place, row in enumerate(settings["rows"]):
        search = settings["search"].get(row["label"], settings["search"].get(row["method"])) if "search" in settings else {"also": [{}]}
        found += [(place, {**row, **trial}) for trial in trials(search)] if search else []
    return found


def trials(search: Any) -> list[dict[str, Any]]:
    """The product of a search's lists of values, then its `also` trials, one by one."""
    also = listed("also in a search", search.get("also", [{}])) if isinstance(search, Mapping) else [None]
    if not all(isinstance(trial, Mapping) for trial in also):
        raise ConfigError(f"a search must be lists of values by name, and `also` a list of mappings, got {search!r}")
    axes = {name: listed(f"{name} in a search", values) for name, values in search.items() if name != "also"}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    return product + (also if "also" in search else [])


def source_of(row: Mapping[str, Any], scenario: str, rows: Sequence[Mapping]) -> dict[str, Any]:
    """The row that another takes its basis from. Raises ConfigError where there is none in that scenario, or it finds none by itself."""
    says = f"row {row['label']!r} takes its basis from {row['basis']!r}"
    source = next((other for other in rows if other["label"] == row["basis"] and scenario in other.get("scenarios", [scenario])), None)
    if source is None:
        raise ConfigError(f"{says}: choose one of {', '.join(other['label'] for other in rows)}, and one that has the scenario {scenario}")
    if source.get("basis") or METHODS[source["method"]].basis not in ("learnable", "family"):
        raise ConfigError(f"{says}, which finds none by itself: choose a row whose method learns one")
    return dict(source)


def refuse_mixed(planned: Sequence[tuple[int, str, Run]]) -> None:
    """Raises ConfigError for two rows of one label, scenario and seed that are not the same; several trials of one row are."""
    found: dict[tuple, dict[int, list[Run]]] = {}
    for place, label, run in planned:
        found.setdefault((label, run["scenario"], run["seed"]), {}).setdefault(place, []).append(run)
    for (label, scenario, _), rows in found.items():
        first, *others = rows.values()
        for other in (runs for runs in others if runs != first):
            pairs = list(zip(first, other, strict=False))
            names = sorted({name for one, two in pairs for name in {*one, *two} if one.get(name) != two.get(name)})
            differ = ", ".join(names) or "the number of their trials"
            raise ConfigError(
                f"two rows are labelled {label!r} in the scenario {scenario} and differ in {differ}: "
                "a table would take them for one, so give each a label of its own"
            )


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; where both have a mapping, the one is completed by the other."""
    both = {
        name: {**base[name], **value} for name, value in changes.items() if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **changes, **both}


def configuration(settings: Mapping[str, Any]) -> Run:
    """One run from settings: only what its method reads, checked. Raises ConfigError naming the value."""
    method, model_options = METHODS[settings["method"]], settings.get("networks", {}).get(settings["model"], {})
    settings = {**settings, "model_options": {**model_options, **settings.get("options", {})}}
    names, optional = names_of(settings["method"]), OPTIONAL if method.gaussian_start else (*OPTIONAL, "start")
    missing = [name for name in names if name not in settings and name not in optional]
    if missing:
        raise ConfigError(f"method {settings['method']} needs {', '.join(missing)}: add it to params.yaml")
    return checked({name: settings[name] for name in names if name not in optional or settings.get(name) is not None})


def names_of(name: str) -> tuple[str, ...]:
    """What a run of that method may hold."""
    method = METHODS[name]
    if method.adversarial:
        return (*(name for name in COMMON if name not in ("error_samples", "error_draws")), *DISCOVERY)
    augmenter = {None: (), "group": ("group", "copies", "target")}.get(method.basis, AUGMENTED)
    names = (*COMMON, "basis", *augmenter, *method.hyperparameters, "lr_decay", "clip", "surface", "restarts", "evaluations")
    names += ("worst_samples", "worst_steps")
    names += ("decay",) if method.regularisers else ()
    names += tuple(weights.KINDS) if isinstance(method.alpha, str) and isinstance(method.beta, str) else ()
    names += ("similarity",) if "lambda_aug" in method.regularisers else ()
    return names + (("mask", "start") if method.basis == "learnable" else ())


# ----------------------------------------------------------------------------------------------- what stands in a section


def checked_profiles(experiment: str, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each profile, rows among them. Raises ConfigError for a key anywhere in the section that nothing reads."""
    refuse_unknown(section, SECTION, "key", f" of {experiment}")
    missing = [name for name in ("rows", "settings", "profiles") if not isinstance(section.get(name), list if name == "rows" else dict)]
    if missing:
        raise ConfigError(f"{experiment} needs {', '.join(missing)}: rows as a list, settings and profiles as mappings")
    base = {"rows": section["rows"], **section["settings"]}
    check_settings(base, f" of {experiment}")
    profiles = {}
    for name, profile in section["profiles"].items():
        refuse_unknown(profile, SETTINGS, "setting", where := f" of {experiment}, profile {name}")
        profiles[name] = merged(base, profile)
        check_settings(profiles[name], where)
    return profiles


SETTINGS = {name for method in METHODS for name in names_of(method)} - OWN
SETTINGS |= {"scenarios", "seeds", "networks", "liegan", "rows", "search"}


def check_settings(settings: Mapping[str, Any], where: str, others: Sequence[Mapping] = ()) -> None:
    """Raises ConfigError for a key that nothing reads: of the settings, a network, `liegan`, a row, a search or a trial.

    A search may name `others`, the rows that those of the settings replace.
    """
    refuse_unknown(settings, SETTINGS, "setting", where)
    refuse_unknown(networks := settings.get("networks", {}), models.MODELS, "network", where)
    for name, values in networks.items():
        options(values, network_options(name), f"network {name}{where}")
    refuse_unknown(settings.get("liegan", {}), {*names_of("liegan")} - OWN - {"task"}, "setting", f" of liegan{where}")
    rows = listed(f"rows{where}", settings["rows"])
    for row in rows:
        check_row(row, settings, where)
    if "search" in settings:
        known = {row[name] for row in (*rows, *others) for name in ("label", "method")}
        refuse_unknown(settings["search"], known, "row or method", f" in the search{where}")
        for _, row in tried(settings):
            check_row(row, settings, f", search{where}")


def check_row(row: Any, settings: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for what a row, or a trial of it, has that its method does not read, or lacks."""
    if not isinstance(row, Mapping) or not all(isinstance(row.get(name), str) for name in ("label", "model", "method")):
        raise ConfigError(f"a row{where} must be a mapping with a label, a model and a method, got {row!r}")
    task = row.get("task", settings.get("task"))
    if task not in tasks.TASKS:
        raise ConfigError(f"unknown task {task!r}: choose one of {', '.join(tasks.TASKS)}")
    if row["method"] not in METHODS:
        raise ConfigError(f"unknown method {row['method']!r}: choose one of {', '.join(METHODS)}")
    adversarial = METHODS[row["method"]].adversarial
    networks = [name for name in models.MODELS if (name in models.DISCRIMINATORS) == adversarial]
    if row["model"] not in networks:
        raise ConfigError(f"unknown model {row['model']!r}: choose one of {', '.join(networks)}")
    known = {*names_of(row["method"]), "label", "options", "scenarios"} - {"scenario", "seed", "model_options"}
    where = f" in row {row['label']!r}{where}"
    refuse_unknown(row, known, "setting", f"{where}, whose method is {row['method']}")
    options(row.get("options", {}), network_options(row["model"]), f"model {row['model']}{where}")
    for scenario in listed(f"scenarios{where}", row["scenarios"]) if "scenarios" in row else ():
        if scenario not in tasks.scenarios(task):
            raise ConfigError(f"unknown scenario {scenario!r}{where}: {task} has {', '.join(tasks.scenarios(task))}")


# -------------------------------------------------------------------------------------------------------------- profiles


def profile_of(experiment: str, run: Run) -> str | None:
    """The first profile of params.yaml that a run belongs to."""
    path, profiles = record_path(experiment, run), parameters(experiment)["profiles"]
    return next((name for name in profiles if any(record_path(experiment, other) == path for other in plan(experiment, name))), None)
