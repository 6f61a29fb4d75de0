"""Augmentation before training: a data set in which every sample is there in some number of moved copies, the same in every epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib.actions import Action


def copies(
    x: Tensor, y: Tensor, count: int, elements: Callable[..., Tensor], draws: torch.Generator, rho_x: Action, rho_y: Action
) -> tuple[Tensor, Tensor]:
    """`count` copies (g x, rho(g) y) of every sample, each with an element g = `elements`(number, draws, dtype) of its own; with a count of
    0 the samples as they are. The first copies of a larger count are those of a smaller one.

    Raises ValueError for a negative count. Ours: how much of a group is seen, as a number.
    """
    if count < 0:
        raise ValueError(f"seen must be a number of copies of at least 0, got {count}")
    if count == 0:
        return x, y
    moved = []
    for _ in range(count):
        g = elements(len(x), draws, x.dtype).unsqueeze(1)
        moved.append((rho_x(g, x).squeeze(1), rho_y(g, y).squeeze(1)))
    found_x, found_y = (torch.cat(parts) for parts in zip(*moved, strict=True))
    return found_x, found_y
