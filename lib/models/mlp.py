"""The multilayer perceptron of the dynamics and synthetic experiments."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Four linear layers with ReLU between them, on the flattened sample.

    Source: SEMoLA A.4.1, "four layers and ReLU activations"; the width is Ours: the paper's is lost.
    """

    def __init__(self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, width: int = 128, layers: int = 4):
        super().__init__()
        self.outputs = outputs
        sizes = [math.prod(inputs), *[width] * (layers - 1), math.prod(outputs)]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))

    def forward(self, x: Float[Tensor, "B *inputs"]) -> Float[Tensor, "B *outputs"]:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).unflatten(1, self.outputs) if self.outputs else self.layers[-1](x).squeeze(1)
