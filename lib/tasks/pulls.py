"""Three bodies that lie one way, and how they pull at each other: a law with two symmetries, one of a compact group and one that is none.

Turning the bodies turns the pulls; shifting them changes nothing. Scenarios say by which of the two samples are moved:

    rotations       all of them, about the bodies' mean
    translations    by up to 1 along each axis; and in the further test set `far` by up to 10
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_directions, on_points
from lib.draws import random_stream, uniform
from lib.groups import affine, homogeneous, so, translations
from lib.metrics import mean_squared_error
from lib.tasks import Task
from lib.tasks.bodies import all_rotations
from lib.tasks.copies import copies

SCENARIOS = ("rotations", "translations")
NEAR, FAR = 1.0, 10.0  # how far translations go along each axis, in units of the bodies' distances
SPREAD = 0.3  # standard deviation of each coordinate about the places (1, 0, 0), (0, 1, 0), (0, 0, 1)
SOFTENING = 0.1  # added to a squared distance, so that bodies that meet do not pull without bound
SEED = 20_251_126


def law(x: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """a_i = sum_j (x_j - x_i) / (|x_j - x_i|^2 + 0.1)^(3/2): Plummer's softened gravity of three unit masses, G = 1."""
    apart = x.unsqueeze(1) - x.unsqueeze(2)
    return (apart * (apart.square().sum(-1, keepdim=True) + SOFTENING) ** -1.5).sum(2)


def load(scenario: str, n_train: int = 500, n_eval: int = 2000, seen: int = 0) -> Task:
    """Predict the pulls (3, 3) at three bodies from their places (3, 3).

    Training samples lie as `SPREAD` says, about their mean; those of validation and test are moved by the scenario's group, and those of
    the further test set `aligned` are not.

    Parameters
    ----------
    seen : in how many copies each training sample is there, each moved by an element of its own; 0 for the sample as it is.

    Raises ValueError for an unknown scenario. Ours: the smallest law of nature on which both kinds of group act.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    turning = scenario == "rotations"
    moves = turns if turning else functools.partial(shifts, NEAR)
    moved_by = {"train": (n_train, seen, moves), "val": (n_eval, 1, moves), "test": (n_eval, 1, moves), "aligned": (n_eval, 0, moves)}
    if not turning:
        moved_by["far"] = (n_eval, 1, functools.partial(shifts, FAR))
    sets = {}
    for part, (count, times, draw) in moved_by.items():
        draws = random_stream(SEED, part)
        x = torch.eye(3) + SPREAD * torch.randn(count, 3, 3, generator=draws)
        x = x - x.mean(1, keepdim=True)
        sets[part] = copies(x, law(x), times, draw, draws, on_points, on_directions)
    main = {part: sets.pop(part) for part in ("train", "val", "test")}
    return Task(
        name="pulls",
        **main,
        further=sets,
        rho_x=on_points,
        rho_y=on_directions,
        loss=torch.nn.functional.mse_loss,
        metric=mean_squared_error,
        metric_name="mse",
        outputs=torch.Size([3, 3]),
        size=4,
        generators=affine(so(3)) if turning else translations(3),
        groups={"moves": moves},
        reach={"": torch.pi} if turning else {"": NEAR, "far": FAR},
        points=torch.nn.functional.pad(main["train"][0].flatten(0, 1)[:2000], (0, 1), value=1.0),
        data="simulated",
    )


def load_tiny(scenario: str, **options) -> Task:
    """The same task with a few samples."""
    return load(scenario, 16, 8, **options)


def turns(count: int, draws: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 4 4"]:
    """Rotations drawn uniformly, in homogeneous coordinates."""
    return homogeneous(all_rotations(count, draws, dtype))


def shifts(farthest: float, count: int, draws: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 4 4"]:
    """Translations, uniform up to `farthest` along each axis, in homogeneous coordinates."""
    shift = uniform((count, 3), -farthest, farthest, draws, dtype)
    return homogeneous(torch.eye(3).to(shift).expand(count, 3, 3), shift)
