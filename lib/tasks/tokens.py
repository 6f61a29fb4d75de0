"""Tokens of noise and targets of noise: nothing to learn, for timings. Six numbers of a token are a position and a velocity."""

from __future__ import annotations

import torch

from lib.tasks import Task
from lib.tasks.bodies import prediction_of_positions

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
    return prediction_of_positions(train, val, test, name="tokens", data="simulated")


def load_tiny(scenario: str) -> Task:
    """A few tokens."""
    return load(scenario, 8, 8)
