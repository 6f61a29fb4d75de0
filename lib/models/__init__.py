"""Networks, one file per architecture; `MODELS` maps a name to the module and class that `build` imports when asked."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn

from lib.models.molecules import Molecule

MODELS = {
    "cnn": ("lib.models.cnn", "CNN"),
    "gcnn": ("lib.models.gcnn", "GCNN"),
    "mlp": ("lib.models.mlp", "MLP"),
    "emlp": ("lib.models.emlp", "EMLP"),
    "tensor_emlp": ("lib.models.tensor_mlp", "TensorEMLP"),
    "rpp": ("lib.models.soft_mlp", "RPP"),
    "per": ("lib.models.soft_mlp", "PER"),
    "transformer": ("lib.models.transformer", "Transformer"),
    "se3_transformer": ("lib.models.se3_transformer", "SE3Transformer"),
    "gatr": ("lib.models.gatr", "GATr"),
    "gnn": ("lib.models.gnn", "GNN"),
    "egnn": ("lib.models.egnn", "EGNN"),
    "lieconv": ("lib.models.lieconv", "LieConv"),
    "flow_cnn": ("lib.models.rollout", "FlowCNN"),
    "e2cnn": ("lib.models.e2cnn", "E2CNN"),
    "rsteer": ("lib.models.rsteer", "RSteer"),
    "vector": ("lib.models.discriminators", "VectorDiscriminator"),
    "image": ("lib.models.discriminators", "ImageDiscriminator"),
}
DISCRIMINATORS = ("vector", "image")  # of adversarial methods: they judge pairs (x, y)


def build(
    name: str,
    generator: torch.Generator,
    inputs: torch.Size,
    outputs: torch.Size,
    generators: Tensor | None = None,
    graph: Molecule | None = None,
    **options,
) -> nn.Module:
    """A network from samples of shape `inputs` to predictions of shape `outputs`, with freshly drawn parameters.

    `generator` (CPU) is the only source of randomness; `generators` are for networks that are equivariant to a given algebra, `graph` for
    those that pass messages along its edges and say so by `needs_graph`.

    Raises KeyError, with the known names, for an unknown model.
    """
    cls = class_of(name)
    given = (generators, graph) if getattr(cls, "needs_graph", False) else (generators,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return cls(inputs, outputs, *given, **options)


def discriminator(name: str, x: Tensor, y: Tensor, **options) -> nn.Module:
    """A network that judges pairs of such samples x and y, with parameters from PyTorch's global stream."""
    return class_of(name)(x[0].numel() + (y[0].numel() if y.is_floating_point() else 0), **options)


def class_of(name: str) -> type[nn.Module]:
    """The network's class. Raises KeyError, with the known names, for an unknown model."""
    if name not in MODELS:
        raise KeyError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}, or add it to lib.models.MODELS")
    module, cls = MODELS[name]
    return getattr(importlib.import_module(module), cls)
