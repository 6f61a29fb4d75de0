"""Networks, one file per architecture; `MODELS` maps a name to the module and class that `build` imports when asked."""

from __future__ import annotations

import importlib

import torch
from torch import nn

MODELS = {"cnn": ("lib.models.cnn", "CNN")}


def build(name: str, generator: torch.Generator, **options) -> nn.Module:
    """A network with freshly drawn parameters; `generator` (CPU) is the only source of randomness.

    Raises KeyError, with the known names, for an unknown model.
    """
    if name not in MODELS:
        raise KeyError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}, or add it to lib.models.MODELS")
    module, cls = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return getattr(importlib.import_module(module), cls)(**options)
