"""A run in miniature: every phase of it on a made-up problem, in float64, so that two versions of the code can be compared by numbers.

Two versions that agree here, and whose task loads the same data, agree on what the run's record holds: a canary needs no file and about
a second. What it keeps of its run is all that the code branches on; only sizes shrink. It trains as the second of a stack of two, whose
other member has another seed and other weights. That long trainings replay a traced step it need not see: they look at that themselves.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from lib import tasks
from lib.experiments import adversarial, training
from lib.experiments.stack import STACKABLE
from lib.experiments.store import agree
from lib.losses import METHODS
from lib.precision import default_dtype
from lib.protocol import EVALUATIONS, Run

FORM = 3  # of a canary: records of another one cannot be compared with today's
STEPS = 12
RATE, RATE_OF_BASES = 1e-4, 1e-5  # the most that a learning rate may be: with larger ones rounding decides where gradients have kinks
DEPTHS, DEPTH = ("blocks", "layers"), 3  # options of networks, and the most of them that is kept
NOISE = 1e-3  # of the start: a constant basis leaves pixels exactly on their places, where interpolation has kinks and rounding decides
CHUNK = 5  # samples of a forward pass: fewer than are validated on
RESTARTS, SEED = 4, 4  # so many, and from there, that validation and test nearly always disagree on the best of them
TOLERANCE, FLOOR = 1e-6, 1e-8  # two canaries agree where every number does, relative to its size, and below the floor
ROUNDING = {"tolerance": 1e-4, "floor": 1e-5}  # of what is computed in float32


def trainer_of(run: Run) -> ModuleType:
    """The module whose `fit` a run needs."""
    return adversarial if METHODS[run["method"]].adversarial else training


def shrunk(run: Run) -> dict[str, Any]:
    """The run at the size of a canary, with one seed for all and without the sizes of its data.

    Gamma, phases and looks at validation stay as they are, and there are so many steps that warm-up, decay and what follows have
    two each. Numbers that the code could mistake for one another differ.
    """
    ends = [0.0, run.get("warmup", 0.0), run.get("decay", 1.0), 1.0]
    shares = [b - a for a, b in itertools.pairwise(ends) if b > a]
    steps = max(STEPS, math.ceil(3 / min(shares)))
    small = {"seed": SEED, "steps": steps, "batch_size": 5, "error_samples": 6, "error_draws": 2, "test_copies": 4, "surface": 3}
    small |= {"worst_samples": 3, "worst_steps": 3}
    small |= {"copies": min(run.get("copies", 1), 3), "restarts": RESTARTS, "basis": "not the ground truth"}
    rate = RATE_OF_BASES if METHODS[run["method"]].basis == "learnable" else RATE
    small |= {name: min(run[name], times * rate) for name, times in {"lr": 1, "lr_discriminator": 2}.items() if name in run}
    most = dict.fromkeys(run["model_options"], 8) if METHODS[run["method"]].adversarial else dict.fromkeys(DEPTHS, DEPTH)
    small["model_options"] = {name: min(value, most.get(name, value)) for name, value in run["model_options"].items()}
    return {name: small.get(name, value) for name, value in run.items() if name not in tasks.SIZES}


def canary(run: Run) -> dict[str, Any]:
    """All that the run's code computes in miniature, but its times: metrics, curves, the basis, restarts, the surface; CPU, fixed seed.

    A look at validation between the first and the last is made the best. Clipping is at the middle of the gradients' norms, as a first
    pass without it finds them, so that it binds on about half of the steps; the bound of a constraint is at the middle of its term. A basis
    that was discovered before is replaced by one that is not the ground truth. Under `single` stand the terms of one step in float32, in
    which records are made and for which the code may choose otherwise.
    """
    small = shrunk(run)
    brief = {name: 1 if name == "steps" else value for name, value in small.items() if name not in ("restarts", "surface")}
    with default_dtype(torch.float64):  # so that what is drawn is not rounded, which processors do differently
        task = tiny(run, torch.float64)
        looks = min(run.get("evaluations", EVALUATIONS), small["steps"])
        options = {} if trainer_of(run) is adversarial else {"noise": NOISE, "favoured": round(0.6 * looks)}
        if "clip" in run:
            free = training.fit(task, [{**small, "clip": math.inf}], **options)[0]["curves"]["gradient_norm"]
            small["clip"] = statistics.median([*free, *sorted(free)[: len(free) % 2]])  # of an even number: between two of them
        if "dual" in run:
            free = training.fit(task, [small], **options)[0]["curves"]["equiv"]
            small["dual"] = brief["dual"] = {**run["dual"], "epsilon": statistics.median(free)}
        result = second_of_two(task, small, options)
    single = second_of_two(tiny(run, torch.float32), brief, {})["curves"]
    return {"form": FORM, "single": single, **{name: value for name, value in result.items() if name != "train_s"}}


def alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two canaries agree."""
    doubles = ({name: value for name, value in one.items() if name != "single"} for one in (a, b))
    return agree(*doubles, TOLERANCE, FLOOR) and agree(a.get("single"), b.get("single"), **ROUNDING)


def tiny(run: Run, dtype: torch.dtype) -> tasks.Task:
    """The made-up problem in the place of the run's task."""
    task = tasks.load_tiny(run["task"], **{name: run[name] for name in tasks.OPTIONS if name in run})
    return replace(task.to("cpu", dtype), chunk=CHUNK)


def second_of_two(task: tasks.Task, run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """The run's result, trained beside one with another seed and other weights."""
    known = {"known": 1.1 * task.generators.roll(1, -1)} if "basis" in run else {}
    other = {name: run[name] * (1.1 + 0.1 * i) for i, name in enumerate(STACKABLE) if name in run} | {"seed": run["seed"] + 1}
    return trainer_of(run).fit(task, [{**run, **other}, run], **known, **options)[1]
