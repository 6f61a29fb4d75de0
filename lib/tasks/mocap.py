"""A person walking or running, and where the joints are a quarter of a second later: a prediction task with a vertical of its own.

A token is a joint: position and velocity; the target is its position 30 frames on. Units are the database's (about 5.6 cm) and frames
(1/120 s); y is up. Positions are relative to the (unweighted) centre of the joints in the input, so the way covered stays in the target;
or, on demand, to the laboratory's origin, as recorded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.draws import random_stream, uniform
from lib.files import ROOT
from lib.groups import rotations
from lib.tasks import Task
from lib.tasks.bodies import prediction_of_positions
from lib.tasks.files.motion import WALKS, listed
from lib.tasks.files.prepared import read

SCENARIOS = ("walk", "run")
JOINTS, AHEAD = 31, 30
TRIALS = {
    "walk": ((20, 1, 17, 13, 14, 9, 4, 2, 7, 5, 16), (3, 8, 11, 12, 15, 18), (6, 19, 21, 0, 22, 10)),
    "run": ((1, 2, 5, 6, 10), (0, 4, 9), (3, 7, 8)),
}  # train, validation, test, as published
STARTS = {"walk": (300, 100), "run": (90, 80)}  # so many first frames of a trial, of which so many are starts
SEED = 100  # of NumPy's old generator, as published
LABELS = {"walk": "rebuilt", "run": "official"}  # of the walks the published order is inferred, see `lib.tasks.files.motion.listed`


def load(scenario: str, n_train: int = 200, n_eval: int = 600, assignment: int = 0, centred: bool = True, root: Path = ROOT) -> Task:
    """Predict positions 30 frames on (31, 3) from (position, velocity) of 31 joints, (31, 6), of CMU's subject 35 (walk) or 9 (run).

    Parameters
    ----------
    n_train, n_eval : at most so many samples to train on, and of validation and test each: from every trial of a set the same number, at
        most 100 (walk) or 80 (run). The defaults give 198, 600 and 600 of walking, and 200, 240 and 240 of running.
    assignment : which walks are in which set. 0 applies the published places to the trials in the order of `listed`, in which they very
        likely were counted; 1, 2, ... draw sets of the same sizes.
    centred : whether positions are relative to the centre of the input's joints, or else as recorded; rotations are about their origin.

    Raises ValueError for an unknown scenario, fewer samples than trials, or an assignment that there is not, and DataError for a data file
    that is missing or altered.

    Source: REMUL sec. 6.2, with the samples of EGNO and EGHN; the walks' order, other assignments and the plain centre are Ours.
    """
    check(scenario)
    stored, sha256 = read(f"mocap_{scenario}", root)
    positions = np.split(stored["positions"].astype(np.float64), np.cumsum(stored["n_frames"])[:-1])
    return make(scenario, positions, n_train, n_eval, assignment, centred, data=LABELS[scenario], sha256=sha256)


def load_tiny(scenario: str, n_train: int = 11, n_eval: int = 6, assignment: int = 0, centred: bool = True) -> Task:
    """A few samples of made-up walkers: joints that swing, each in its own way, about a body that goes along z."""
    check(scenario)
    draws = np.random.default_rng(0)
    trials = []
    for _ in range(sum(map(len, TRIALS[scenario]))):
        frames = np.arange(STARTS[scenario][0] + AHEAD)[:, None, None]
        body = draws.uniform((-5, 0, -5), (5, 30, 5), (1, JOINTS, 3))
        swing = np.sin(2 * math.pi * (frames / 130 + draws.uniform(size=(1, JOINTS, 1)))) * draws.normal(size=(1, JOINTS, 3))
        trials.append(body + swing + frames * np.array([0.0, 0.0, 0.2]))
    return make(scenario, trials, n_train, n_eval, assignment, centred, data="simulated", sha256="")


def make(
    scenario: str,
    trials: Sequence[Float[np.ndarray, "_ joints 3"]],
    n_train: int,
    n_eval: int,
    assignment: int,
    centred: bool,
    *,
    data: str,
    sha256: str,
) -> Task:
    """The task of the trials' positions."""
    pairs = []
    for part, limit in zip(split(scenario, assignment), (n_train, n_eval, n_eval), strict=True):
        if limit < len(part):
            raise ValueError(f"n_train and n_eval must be at least the number of trials, {len(part)}, got {limit}")
        pairs.append(samples(trials, {trial: starts[: limit // len(part)] for trial, starts in part.items()}, centred))
    train, val, test = pairs
    return prediction_of_positions(train, val, test, name="mocap", groups={"vertical": about_the_vertical}, data=data, sha256=sha256)


def split(scenario: str, assignment: int = 0) -> tuple[dict[int, Int[np.ndarray, " starts"]], ...]:
    """Trials of the training, validation and test set, each with its starts.

    Raises ValueError for a negative assignment, or another than 0 of running, whose published trials are known.
    """
    if assignment < 0 or (assignment and scenario != "walk"):
        raise ValueError(f"assignment must be 0, or for walk a positive number, got {assignment} for {scenario}")
    published = TRIALS[scenario]
    order = [trial for part in published for trial in part]
    if assignment:
        order = torch.randperm(len(order), generator=random_stream(assignment, "trials")).tolist()
    elif scenario == "walk":
        places = listed(WALKS)
        order = [places[case] for case in order]
    draws, (first, count) = np.random.RandomState(SEED), STARTS[scenario]
    starts = ((trial, draws.choice(first, count, replace=False)) for trial in order)
    return tuple(dict(itertools.islice(starts, len(part))) for part in published)


def samples(
    trials: Sequence[Float[np.ndarray, "_ joints 3"]], starts: dict[int, Int[np.ndarray, " starts"]], centred: bool
) -> tuple[Float[Tensor, "B joints 6"], Float[Tensor, "B joints 3"]]:
    """(position, velocity) at each start, v_t = x_(t+1) - x_t, and the position 30 frames on. float32."""
    now, then, later = (np.concatenate([trials[trial][t + ahead] for trial, t in starts.items()]) for ahead in (0, 1, AHEAD))
    centre = now.mean(1, keepdims=True) if centred else 0.0
    x = np.concatenate([now - centre, then - now], -1)
    return torch.from_numpy(x).float(), torch.from_numpy(later - centre).float()


def about_the_vertical(count: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 3 3"]:
    """Rotations about y by uniform angles: what the floor and gravity leave of SO(3)."""
    g = torch.eye(3, dtype=dtype, device=generator.device).repeat(count, 1, 1)
    g[:, ::2, ::2] = rotations(uniform((count,), -math.pi, math.pi, generator, dtype))
    return g


def check(scenario: str) -> None:
    """Raises ValueError for an unknown scenario."""
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
