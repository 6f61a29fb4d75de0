"""A function that permuting its first three arguments leaves alone: f(x) = x1 + x2 + x3 + x4^2 - x5^2.

Source: SEMoLA A.6.2, whose formula is lost: this one is recalled. It has more linear symmetries than the paper's rotation about (1, 1, 1):
`lib.metrics.symmetry_algebra` finds eleven dimensions.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.draws import uniform
from lib.exponential import exp_map
from lib.tasks import Task
from lib.tasks.regression import gaussian_regression

SCENARIOS = ("in",)
SEED = 20_230_202


def law(x: Float[Tensor, "B 5"]) -> Float[Tensor, " B"]:
    """x1 + x2 + x3 + x4^2 - x5^2. Source: LieGAN's appendix, recalled; the paper's own function is lost."""
    return x[:, :3].sum(1) + x[:, 3].square() - x[:, 4].square()


def generator(dtype: torch.dtype = torch.float32) -> Float[Tensor, "1 5 5"]:
    """The rotation of the first three axes about (1, 1, 1), whose turn by 2 pi / 3 is the cyclic permutation; one radian a unit."""
    rotation = torch.zeros(1, 5, 5, dtype=dtype)
    rotation[0, :3, :3] = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=dtype) / math.sqrt(3)
    return rotation


def load(scenario: str = "in", n_train: int = 16_000, n_eval: int = 2_000) -> Task:
    """Regression of `law` on x ~ N(0, 1_5). Source: SEMoLA A.6; the distribution and the sizes are Ours."""
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    return gaussian_regression(law, generator(), n_train, n_eval, seed=SEED, name="partial_permutation", groups={"so2": turns}, law=law)


def load_tiny(scenario: str = "in") -> Task:
    """The same task with a few samples."""
    return load(scenario, 16, 8)


def turns(count: int, draws: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 5 5"]:
    """Rotations about (1, 1, 1) by uniform angles; the cyclic permutations are three of them."""
    angles = uniform((count, 1), -math.pi, math.pi, draws, dtype)
    return exp_map(angles, generator(dtype).to(draws.device), bound=math.pi * math.sqrt(2))
