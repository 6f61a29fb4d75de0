"""The plain Transformer on tokens: no positional encoding, no built-in symmetry."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm


class Block(nn.Module):
    """x + Attention(norm(x)), then x + MLP(norm(x)); norms are over channels and have no parameters."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def normalise(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        return layer_norm(x, x.shape[-1:])

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        heads = self.qkv(self.normalise(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        # written out: with a few dozen tokens a fused kernel gains nothing, and vmap has no rule for it on a CPU
        share = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + self.out((share @ v).transpose(1, 2).flatten(2))
        return x + self.down(gelu(self.up(self.normalise(x))))


class Transformer(nn.Module):
    """Linear layer, pre-norm blocks, linear layer; (B, N, F) to (B, N, outputs). 11,827,587 parameters at 10 x 384 and 7 features.

    Parameters
    ----------
    blocks, width, heads : their number, channels, attention heads.

    Raises ValueError for a width that the heads do not divide.

    Source: REMUL B.1, the baseline of GATr's code; it predicts absolute positions.
    """

    def __init__(
        self,
        inputs: torch.Size,
        outputs: torch.Size,
        generators: Tensor | None = None,
        *,
        blocks: int = 10,
        width: int = 384,
        heads: int = 8,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.first = nn.Linear(inputs[-1], width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.last = nn.Linear(width, outputs[-1])

    def forward(self, tokens: Float[Tensor, "B N F"]) -> Float[Tensor, "B N out"]:
        x = self.first(tokens)
        for block in self.blocks:
            x = block(x)
        return self.last(x)
