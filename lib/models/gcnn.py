"""A group-convolutional network on the square grid: invariant to quarter turns by construction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class P4Convolution(nn.Module):
    """Correlation on the group p4: out(r) = sum_s x(s) * turn^r psi(s - r), r and s quarter turns; one bias a filter.

    `lifting` takes a plain image (one orientation) to the group. Maps have shape (B, 4 channels, h, w), a channel's orientations together.

    Source: Cohen & Welling (2016), sec. 6 (split convolution).
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, lifting: bool = False, padding: int = 0):
        super().__init__()
        stabiliser = 1 if lifting else 4
        bound = 1 / math.sqrt(inputs * stabiliser * size * size)  # as nn.Conv2d draws them
        self.weight = nn.Parameter(torch.empty(outputs, inputs, stabiliser, size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.padding = padding

    def forward(self, x: Float[Tensor, "B maps h w"]) -> Float[Tensor, "B turned h2 w2"]:
        # turning a filter turns its plane and, between orientations, shifts which orientation it reads
        bank = torch.stack([torch.rot90(self.weight, r, (-2, -1)).roll(r, 2) for r in range(4)], 1)
        return nn.functional.conv2d(x, bank.flatten(2, 3).flatten(0, 1), self.bias.repeat_interleave(4), padding=self.padding)


class GCNN(nn.Module):
    """The CNN of `lib.models.cnn` with p4 convolutions, its linear layer as a group convolution of the map's full size, and the
    mean over the four orientations: exactly invariant to quarter turns about the image's centre.

    Half the CNN's filters: four orientations of half the filters have about its number of convolution weights (Cohen & Welling's rule).

    Source: SEMoLA A.3.1 (p4, invariant, "defined analogously to our base CNN").
    """

    loops_on_cpu = True  # as the CNN

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, widths: Sequence[int] = (4, 8, 16, 16)
    ):
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths must name the filters of four convolutions, got {list(widths)}")
        channels, side, _ = inputs
        if side % 4:
            raise ValueError(f"two max-pools keep quarter turns exact on sides divisible by 4 only, got {side}: pad the images")
        sizes = [channels, *widths]
        self.convolutions = nn.ModuleList(P4Convolution(sizes[i], sizes[i + 1], 3, lifting=i == 0, padding=1) for i in range(4))
        self.head = P4Convolution(widths[-1], outputs[0], side // 4)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B classes"]:
        if x.device.type == "cpu":
            x = x.to(memory_format=torch.channels_last)  # a quarter faster on a CPU; vmap has no such layout
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i < 2:
                x = nn.functional.max_pool2d(x, 2)
            x = x.relu()
        return self.head(x).unflatten(1, (-1, 4)).flatten(2).mean(2)
