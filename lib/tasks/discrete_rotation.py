"""A function with a discrete symmetry: f(x) = x3 / (1 + (angle(x1, x2) mod 2 pi / 7)), invariant to turns by multiples of 2 pi / 7.

Turns about the third axis by other angles are not symmetries: "ground-truth augmentation" by so(2) spoils the labels of this task.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.draws import uniform
from lib.groups import rotations, so
from lib.tasks import Task
from lib.tasks.regression import gaussian_regression

SCENARIOS = ("in",)
FOLD = 7  # LieGAN's code; the paper's k is lost
SEED = 20_230_201


def law(x: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    """x3 / (1 + (atan2(x2, x1) mod 2 pi / 7)), angles in radians. Source: LieGAN's discrete rotation experiment."""
    return x[:, 2] / (1 + torch.remainder(torch.atan2(x[:, 1], x[:, 0]), 2 * math.pi / FOLD))


def load(scenario: str = "in", n_train: int = 16_000, n_eval: int = 2_000) -> Task:
    """Regression of `law` on x ~ N(0, 1_3). Source: SEMoLA A.6.1; k, x and 20,000 in all are LieGAN's, the split is Ours."""
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    return gaussian_regression(
        law,
        torch.nn.functional.pad(so(2), (0, 1, 0, 1)),
        n_train,
        n_eval,
        seed=SEED,
        name="discrete_rotation",
        groups={"c7": sevenths, "so2": turns},
    )


def load_tiny(scenario: str = "in") -> Task:
    """The same task with a few samples."""
    return load(scenario, 16, 8)


def sevenths(count: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 3 3"]:
    """Turns about the third axis by a uniform multiple of 2 pi / 7, the exact symmetry."""
    k = torch.randint(FOLD, (count,), generator=generator, device=generator.device)
    return about_third_axis(k.to(dtype) * (2 * math.pi / FOLD))


def turns(count: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 3 3"]:
    """Turns about the third axis by uniform angles."""
    return about_third_axis(uniform((count,), -math.pi, math.pi, generator, dtype))


def about_third_axis(angles: Float[Tensor, " count"]) -> Float[Tensor, "count 3 3"]:
    g = torch.eye(3, dtype=angles.dtype, device=angles.device).repeat(len(angles), 1, 1)
    g[:, :2, :2] = rotations(angles)
    return g
