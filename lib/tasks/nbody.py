"""A star and planets, and where they are after a tenth of a time unit: an SO(3)-equivariant prediction task.

A token is a body: mass, position, velocity; the target is its final position. G = 1. Positions are relative to the (unweighted) centre of
the initial positions, so translations are dealt with. Orbits lie near the x-y plane and are then turned by at most 10 degrees, and in the
further test set `out` by 90 to 180 degrees.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_bodies, on_stacks
from lib.draws import random_stream, uniform
from lib.groups import rotations_between
from lib.tasks import Task
from lib.tasks.bodies import all_rotations, prediction_of_positions
from lib.tasks.copies import copies

SCENARIOS = ("10deg",)  # how far training samples are turned
PLANETS = 3
STAR, PLANET = (1.0, 10.0), (0.01, 0.1)  # masses, log-uniform
ANNULUS = (0.1, 1.0)  # of the planets' starts, uniform over its area
NOISE = 0.01  # standard deviation of each velocity component
TIME, STEPS = 0.1, 100
FARTHEST = 2.0  # samples in which a body goes farther are left out
SMALL, LARGE = (0.0, 10.0), (90.0, 180.0)  # degrees
SEED = 20_230_528


def load(scenario: str, n_train: int = 100, n_eval: int = 5000, axes: str = "uniform", seen: int = 0) -> Task:
    """Predict final positions (4, 3) from (mass, position, velocity) of 4 bodies, (4, 7).

    Parameters
    ----------
    n_train, n_eval : samples to train on, and of validation and of each test set.
    axes : how a turn by an angle is drawn: about a "uniform" axis, or "euler", x, y and z in turn, each by an angle of the range.
    seen : in how many copies each training sample is there, each turned by a rotation of its own; 0 for the sample as it is.

    Raises ValueError for an unknown scenario or rule.

    Source: REMUL sec. 6.1 and B.1: GATr's simulator, other rotations. The rule for the axis and the plain centre are Ours.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    sizes = {"train": (n_train, SMALL), "val": (n_eval, SMALL), "test": (n_eval, SMALL), "out": (n_eval, LARGE)}
    sets = {part: samples(count, degrees, axes, random_stream(SEED, part)) for part, (count, degrees) in sizes.items()}
    out = sets.pop("out")
    sets["train"] = copies(*sets["train"], seen, all_rotations, random_stream(SEED, "seen"), on_bodies, on_stacks)
    return prediction_of_positions(
        **sets, name="nbody", further={"out": out}, groups={"10deg": functools.partial(turns, SMALL, axes)}, data="simulated"
    )


def load_tiny(scenario: str, **options) -> Task:
    """The same task with a few samples."""
    return load(scenario, 16, 8, **options)


def samples(count: int, degrees: tuple[float, float], axes: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(x, y) of `count` systems, turned by an angle of the range."""
    mass, start, velocity, end = (t[:count] for t in systems(math.ceil(1.1 * count), generator))
    g = turns(degrees, axes, count, generator, torch.float64).unsqueeze(1)
    centre = start.mean(1, keepdim=True)
    start, end, velocity = (on_stacks(g, t).squeeze(1) for t in (start - centre, end - centre, velocity))
    return torch.cat([mass.unsqueeze(-1), start, velocity], -1).float(), end.float()


def turns(
    degrees: tuple[float, float], axes: str, count: int, generator: torch.Generator, dtype: torch.dtype
) -> Float[Tensor, "count 3 3"]:
    """Rotations by angles of either sign whose size is in the range."""
    low, high = (math.radians(angle) for angle in degrees)
    return rotations_between(low, high, (count,), generator, dtype, axes=axes)


def systems(
    count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N 3"], Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
    """Masses, positions, velocities and final positions, the bodies in random order; no more than `count`. float64."""

    def draw(low: float, high: float, *size: int) -> Tensor:
        return uniform((count, *size), low, high, generator, torch.float64)

    mass = torch.cat([draw(*map(math.log, STAR), 1), draw(*map(math.log, PLANET), PLANETS)], 1).exp()
    radius, angle = draw(ANNULUS[0] ** 2, ANNULUS[1] ** 2, PLANETS).sqrt(), draw(-math.pi, math.pi, PLANETS)
    planets = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros_like(radius)], -1)
    way = (draw(0.0, 1.0, PLANETS) < 0.5) * 2.0 - 1.0
    speed = way * (mass[:, :1] / radius).sqrt()
    circular = torch.stack([-angle.sin() * speed, angle.cos() * speed, torch.zeros_like(speed)], -1)
    circular = circular + NOISE * torch.randn(circular.shape, generator=generator, dtype=torch.float64)
    x, v = (torch.nn.functional.pad(t, (0, 0, 1, 0)) for t in (planets, circular))  # the star rests at the origin

    order = draw(0.0, 1.0, PLANETS + 1).argsort(1)
    mass, x, v = mass.gather(1, order), *(t.gather(1, order.unsqueeze(-1).expand(-1, -1, 3)) for t in (x, v))
    end = flow(mass, x, v)
    near = (end - x).norm(dim=-1).amax(1) <= FARTHEST
    return mass[near], x[near], v[near], end[near]


def flow(
    mass: Float[Tensor, "B N"], x: Float[Tensor, "B N 3"], v: Float[Tensor, "B N 3"], steps: int = STEPS, time: float = TIME
) -> Float[Tensor, "B N 3"]:
    """Positions after `time`, by semi-implicit Euler steps: first the velocities, then the positions."""
    for _ in range(steps):
        distance = (x.unsqueeze(1) - x.unsqueeze(2)).norm(dim=-1)
        pull = mass.unsqueeze(1) * torch.where(distance < 1e-9, 1.0, distance) ** -3  # of j on i; a body does not pull itself
        v = v + time / steps * (pull @ x - pull.sum(-1, keepdim=True) * x)
        x = x + time / steps * v
    return x
