"""Networks that foretell a film frame by frame, and the plain convolutional one of them."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

TRAINED = 6  # frames that a training loss is taken over; Wang et al. (2022)


class Rollout(nn.Module):
    """The frames that follow: the next one is the last one plus what `increment` makes of the past; it joins the past, whose first leaves.

    In training the first six, in evaluation as many as the task has.

    Raises ValueError for inputs that are no films of square frames.

    Source: REMUL sec. A after Wang et al. (2022). Adding to the last frame is Ours: a network begins near persistence.
    """

    loops_on_cpu = True  # a convolution at a time is faster there than the grouped one that vmap makes of a stack

    def __init__(self, inputs: torch.Size, outputs: torch.Size):
        super().__init__()
        if len(inputs) != 4 or len(outputs) != 4 or inputs[1:] != outputs[1:] or inputs[1] != 2 or inputs[2] != inputs[3]:
            raise ValueError(f"inputs and outputs must be films (frames, 2, side, side), got {tuple(inputs)} and {tuple(outputs)}")
        self.past, self.frames = inputs[0], outputs[0]

    def kernels(self) -> list[tuple[Tensor, Tensor | None]]:
        """Weight and bias of each 3x3 convolution, ReLU between them, from u and v of all past frames to what is added to the last's."""
        raise NotImplementedError

    def increment(self, past: Float[Tensor, "B fields h w"], kernels: list[tuple[Tensor, Tensor | None]]) -> Float[Tensor, "B 2 h w"]:
        """What is added to the last of the past frames. Beyond the edges are zeros."""
        for place, (weight, bias) in enumerate(kernels):
            past = conv2d(past.relu() if place else past, weight, bias, padding=1)
        return past

    def forward(self, x: Float[Tensor, "B past 2 h w"]) -> Float[Tensor, "B frames 2 h w"]:
        past, kernels, found = x.flatten(1, 2), self.kernels(), []
        if x.device.type == "cpu":
            past = past.to(memory_format=torch.channels_last)  # a fifth faster there; vmap has no such layout
        for _ in range(min(TRAINED, self.frames) if self.training else self.frames):
            found.append(past[:, -2:] + self.increment(past, kernels))
            past = torch.cat([past[:, 2:], found[-1]], 1)
        return torch.stack(found, 1)


class FlowCNN(Rollout):
    """Plain convolutions.

    Source: REMUL Table 4, Wang et al. (2022), who normalise over the batch as well: Ours does not, as a prediction must not hang on what it
    is predicted beside, and the networks that it is compared with have no normalisation either.
    """

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, width: int = 16, layers: int = 5
    ):  # fmt: skip
        super().__init__(inputs, outputs)
        sizes = [2 * self.past, *[width] * (layers - 1), 2]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(sizes))

    def kernels(self) -> list[tuple[Tensor, Tensor | None]]:
        return [(convolution.weight, convolution.bias) for convolution in self.convolutions]
