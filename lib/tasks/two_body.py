"""Two bodies on nearly circular orbits about their centre of mass: an SO(2)-equivariant prediction task.

State (q1x, q1y, p1x, p1y, q2x, q2y, p2x, p2y), in simulation units: G = 1, both masses 1, time step 20/49.

Scenarios (where body 1 is in training | in testing):
    in          starts in the lower half plane | starts in the upper half plane, as in LieGAN's data
    out         in the upper left or lower right quadrant at every step of a sample | in the other two
    error_1, _3, _10    as "in", but one relative error of a trajectory's velocity, with a standard deviation of 1, 3 or 10 thousandths
    spliced_5, _20      as "error_1", and 5 or 20 of a thousand trajectories, not of testing, go on as another orbit from some step
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_stacks
from lib.draws import uniform
from lib.groups import rotations, so
from lib.metrics import mean_squared_error, trimmed_squared_error
from lib.tasks import Task


class Orbits(NamedTuple):
    """Whether a sample stays in two quadrants; the standard deviation of a velocity's relative error, one for both components, or None for
    `NOISE` of each; the share of spliced trajectories."""

    quadrants: bool = False
    error: float | None = None
    spliced: float = 0.0


SCENARIOS = {
    "in": Orbits(),
    "out": Orbits(quadrants=True),
    "error_1": Orbits(error=0.001),
    "error_3": Orbits(error=0.003),
    "error_10": Orbits(error=0.01),
    "spliced_5": Orbits(error=0.001, spliced=0.005),
    "spliced_20": Orbits(error=0.001, spliced=0.02),
}
STEP, LENGTH = 20 / 49, 20  # of a trajectory: time between states, and states
RADII = (1.5, 3.0)  # of body 1's start, uniform over the annulus
NOISE = 7e-4  # standard deviation of the velocity's relative error, measured on LieGAN's file
SUBSTEPS = 8  # of the integrator between states
TRAJECTORIES, MORE = (814, 790, 790), (1600, 1600, 1600)  # train, validation, test; in two quadrants about half the windows remain
POSITIONS, MOMENTA = [0, 1, 4, 5], [2, 3, 6, 7]
SEED = 20_190_604


def load(
    scenario: str,
    n_train: int = 7000,
    n_eval: int = 7000,
    timesteps: int = 1,
    scaled: bool = True,
    trimmed: float = 0.0,
    trajectories=None,
) -> Task:
    """Predict the next `timesteps` states from as many; x and y have shape (timesteps, 8).

    Parameters
    ----------
    scaled : positions and momenta are each divided by their root mean square over the training set. Errors are in raw units either way.
    n_train, n_eval : samples to train on, and of validation and of test each, drawn once from all windows of the trajectories.
    trimmed : the share of the samples with the largest errors that loss and metric leave out, see `lib.metrics.trimmed_squared_error`.

    Raises ValueError for an unknown scenario, more samples than there are, timesteps that a trajectory does not hold twice, or a share to
    trim that is not in [0, 1).

    Source: SEMoLA sec. 5.2 and A.4.1, LieGAN's data: radii, sizes and the half planes of "in"; the quadrants of "out" are the paper's,
    how its data was modified is lost. One error a trajectory: Greydanus et al. (2019), whose generator LieGAN's data come from; its
    sizes, that orbits are spliced, what is trimmed, and the validation set are Ours.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    if not 1 <= timesteps < LENGTH // 2:
        raise ValueError(f"timesteps must be between 1 and {LENGTH // 2 - 1}, got {timesteps}: a trajectory has {LENGTH} states")
    if not 0 <= trimmed < 1:
        raise ValueError(f"trimmed must be in [0, 1), got {trimmed}")
    orbits, generator = SCENARIOS[scenario], torch.Generator().manual_seed(SEED)
    trajectories = trajectories or (MORE if orbits.quadrants else TRAJECTORIES)
    pairs, wanted = [], zip(("train", "val", "test"), trajectories, (n_train, n_eval, n_eval), strict=True)
    for part, trajectory_count, count in wanted:
        states = simulate(trajectory_count, starting_angles(orbits, part), generator, orbits.error)
        if orbits.spliced and part != "test":
            states = spliced(states, math.ceil(orbits.spliced * trajectory_count), generator)
        x, y = windows(states, timesteps, same_sign=(part == "test") if orbits.quadrants else None)
        if not 1 <= count <= len(x):
            raise ValueError(f"n_{'train' if part == 'train' else 'eval'} must be between 1 and {len(x)}, got {count}")
        chosen = torch.randperm(len(x), generator=generator)[:count]
        pairs.append((x[chosen], y[chosen]))

    raw = torch.ones(8, dtype=torch.float64)
    if scaled:
        for block in (POSITIONS, MOMENTA):
            raw[block] = pairs[0][0][..., block].square().mean().sqrt()
    units = raw.float()
    train, val, test = (tuple((t / raw).float() for t in pair) for pair in pairs)
    loss, error = torch.nn.functional.mse_loss, mean_squared_error
    if trimmed:
        loss = error = functools.partial(trimmed_squared_error, share=trimmed)
    return Task(
        name="two_body",
        train=train,
        val=val,
        test=test,
        rho_x=on_stacks,
        rho_y=on_stacks,
        loss=loss,
        metric=lambda output, y: error(output * units.to(output), y * units.to(y)),
        metric_name="trimmed_mse" if trimmed else "mse",
        reported=lambda output: output * units.to(output),
        outputs=torch.Size([timesteps, 8]),
        size=8,
        generators=torch.block_diag(*[so(2)[0]] * 4).unsqueeze(0),
        masks=masks(),
        groups={"so2": turns},
        points=train[0][:2000, -1],
        blocks={"positions": POSITIONS, "momenta": MOMENTA},
        law=lambda x: flow(x[:, -1] * raw.to(x), timesteps) / raw.to(x),
        data="simulated",
    )


def load_tiny(scenario: str, **options) -> Task:
    """The same task with a few trajectories."""
    return load(scenario, 16, 8, trajectories=(8, 8, 8), **options)


def starting_angles(orbits: Orbits, part: str) -> tuple[float, float]:
    """Range of body 1's angle at the start."""
    if orbits.quadrants:
        return -math.pi, math.pi
    return (0.0, math.pi) if part == "test" else (-math.pi, 0.0)


def simulate(
    count: int, angles: tuple[float, float], generator: torch.Generator, error: float | None = None
) -> Float[Tensor, "count time 8"]:
    """Trajectories of circular orbits, their velocities perturbed as `Orbits` says; the second body opposite to the first. float64."""
    radius = uniform((count, 1), RADII[0] ** 2, RADII[1] ** 2, generator, torch.float64).sqrt()
    angle = uniform((count, 1), *angles, generator, torch.float64)
    q = radius * torch.cat([angle.cos(), angle.sin()], 1)
    # the other body is 2 r away: v^2 / r = 1 / (2 r)^2
    p = torch.cat([-angle.sin(), angle.cos()], 1) / (2 * radius.sqrt())
    scale, shape = (NOISE, p.shape) if error is None else (error, (count, 1))
    p = p * (1 + scale * torch.randn(shape, generator=generator, dtype=torch.float64))
    return flow_path(torch.cat([q, p, -q, -p], 1), LENGTH - 1)


def spliced(states: Float[Tensor, "N time 8"], count: int, generator: torch.Generator) -> Float[Tensor, "N time 8"]:
    """The same, but `count` trajectories go on, from a step drawn for each, as their predecessor in the list (the first's is the last)."""
    chosen = torch.randperm(len(states), generator=generator)[:count]
    start = torch.randint(1, states.shape[1], (count, 1), generator=generator)
    other = torch.arange(states.shape[1]) >= start
    found = states.clone()
    found[chosen] = torch.where(other.unsqueeze(-1), states[chosen - 1], states[chosen])
    return found


def accelerations(q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    """Of both bodies, by Newton's law."""
    d = q2 - q1
    pull = d / d.square().sum(-1, keepdim=True) ** 1.5
    return pull, -pull


def derivative(state: Float[Tensor, "B 8"]) -> Float[Tensor, "B 8"]:
    q1, p1, q2, p2 = state.split(2, -1)
    a1, a2 = accelerations(q1, q2)
    return torch.cat([p1, a1, p2, a2], -1)


def flow_path(state: Float[Tensor, "B 8"], steps: int) -> Float[Tensor, "B time 8"]:
    """The states at times 0, STEP, ..., steps * STEP, by the classical Runge-Kutta method."""
    h, path = STEP / SUBSTEPS, [state]
    for _ in range(steps):
        for _ in range(SUBSTEPS):
            k1 = derivative(state)
            k2 = derivative(state + h / 2 * k1)
            k3 = derivative(state + h / 2 * k2)
            k4 = derivative(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(state)
    return torch.stack(path, 1)


def flow(state: Float[Tensor, "B 8"], steps: int) -> Float[Tensor, "B steps 8"]:
    """The next `steps` states: the law that the task asks for."""
    return flow_path(state, steps)[:, 1:]


def windows(states: Float[Tensor, "N time 8"], timesteps: int, same_sign: bool | None) -> tuple[Tensor, Tensor]:
    """All pairs of consecutive windows; with `same_sign`, those in which q1x q1y > 0 is that at every step.

    A trajectory gives time - 2 * timesteps of them, as in LieGAN's code, which leaves out the last.
    """
    count = states.shape[1] - 2 * timesteps
    both = states.unfold(1, 2 * timesteps, 1)[:, :count].transpose(-1, -2).flatten(0, 1)
    if same_sign is not None:
        both = both[((both[..., 0] * both[..., 1] > 0) == same_sign).all(1)]
    return both[:, :timesteps], both[:, timesteps:]


def masks() -> dict[str, Tensor]:
    """mask_0: all entries; mask_2: each body's position and momentum apart; mask_4: positions together, momenta together.

    Source: SEMoLA A.4.1; LieGAN for 2 and 4.
    """
    pairs = torch.block_diag(*[torch.ones(2, 2)] * 4)
    position = torch.zeros(8)
    position[POSITIONS] = 1.0
    return {"mask_0": torch.ones(8, 8), "mask_2": pairs, "mask_4": (position[:, None] == position[None, :]).float()}


def turns(count: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 8 8"]:
    """The same rotation, by a uniform angle, of every position and momentum."""
    r = rotations(uniform((count,), -math.pi, math.pi, generator, dtype))
    return torch.einsum("ij,bkl->bikjl", torch.eye(4, dtype=dtype, device=r.device), r).reshape(count, 8, 8)
