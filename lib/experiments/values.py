"""What each value of a run may be, and the one form in which it is kept: equal numbers are one run, with one record."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lib import models, tasks, weights
from lib.groups import AXES, STARTS
from lib.losses import SIMILARITIES
from lib.protocol import Run

DATA = (*tasks.OPTIONS, *tasks.SIZES)


class ConfigError(ValueError):
    """A configuration that cannot be meant: an unknown name, or a value out of range."""


class Kind(NamedTuple):
    """A number: whether it is whole, its range, and both in words."""

    whole: bool
    fits: Callable[[float], bool]
    words: str


COUNT = Kind(True, lambda value: value >= 1, "a whole number of at least 1")
WHOLE = Kind(True, lambda value: True, "a whole number")
WEIGHT = Kind(False, lambda value: value >= 0, "at least 0")
POSITIVE = Kind(False, lambda value: value > 0, "positive")
SHARE = Kind(False, lambda value: 0 < value <= 1, "a share of the steps in (0, 1], or null for none")
KINDS = {
    **dict.fromkeys(("n_train", "n_eval", "steps", "batch_size", "error_samples", "error_draws", "cardinality", "copies"), COUNT),
    **dict.fromkeys(("test_copies", "timesteps", "horizon", "restarts", "evaluations", "heavy", "worst_samples", "worst_steps"), COUNT),
    **dict.fromkeys(("gamma", "lr", "lr_discriminator", "sigma", "clip"), POSITIVE),
    **dict.fromkeys(("warmup", "decay"), SHARE),
    "seed": WHOLE,
    "strength": WEIGHT,
    "seen": Kind(True, lambda value: value >= 0, "a whole number of copies, 0 for the samples as they are"),
    "trimmed": Kind(False, lambda value: 0 <= value < 1, "a share of the samples in [0, 1)"),
    "surface": Kind(True, lambda value: value >= 3, "at least 3 points each way"),
    "lr_decay": SHARE._replace(words="a share of the learning rate in (0, 1], or null for none"),
    "norm": POSITIVE._replace(words="sqrt_dim, a positive number, or null for none"),
}
ROLES = {"lambda_equiv": " (beta, the weight of the equivariance term)", "copies": " (K, the augmentations per sample)"}
CHOICES = {
    "target": ("label", "prediction"),
    "similarity": tuple(SIMILARITIES),
    "draw": ("normal", "integers"),
    "axes": AXES,
    "centred": (True, False),
    "scaled": (True, False),
    "shuffled": (True, False),
    "start": tuple(STARTS),
}


def checked(run: Run) -> Run:
    """The run with each value in its one form: counts whole, weights and rates floating-point, options as their defaults are.

    Text that is a number is one (YAML 1.1 reads 1e-3 as text), and so are NumPy's; true and false are none. Raises ConfigError with name
    and value for the first that cannot be meant.
    """
    scenarios = tasks.scenarios(run["task"])
    if run["scenario"] not in scenarios:
        raise ConfigError(f"unknown scenario {run['scenario']!r}: {run['task']} has {', '.join(scenarios)}")
    refuse_unknown({name: run[name] for name in DATA if name in run}, tasks.options(run["task"]), "option", f" of task {run['task']}")
    run = {name: form(name, value, run) for name, value in run.items()}
    if run.get("decay", math.inf) <= run.get("warmup", 0.0):
        raise ConfigError(f"decay starts where warmup ends and must be larger than {run['warmup']}, got {run['decay']}")
    if ("worst_samples" in run) != ("worst_steps" in run):
        raise ConfigError(
            "worst_samples and worst_steps go together: on how many samples the worst case is looked for, and by how many steps"
        )
    return run


def form(name: str, value: Any, run: Run) -> Any:
    """The value of that name in its one form; the `run` says which groups and masks there are, and what else depends on it."""
    if name in CHOICES:
        return choice(name, value, CHOICES[name])
    if name in ("group", "mask"):
        return choice(name, value, of_task(run["task"], run["scenario"])[name])
    if name == "model_options":
        return options(value, network_options(run["model"]), f"model {run['model']}")
    if name in weights.KINDS:
        found = options(value, keywords(weights.KINDS[name]), f"{name} weights")
        beta = number("lambda_equiv", run.get("lambda_equiv", 1.0), WEIGHT)
        try:
            weights.moving({**{kind: run.get(kind) for kind in weights.KINDS}, name: found}, torch.tensor([[1.0], [beta]]))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return found
    if name == "norm" and (value is None or (isinstance(value, str) and value == "sqrt_dim")):
        return value
    if name == "sigma" and run.get("draw") == "integers":  # the grid's reach
        return number(name, value, COUNT)
    if name == "assignment":
        published = Kind(
            True, lambda value: value == 0 or (value > 0 and run["scenario"] == "walk"), "0, or for walk a positive whole number"
        )
        return number(name, value, published, f" for {run['scenario']}")
    kind = WEIGHT if name.startswith("lambda_") else KINDS.get(name)
    return value if kind is None else number(name, value, kind)


def number(name: str, value: Any, kind: Kind, where: str = "") -> int | float:
    """The value as a number of that kind. Raises ConfigError where it is none."""
    found = finite(value)
    if found is None or (kind.whole and found != int(found)) or not kind.fits(found):
        why = ", which is no finite number" if found is None else ""
        raise ConfigError(f"{name}{ROLES.get(name, '')} must be {kind.words}, got {value!r}{where}{why}")
    return int(found) if kind.whole else float(found) + 0.0  # which takes the sign of -0.0 away


def finite(value: Any) -> int | float | None:
    """The finite number that a value is or, as text, spells; else None. NumPy's are what they print: float32's 0.1 is 0.1."""
    if isinstance(value, np.generic | str):
        for kind in (int, float):
            try:
                value = kind(str(value))
                break
            except ValueError:
                pass
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None


def choice(name: str, value: Any, among: Sequence[Any]) -> Any:
    """The one of them that the value is; 1 is not true."""
    value = value.item() if isinstance(value, np.generic) else value
    for one in among:
        if type(one) is type(value) and one == value:
            return one
    raise ConfigError(f"{name} must be one of {', '.join(map(str, among)) or 'none, as there are none here'}, got {value!r}")


def options(values: Any, defaults: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Keyword options, each in the form of its default. Raises ConfigError for an unknown one, or a value of another kind."""
    refuse_unknown(values, defaults, "option", f" of {place}")
    return {name: like(f"option {name} of {place}", value, defaults[name]) for name, value in values.items()}


def like(name: str, value: Any, default: Any) -> Any:
    """The value in the form of a default: true or false, text, a count, a number of at least 0, or a list of these."""
    if isinstance(default, bool):
        return choice(name, value, (True, False))
    if isinstance(default, int | float):
        return number(name, value, COUNT if isinstance(default, int) else WEIGHT)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be text, as {default!r} is, got {value!r}")
        return str(value)
    return [like(name, one, default[0]) for one in listed(name, value)]


def listed(name: str, value: Any) -> list[Any]:
    """The values of a list, tuple, range or array. Raises ConfigError for anything else, and where there are none."""
    value = list(value) if isinstance(value, list | tuple | range) or getattr(value, "ndim", 0) == 1 else value
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{name} must be a list of at least one value, got {value!r}")
    return value


def refuse_unknown(given: Any, known: Collection[str], what: str, where: str) -> None:
    """Raises ConfigError where `given` is no mapping, or has a key that is not `known`: with its place and the names nearest to it."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"the {what}s{where} must be a mapping of names to values, got {given!r}")
    for key in given:
        if key not in known:
            raise ConfigError(f"unknown {what} {key}{where}: {nearest(key, known)}")


def nearest(name: Any, known: Iterable[str]) -> str:
    """Which of the names may have been meant; all of them where none is near."""
    near = difflib.get_close_matches(str(name), known := sorted(known))
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


@functools.cache
def network_options(model: str) -> dict[str, Any]:
    """The options of a network or discriminator, each with its default."""
    return keywords(models.class_of(model))


def keywords(made: type) -> dict[str, Any]:
    """The keyword-only options of a class, each with its default."""
    return {o.name: o.default for o in inspect.signature(made).parameters.values() if o.kind is o.KEYWORD_ONLY}


@functools.cache
def of_task(task: str, scenario: str) -> dict[str, tuple[str, ...]]:
    """The names of a task's groups and masks."""
    tiny = tasks.load_tiny(task, scenario=scenario)
    return {"group": (*tiny.groups, *tiny.candidates), "mask": tuple(tiny.masks)}


def parameters_of(run: Run) -> int:
    """The number of trainable parameters of a run's network, found by building it."""
    shape = {name: run[name] for name in ("task", "scenario", "model")}
    return _count(json.dumps({**shape, "options": run.get("model_options", {})}, sort_keys=True))


@functools.cache
def _count(described: str) -> int:
    described = json.loads(described)
    task = tasks.load_tiny(described["task"], scenario=described["scenario"])
    model, options, shapes = described["model"], described["options"], (task.train[0].shape[1:], task.outputs)
    if model in models.DISCRIMINATORS:
        network = models.discriminator(model, *task.train, **options)
    else:
        network = models.build(model, torch.Generator(), *shapes, task.generators, task.graph, **options)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
