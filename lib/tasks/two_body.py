"""Two bodies on nearly circular orbits about their centre of mass: an SO(2)-equivariant prediction task.

State (q1x, q1y, p1x, p1y, q2x, q2y, p2x, p2y), in simulation units: G = 1, both masses 1, time step 20/49.

Scenarios (where body 1 is in training | in testing):
    in      starts in the lower half plane | starts in the upper half plane, as in LieGAN's data
    out     in the upper left or lower right quadrant at every step of a sample | in the other two
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_stacks
from lib.draws import uniform
from lib.groups import rotations, so
from lib.metrics import mean_squared_error
from lib.tasks import Task

SCENARIOS = ("in", "out")
STEP, LENGTH = 20 / 49, 20  # of a trajectory: time between states, and states
RADII = (1.5, 3.0)  # of body 1's start, uniform over the annulus
NOISE = 7e-4  # standard deviation of the velocity's relative error, measured on LieGAN's file
SUBSTEPS = 8  # of the integrator between states
TRAJECTORIES = {"in": (814, 790, 790), "out": (1600, 1600, 1600)}  # train, validation, test; of "out" about half the windows remain
POSITIONS, MOMENTA = [0, 1, 4, 5], [2, 3, 6, 7]
SEED = 20_190_604


def load(scenario: str, n_train: int = 7000, n_eval: int = 7000, timesteps: int = 1, scaled: bool = True, trajectories=None) -> Task:
    """Predict the next `timesteps` states from as many; x and y have shape (timesteps, 8).

    Parameters
    ----------
    scaled : positions and momenta are each divided by their root mean square over the training set. Errors are in raw units either way.
    n_train, n_eval : samples to train on, and of validation and of test each, drawn once from all windows of the trajectories.

    Raises ValueError for an unknown scenario, more samples than there are, or timesteps that a trajectory does not hold twice.

    Source: SEMoLA sec. 5.2 and A.4.1, LieGAN's data: radii, sizes and the half planes of "in"; the quadrants of "out" are the paper's,
    how its data was modified is lost. The validation set is Ours.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    if not 1 <= timesteps < LENGTH // 2:
        raise ValueError(f"timesteps must be between 1 and {LENGTH // 2 - 1}, got {timesteps}: a trajectory has {LENGTH} states")
    generator = torch.Generator().manual_seed(SEED)
    pairs, wanted = [], zip(("train", "val", "test"), trajectories or TRAJECTORIES[scenario], (n_train, n_eval, n_eval), strict=True)
    for part, trajectory_count, count in wanted:
        states = simulate(trajectory_count, starting_angles(scenario, part), generator)
        x, y = windows(states, timesteps, same_sign=None if scenario == "in" else (part == "test"))
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
    return Task(
        name="two_body",
        train=train,
        val=val,
        test=test,
        rho_x=on_stacks,
        rho_y=on_stacks,
        loss=torch.nn.functional.mse_loss,
        metric=lambda output, y: mean_squared_error(output * units.to(output), y * units.to(y)),
        metric_name="mse",
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


def starting_angles(scenario: str, part: str) -> tuple[float, float]:
    """Range of body 1's angle at the start."""
    if scenario == "out":
        return -math.pi, math.pi
    return (0.0, math.pi) if part == "test" else (-math.pi, 0.0)


def simulate(count: int, angles: tuple[float, float], generator: torch.Generator) -> Float[Tensor, "count time 8"]:
    """Trajectories of circular orbits, their velocities perturbed by `NOISE`; the second body opposite to the first. float64."""
    radius = uniform((count, 1), RADII[0] ** 2, RADII[1] ** 2, generator, torch.float64).sqrt()
    angle = uniform((count, 1), *angles, generator, torch.float64)
    q = radius * torch.cat([angle.cos(), angle.sin()], 1)
    # the other body is 2 r away: v^2 / r = 1 / (2 r)^2
    p = torch.cat([-angle.sin(), angle.cos()], 1) / (2 * radius.sqrt())
    p = p * (1 + NOISE * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return flow_path(torch.cat([q, p, -q, -p], 1), LENGTH - 1)


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
