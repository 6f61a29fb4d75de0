"""LieGAN's discriminators: whether a pair (x, y) is one of the data, as a logit."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


class VectorDiscriminator(nn.Module):
    """Three linear layers with leaky ReLU (0.2) on (x, y), flattened; gives a logit. Source: LieGAN's code, width 512."""

    traces = True

    def __init__(self, inputs: int, *, width: int = 512):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "B *inputs"], y: Float[Tensor, "B *outputs"]) -> Float[Tensor, " B"]:
        both = torch.cat([x.flatten(1), y.reshape(len(y), -1)], 1)
        return self.last(leaky_relu(self.second(leaky_relu(self.first(both), 0.2)), 0.2)).squeeze(1)


class ImageDiscriminator(nn.Module):
    """Five 3x3 convolutions with batch norm and ReLU (k, k, 2k, pool, 2k, pool, 2k; dropout 0.3), global mean, beside an embedding of
    the label; gives a logit. Source: LieGAN's code, k = 128."""

    traces = False  # its dropout draws anew at every call

    def __init__(self, inputs: int, *, k: int = 128, classes: int = 10, embedding: int = 128):
        super().__init__()
        sizes = [1, k, k, 2 * k, 2 * k, 2 * k]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in sizes[1:])
        self.labels, self.last = nn.Embedding(classes, embedding), nn.Linear(2 * k + embedding, 1)

    def forward(self, x: Float[Tensor, "B 1 h w"], y: Tensor) -> Float[Tensor, " B"]:
        x = x.to(memory_format=torch.channels_last)
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x)).relu()
            if i in (2, 3):
                x = nn.functional.max_pool2d(x, 2)
            if i >= 2:
                x = nn.functional.dropout2d(x, 0.3)
        return self.last(torch.cat([x.mean((2, 3)), self.labels(y)], 1)).squeeze(1)
