"""Where tokens with a position and a velocity go, whatever they are: what `nbody`, `mocap`, `md17` and `tokens` share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import on_bodies, on_stacks
from lib.groups import haar, so
from lib.metrics import mean_squared_error
from lib.tasks import Task


def prediction_of_positions(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], **fields) -> Task:
    """x (B, N, F), the last six numbers of a token its position and velocity, to positions y (B, N, 3), under rotations.

    Groups are all rotations, "haar", and then those of `fields`, which are the rest of the Task.
    """
    groups = {"haar": all_rotations, **fields.pop("groups", {})}
    return Task(
        train=train,
        val=val,
        test=test,
        rho_x=on_bodies,
        rho_y=on_stacks,
        loss=torch.nn.functional.mse_loss,
        metric=mean_squared_error,
        metric_name="mse",
        outputs=train[1].shape[1:],
        size=3,
        generators=so(3),
        groups=groups,
        points=train[1].flatten(0, 1)[:2000],
        **fields,
    )


def all_rotations(count: int, draws: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "count 3 3"]:
    """Rotations drawn uniformly."""
    return haar(3, (count,), draws, dtype)
