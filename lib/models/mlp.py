"""The multilayer perceptron of the dynamics, synthetic and motion-capture experiments."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS = {"relu": torch.relu, "swish": torch.nn.functional.silu}


class MLP(nn.Module):
    """Four linear layers with ReLU (or swish) between them, on the flattened sample.

    With `centred` it reads points (B, N, n) relative to their mean, and is exactly invariant to translations (Ours).

    Raises ValueError for another activation.

    Source: SEMoLA A.4.1, "four layers and ReLU activations"; the width is Ours: the paper's is lost. Swish, at width 680, is REMUL's
    baseline beside EMLP: 1,116,653 parameters of 31 tokens of position and velocity to 31 positions.
    """

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, width: int = 128, layers: int = 4,
        activation: str = "relu", centred: bool = False,
    ):  # fmt: skip
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.outputs, self.activation, self.centred = outputs, activation, centred
        self.equivariant = centred  # exactly, to translations
        sizes = [math.prod(inputs), *[width] * (layers - 1), math.prod(outputs)]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))

    def forward(self, x: Float[Tensor, "B *inputs"]) -> Float[Tensor, "B *outputs"]:
        x = (x - x.mean(1, keepdim=True) if self.centred else x).flatten(1)
        for layer in self.layers[:-1]:
            x = ACTIVATIONS[self.activation](layer(x))
        return self.layers[-1](x).unflatten(1, self.outputs) if self.outputs else self.layers[-1](x).squeeze(1)
