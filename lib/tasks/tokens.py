"""Tokens of noise and targets of noise: nothing to learn, for timings. Six numbers of a token are a position and a velocity."""

from __future__ import annotations

import torch

from lib.actions import on_bodies, on_stacks
from lib.groups import haar, so
from lib.metrics import mean_squared_error
from lib.tasks import Task

SCENARIOS = ("noise",)
TOKENS, FEATURES = 20, 7


def load(scenario: str, n_train: int = 500, n_eval: int = 500) -> Task:
    """x ~ N(0, 1) of shape (20, 7), y ~ N(0, 1) of shape (20, 3).

    Raises ValueError for an unknown scenario. Source: REMUL sec. 6.4 and B.4, i.i.d. Gaussian inputs.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    draws = torch.Generator().manual_seed(0)
    train, val, test = (
        (torch.randn(n, TOKENS, FEATURES, generator=draws), torch.randn(n, TOKENS, 3, generator=draws)) for n in (n_train, n_eval, n_eval)
    )
    return Task(
        name="tokens",
        train=train,
        val=val,
        test=test,
        rho_x=on_bodies,
        rho_y=on_stacks,
        loss=torch.nn.functional.mse_loss,
        metric=mean_squared_error,
        metric_name="mse",
        outputs=torch.Size([TOKENS, 3]),
        size=3,
        generators=so(3),
        groups={"haar": lambda count, generator, dtype: haar(3, (count,), generator, dtype)},
        points=train[1].flatten(0, 1)[:2000],
        data="simulated",
    )


def load_tiny(scenario: str) -> Task:
    """A few tokens."""
    return load(scenario, 8, 8)
