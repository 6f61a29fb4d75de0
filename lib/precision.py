"""In which precision it is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def autocast_off(function: Callable) -> Callable:
    """The function with `torch.autocast` off on its arguments' device: its products keep their dtype.

    Ours: in bfloat16 g^-1 g is off the identity by 2e-2, and data moved by g are no longer the group's.
    """

    @functools.wraps(function)
    def precise(*args, **kwargs):
        devices = (a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor | torch.Generator))
        with torch.autocast(next(devices, "cpu"), enabled=False):
            return function(*args, **kwargs)

    return precise


def working(dtype: torch.dtype) -> torch.dtype:
    """The precision to compute in: float32 for half precision, whose results are rounded once, at the end."""
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """That type for tensors that are made without one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
