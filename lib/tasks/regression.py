"""Regression of a known law on Gaussian samples: what `discrete_rotation`, `partial_permutation` and `planted_symmetry` share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib.actions import on_vectors, trivially
from lib.metrics import mean_squared_error
from lib.tasks import Task


def gaussian_regression(
    function: Callable[[Tensor], Tensor], generators: Tensor, n_train: int, n_eval: int, *, seed: int, **fields
) -> Task:
    """x ~ N(0, 1_n), y = function(x), an invariant scalar: `n_train` samples to train on, `n_eval` each of validation and test.

    The `generators` (C, n, n) are the ground truth; `fields` are the rest of the Task.
    """
    draws, n = torch.Generator().manual_seed(seed), generators.shape[-1]
    x = [torch.randn(size, n, generator=draws) for size in (n_train, n_eval, n_eval)]
    train, val, test = ((part, function(part)) for part in x)
    return Task(
        train=train,
        val=val,
        test=test,
        rho_x=on_vectors,
        rho_y=trivially,
        loss=torch.nn.functional.mse_loss,
        metric=mean_squared_error,
        metric_name="mse",
        outputs=torch.Size([]),
        size=n,
        generators=generators,
        points=train[0][:2000],
        data="simulated",
        **fields,
    )
