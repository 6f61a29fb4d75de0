"""A run in miniature: every phase of it on a made-up problem, in float64, so that two versions of the code can be compared by numbers.

Two versions that agree here, and whose task loads the same data, agree on what the run's record holds: a canary needs no file and well
under a second. What it keeps of its run is all that the code branches on; only sizes shrink.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from lib import liegan, tasks, train
from lib.losses import METHODS

FORM = 2  # of a canary: records of another one cannot be compared with today's
STEPS = 12
RATE, RATE_OF_BASES = 1e-4, 1e-5  # the most that a learning rate may be: with larger ones rounding decides where gradients have kinks
DEPTHS, DEPTH = ("blocks", "layers"), 3  # options of networks, and the most of them that is kept
NOISE = 1e-3  # of the start: a constant basis leaves pixels exactly on their places, where interpolation has kinks and rounding decides


def trainer_of(run: Mapping[str, Any]) -> ModuleType:
    """The module whose `fit` a run needs."""
    return liegan if METHODS[run["method"]].adversarial else train


def shrunk(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run at the size of a canary, with one seed for all and without the sizes of its data.

    Gamma, phases, restarts and looks at validation stay as they are, and there are so many steps that warm-up, decay and what follows have
    two each.
    """
    ends = [0.0, run.get("warmup", 0.0), run.get("decay", 1.0), 1.0]
    shares = [b - a for a, b in itertools.pairwise(ends) if b > a]
    steps = max(STEPS, math.ceil(3 / min(shares)))
    small = {"seed": 0, "steps": steps, "batch_size": 4, "error_samples": 2, "error_draws": 2, "test_copies": 2, "surface": 3}
    small |= {"copies": min(run.get("copies", 1), 3), "basis": "not the ground truth"}
    rate = RATE_OF_BASES if METHODS[run["method"]].basis == "learnable" else RATE
    small |= {name: min(run[name], rate) for name in ("lr", "lr_discriminator") if name in run}
    most = dict.fromkeys(run["model_options"], 8) if METHODS[run["method"]].adversarial else dict.fromkeys(DEPTHS, DEPTH)
    small["model_options"] = {name: min(value, most.get(name, value)) for name, value in run["model_options"].items()}
    return {name: small.get(name, value) for name, value in run.items() if name not in tasks.SIZES}


def canary(run: Mapping[str, Any]) -> dict[str, Any]:
    """All that the run's code computes in miniature, but its times: metrics, curves, the basis, restarts, the surface; CPU, fixed seed.

    A look at validation between the first and the last is made the best. Clipping is at the middle of the gradients' norms, as a first
    pass without it finds them, so that it binds on about half of the steps. A basis that was discovered before is replaced by one that
    is not the ground truth.
    """
    small = shrunk(run)
    task = tasks.load_tiny(run["task"], **{name: run[name] for name in tasks.OPTIONS if name in run}).to("cpu", torch.float64)
    trainer, options = trainer_of(run), {}
    if trainer is train:
        looks = min(run.get("evaluations", train.EVALUATIONS), small["steps"])
        options = {"noise": NOISE, "favoured": round(0.6 * looks), "known": 1.1 * task.generators.roll(1, -1) if "basis" in run else None}
    if "clip" in run:
        free = trainer.fit(task, [{**small, "clip": math.inf}], **options)[0]["curves"]["gradient_norm"]
        small["clip"] = statistics.median([*free, *sorted(free)[: len(free) % 2]])  # of an even number: between two of them
    result = trainer.fit(task, [small], **options)[0]
    return {"form": FORM, **{name: value for name, value in result.items() if name != "train_s"}}
