"""Functions of three coordinates with none, one or three linear symmetries: can the method say how many there are, none included?

Scenarios: none (no linear symmetry), so2 (turns about the third axis), so3 (all rotations).
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from lib.groups import so
from lib.tasks import Task
from lib.tasks.bodies import all_rotations
from lib.tasks.discrete_rotation import turns
from lib.tasks.regression import gaussian_regression

SCENARIOS = ("none", "so2", "so3")
SEED = 20_250_604


def law(x: Float[Tensor, "B 3"], scenario: str) -> Float[Tensor, " B"]:
    """none: cos 2 x1 + sin x2 + x3^2 / 2;  so2: cos 2 r + x3, r^2 = x1^2 + x2^2;  so3: cos 2 |x|. Ours."""
    if scenario == "none":
        return (2 * x[:, 0]).cos() + x[:, 1].sin() + x[:, 2].square() / 2
    if scenario == "so2":
        return (2 * x[:, :2].square().sum(1).sqrt()).cos() + x[:, 2]
    return (2 * x.square().sum(1).sqrt()).cos()


def load(scenario: str, n_train: int = 16_000, n_eval: int = 2_000) -> Task:
    """Regression of the scenario's `law` on x ~ N(0, 1_3).

    The group that is not the scenario's is a candidate. In `none` the turns of so2 stand in the place of a ground truth: what is scored
    against them there says nothing.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    whole = scenario == "so3"
    return gaussian_regression(
        functools.partial(law, scenario=scenario),
        so(3) if whole else torch.nn.functional.pad(so(2), (0, 1, 0, 1)),
        n_train,
        n_eval,
        seed=SEED,
        name="planted_symmetry",
        groups={"so3": all_rotations} if whole else {"so2": turns},
        candidates={"so2": turns} if whole else {"so3": all_rotations},
        law=functools.partial(law, scenario=scenario),
    )


def load_tiny(scenario: str) -> Task:
    """The same task with a few samples."""
    return load(scenario, 16, 8)
