"""The small convolutional network of the RotatedMNIST experiments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CNN(nn.Module):
    """Four 3x3 convolutions with ReLU, max-pools after the first two, one linear layer on the flattened map.

    Source: SEMoLA A.3.1, "four convolutional filters and two interleaved max-pooling layers". Widths, kernel size and the
    places of the pools are Ours: the paper does not state them.
    """

    # One convolution at a time is faster on a CPU than the grouped convolution that vmap makes of a stack.
    loops_on_cpu = True

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, widths: Sequence[int] = (8, 16, 32, 32)
    ):
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths must name the channels of four convolutions, got {list(widths)}")
        channels, height, width = inputs
        sizes = [channels, *widths[:-1]]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(sizes, widths, strict=True))
        self.head = nn.Linear(widths[-1] * (height // 4) * (width // 4), outputs[0])

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B classes"]:
        if self.loops_on_cpu and x.device.type == "cpu":
            x = x.to(memory_format=torch.channels_last)  # a third faster on a CPU at these widths; vmap has no such layout
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i < 2:
                x = nn.functional.max_pool2d(x, 2)  # before the ReLU: the two commute, and it is a quarter of the work
            x = x.relu()
        return self.head(x.flatten(1))
