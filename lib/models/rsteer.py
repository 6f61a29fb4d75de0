"""C4 convolutions that may leave the symmetry at a price: their weights hang on the place in the kernel ("relaxed steerable", RSteer)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.models.e2cnn import E2CNN, C4Convolution, steered

PLACES = 9  # of a 3x3 kernel


class RelaxedConvolution(C4Convolution):
    """K(p) = sum_b w_b(p) B_b(p) over a basis B of the steerable kernels: steerable itself where no w_b hangs on p, and so it starts.

    Source: Wang et al. (2022), eq. (8), whose weights start at random at every place; that ours start without relaxation is Ours, so that
    what there is of it in the end is what the data asked for.
    """

    def __init__(self, inputs: int, outputs: int, into: str = "regular", out: str = "regular"):
        super().__init__(inputs, outputs, into, out)
        other = self.weight.shape[2]
        free = torch.eye(PLACES * other).reshape(-1, 1, other, 3, 3)
        self.register_buffer("basis", steered(free, into, out).squeeze(2).flatten(-2), persistent=False)
        self.weight = nn.Parameter(self.weight.detach().flatten(2).unsqueeze(-1).repeat(1, 1, 1, PLACES))

    def kernel(self) -> Float[Tensor, "out into 3 3"]:
        """Channels to channels, those of a field side by side."""
        return torch.einsum("oibp,btfp->otifp", self.weight, self.basis).flatten(2, 3).flatten(0, 1).unflatten(-1, (3, 3))

    def relaxation(self) -> Float[Tensor, ""]:
        """The mean difference of weights at one place and the next, in size: 0 for a steerable kernel."""
        return (self.weight[..., :-1] - self.weight[..., 1:]).abs().mean()


class RSteer(E2CNN):
    """`E2CNN` with relaxed convolutions; `with_penalty` adds `relaxed_wd` times the sum of their relaxations.

    Source: REMUL sec. A, Table 4 (the penalty's weight, 1e-4); Wang et al. (2022).
    """

    equivariant = False
    layer = RelaxedConvolution

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, fields: int = 16, layers: int = 5,
        relaxed_wd: float = 1e-4,
    ):  # fmt: skip
        super().__init__(inputs, outputs, generators, fields=fields, layers=layers)
        self.relaxed_wd = relaxed_wd

    def with_penalty(self, x: Float[Tensor, "B past 2 h w"]) -> tuple[Float[Tensor, "B frames 2 h w"], Float[Tensor, ""]]:
        """The prediction and the penalty."""
        return self(x), self.relaxed_wd * torch.stack([layer.relaxation() for layer in self.convolutions]).sum()
