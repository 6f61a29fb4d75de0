"""A function with a discrete symmetry: f(x) = x3 / (1 + (angle(x1, x2) mod 2 pi / 7)), invariant to turns by multiples of 2 pi / 7.

Turns about the third axis by other angles are not symmetries: "ground-truth augmentation" by so(2) spoils the labels of this task.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_vectors, trivially
from lib.groups import rotations, so, uniform
from lib.metrics import mean_squared_error
from lib.tasks import Task

SCENARIOS = ("in",)
FOLD = 7  # LieGAN's code; the paper's k is lost
SEED = 20_230_201


def law(x: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    """x3 / (1 + (atan2(x2, x1) mod 2 pi / 7)), angles in radians. Source: LieGAN's discrete rotation experiment."""
    return x[:, 2] / (1 + torch.remainder(torch.atan2(x[:, 1], x[:, 0]), 2 * math.pi / FOLD))


def load(scenario: str = "in", n_train: int = 16_000, n_eval: int = 2_000) -> Task:
    """Regression of `law` on x ~ N(0, 1_3). Source: SEMoLA A.5; k, x and 20,000 in all are LieGAN's, the split is Ours."""
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    generator = torch.Generator().manual_seed(SEED)
    x = [torch.randn(size, 3, generator=generator) for size in (n_train, n_eval, n_eval)]
    train, val, test = ((part, law(part)) for part in x)
    return Task(
        name="discrete_rotation",
        train=train,
        val=val,
        test=test,
        rho_x=on_vectors,
        rho_y=trivially,
        loss=torch.nn.functional.mse_loss,
        metric=mean_squared_error,
        metric_name="mse",
        outputs=torch.Size([]),
        size=3,
        generators=torch.nn.functional.pad(so(2), (0, 1, 0, 1)),
        groups={"": sevenths, "so2": turns},
        points=train[0][:2000],
        data="simulated",
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
