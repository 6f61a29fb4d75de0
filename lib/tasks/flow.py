"""Currents in a square, from those that went before: the symmetry under quarter turns holds only nearly.

A sample is a film: `past` fields of velocity on 16 x 16 points, rows from the south, columns from the west; the target are the fields that
follow. Velocities are in units of the training set's root mean square of a component. The test set is of other times than the training set
(*future*), the further test set `domain` of other places.

ocean       the Mediterranean, in the place of JetFlow: geostrophic currents of measured sea levels; coasts, the Coriolis force, unequal
            grid steps break the symmetry. One place in four is held out. A frame is three days; 4 are given, 6 foretold
simulated   forced turbulence, see `lib.tasks.turbulence`: `strength` breaks the symmetry. 10 frames are given, 20 foretold
official    JetFlow (Wang et al. 2022), where a user has it in `jetflow/`, its times and stations; 10 frames are given, 20 foretold
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_films
from lib.draws import random_stream
from lib.groups import so
from lib.models.rollout import TRAINED
from lib.tasks import Task
from lib.tasks.files import jetflow
from lib.tasks.files.ocean import LAND
from lib.tasks.files.prepared import read
from lib.tasks.turbulence import Turbulence

GRAVITY, EARTH_TURN, EARTH_RADIUS = 9.81, 7.2921e-5, 6.371e6  # m/s^2, rad/s, m
SIDE = 16  # points of a square
SEED = 20_241_023


class Films(NamedTuple):
    """Velocities (places, times, 2, side, side), which places are held out, and how they are cut into samples.

    `past` and `frames` are those given and foretold, `interval` times apart; `starts` of each part the times at which its samples begin.
    """

    velocity: Tensor
    held_out: Sequence[int]
    past: int
    frames: int
    interval: int
    starts: dict[str, range]
    data: str
    sha256: str = ""


def load(scenario: str, n_train: int | None = None, n_eval: int | None = None, strength: float | None = None) -> Task:
    """Predict (frames, 2, 16, 16) from (past, 2, 16, 16); the error is the root mean square of a component, over all frames (m/s; of
    `simulated` without a unit). Training samples have only the first of the frames: the others would be of the test set's times.

    Parameters
    ----------
    n_train, n_eval : samples to train on, and of validation and of each test set; None for all.
    strength : of the force that breaks the symmetry of `simulated`; 0 if None.

    Raises ValueError for an unknown scenario, a strength where there is none, or more samples than there are; DataError without the data.

    Source: REMUL sec. A and Wang et al. (2022) on the two test sets, frames and times; what is not JetFlow is Ours.
    """
    check(scenario, strength)
    films = simulated(strength or 0.0) if scenario == "simulated" else {"ocean": ocean, "official": official}[scenario]()
    return task_of(films, {"train": n_train, "val": n_eval, "test": n_eval, "domain": n_eval})


def load_tiny(scenario: str, strength: float | None = None) -> Task:
    """Waves of a made-up sea level that travel in squares of 6 x 6 points; no file. A strength drives them west."""
    check(scenario, strength)
    draws = random_stream(0, "flow")
    place, time = np.arange(6.0), np.arange(17.0)[:, None, None]
    waves = torch.randn(5, 3, generator=draws, dtype=torch.float64).numpy()
    levels = [1000 * np.sin(x * place + y * place[:, None] + turn * (1 + (strength or 0.0)) * time) for x, y, turn in waves]
    velocity = torch.from_numpy(np.stack([geostrophic(level, 40 + 0.1 * place, 0.1 * place) for level in levels]))
    starts = {"train": range(3), "val": range(3, 5), "test": range(5, 7), "domain": range(7)}
    return task_of(Films(velocity, [0], 2, 8, 1, starts, "simulated"), {})


def check(scenario: str, strength: float | None) -> None:
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    if strength is not None and scenario != "simulated":
        raise ValueError(f"strength is of simulated, {scenario} has none: got {strength}")


def task_of(films: Films, sizes: dict[str, int | None]) -> Task:
    """The task of these films; where a size says so, a part has only so many of its samples, in a random order that is always the same."""
    sets = {}
    for part, starts in films.starts.items():
        places = [i for i in range(len(films.velocity)) if (i in films.held_out) == (part == "domain")]
        frames = min(TRAINED, films.frames) if part == "train" else films.frames
        sets[part] = windows(films, places, starts, frames, random_stream(SEED, part), sizes.get(part), part)
    scale = sets["train"][0].square().mean().sqrt().item()
    sets = {part: tuple((film / scale).float() for film in pair) for part, pair in sets.items()}
    domain = sets.pop("domain")
    return Task(
        name="flow",
        **sets,
        further={"domain": domain},
        rho_x=on_films,
        rho_y=on_films,
        loss=frames_error,
        metric=functools.partial(root_mean_square, scale=scale),
        metric_name="rmse",
        reported=functools.partial(torch.mul, torch.tensor(scale)),
        outputs=domain[1].shape[1:],
        size=2,
        generators=so(2),
        groups={"c4": quarter_turns},
        points=torch.eye(2),
        chunk=100,
        data=films.data,
        sha256=films.sha256,
    )


def windows(
    films: Films, places: Sequence[int], starts: range, frames: int, draws: torch.Generator, size: int | None, part: str
) -> tuple[Float[Tensor, "B past 2 h w"], Float[Tensor, "B frames 2 h w"]]:
    """The samples of some places that begin at some times, in random order."""
    order = torch.randperm(len(places) * len(starts), generator=draws)
    if size is not None and not 1 <= size <= len(order):
        raise ValueError(f"{'n_train' if part == 'train' else 'n_eval'} must be between 1 and {len(order)}, got {size}")
    place, start = torch.tensor(places)[order[:size] % len(places)], torch.tensor(starts)[order[:size] // len(places)]
    times = start[:, None] + films.interval * torch.arange(films.past + frames)
    found = films.velocity[place[:, None], times]
    return found[:, : films.past], found[:, films.past :]


def frames_error(prediction: Float[Tensor, "B predicted 2 h w"], y: Float[Tensor, "B frames 2 h w"]) -> Tensor:
    """The mean squared error of the first frames, so many as both have."""
    count = min(prediction.shape[1], y.shape[1])
    return (prediction[:, :count] - y[:, :count]).square().mean()


def root_mean_square(prediction: Tensor, y: Tensor, scale: float) -> Tensor:
    """sqrt(mean (prediction - y)^2), times what a unit is worth."""
    return scale * (prediction - y).square().mean().sqrt()


def quarter_turns(count: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 2 2"]:
    """Turns by 0, 90, 180 or 270 degrees, each as likely as the others: C4."""
    quarters = torch.randint(4, (count,), generator=generator, device=generator.device)
    cos, sin = (torch.tensor(values, dtype=dtype, device=generator.device)[quarters] for values in ([1, 0, -1, 0], [0, 1, 0, -1]))
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


# ------------------------------------------------------------------------------------------------------ where they come from


def ocean() -> Films:
    """Squares of the sea that share no point, west to east and south to north; every fourth is held out."""
    arrays, sha256 = read("ocean")
    velocity = geostrophic(arrays["level"], arrays["latitude"], arrays["longitude"])
    films = [velocity[:, :, y : y + SIDE, x : x + SIDE] for y, x in squares(np.isfinite(velocity).all((0, 1)))]
    starts = {"train": range(20), "val": range(24, 30), "test": range(44, 64), "domain": range(20)}
    return Films(torch.from_numpy(np.stack(films)), range(3, len(films), 4), 4, 6, 3, starts, "surrogate", sha256)


def geostrophic(level: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """(days, 2, latitudes, longitudes): u = -g/f d(level)/dy, v = g/f d(level)/dx in m/s, f = 2 (Earth's turn) sin(latitude); NaN on land.

    Central differences; a point beside land has none.
    """
    height = np.where(level == LAND, np.nan, 1e-4 * level)
    radians = np.deg2rad(latitude.astype(float))
    north = EARTH_RADIUS * np.deg2rad(float(latitude[1] - latitude[0]))
    east = EARTH_RADIUS * np.deg2rad(float(longitude[1] - longitude[0])) * np.cos(radians)
    factor = GRAVITY / (2 * EARTH_TURN * np.sin(radians))
    along_y, along_x = np.gradient(height, north, axis=1), np.gradient(height, axis=2) / east[:, None]
    return np.stack([-factor[:, None] * along_y, factor[:, None] * along_x], 1)


def squares(sea: np.ndarray) -> list[tuple[int, int]]:
    """The south-west corners of squares of sea that share no point, each the first that is left from the south and west."""
    free, corners = sea.copy(), []
    for y in range(sea.shape[0] - SIDE + 1):
        for x in range(sea.shape[1] - SIDE + 1):
            if free[y : y + SIDE, x : x + SIDE].all():
                free[y : y + SIDE, x : x + SIDE] = False
                corners.append((y, x))
    return corners


def simulated(strength: float) -> Films:
    """The quarters of 24 simulations on 32 x 32 points, from their fourth time unit on; the last six simulations are held out.

    Times are short: a trajectory is chaotic, and its last digits must not hang on the processor.
    """
    solver = Turbulence(2 * SIDE, strength)
    velocity = solver.films(24, 57, 0.05, 4.0, random_stream(SEED, "turbulence"))
    quarters = [velocity[..., y : y + SIDE, x : x + SIDE] for y in (0, SIDE) for x in (0, SIDE)]
    starts = {"train": range(16), "val": range(16, 20), "test": range(21, 28), "domain": range(16)}
    return Films(torch.stack(quarters, 1).flatten(0, 1), range(72, 96), 10, 20, 1, starts, "simulated")


def official() -> Films:
    """JetFlow's stations, of each two squares of its 62 x 23 points; its six stations of *domain* are held out. Times as published."""
    velocity, held_out, sha256 = jetflow.stations()
    side = min(velocity.shape[-2:])
    cut = [velocity[..., :side, :side], velocity[..., -side:, -side:]]
    starts = {"train": range(2, 162), "val": range(162, 202), "test": range(202, 252), "domain": range(2, 102)}
    both = [2 * i + j for i in held_out for j in range(2)]
    return Films(torch.stack(cut, 1).flatten(0, 1), both, 10, 20, 1, starts, "official", sha256)


SCENARIOS = ("ocean", "simulated", "official")
