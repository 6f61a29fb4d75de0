"""Randomness: a generator of its own for each seed and purpose."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_stream(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator of its own for each seed and purpose: methods of one seed share the network's start and the order of the batches.

    Its seed is numpy's SeedSequence of both, the same on every machine; a generator on a CPU reads the lower 32 bits of it.
    """
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=tuple(purpose.encode()))
    return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def uniform(size: tuple[int, ...], low: float, high: float, generator: torch.Generator, dtype=torch.float32) -> Tensor:
    """Uniform numbers in [low, high) from `generator`, on its device."""
    return low + (high - low) * torch.rand(size, generator=generator, device=generator.device, dtype=dtype)
