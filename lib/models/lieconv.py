"""LieConv on molecules without a group to lift to: a convolution whose weights are a small network's function of both atoms' positions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

SPECIES = (1, 6, 7, 8, 9)  # hydrogen, carbon, nitrogen, oxygen, fluorine
PAIRS = ("absolute", "relative")
PRECISIONS = ("float32", "bfloat16")
HIDDEN, WEIGHTS = 32, 16  # channels of the weight network, and what it puts out for a pair


class Normalised(nn.Sequential):
    """Linear, normalisation over channels, swish."""

    def __init__(self, into: int, out: int):
        super().__init__(nn.Linear(into, out), nn.LayerNorm(out), nn.SiLU())


class PairWeights(nn.Module):
    """Of each pair of atoms 16 weights: a network of both positions, or of their difference. Its first layer is taken of each atom once.

    Where `some` pairs are given (places in a list of all B N^2), only these are computed; the others' weights are 0.
    """

    def __init__(self, pairs: str):
        super().__init__()
        self.relative = pairs == "relative"
        self.first = nn.Linear(3 if self.relative else 6, HIDDEN)
        self.rest = nn.Sequential(nn.LayerNorm(HIDDEN), nn.SiLU(), Normalised(HIDDEN, HIDDEN), Normalised(HIDDEN, WEIGHTS))

    def forward(self, position: Float[Tensor, "B N 3"], some: Int[Tensor, " P"] | None = None) -> Float[Tensor, "B N N 16"]:
        weight, (batch, n) = self.first.weight, position.shape[:2]
        own, other = (weight, -weight) if self.relative else weight.split(3, 1)
        own, other = position @ own.T + self.first.bias, position @ other.T
        if some is None:
            return self.rest(own.unsqueeze(2) + other.unsqueeze(1))
        first, second = some // n, some // n**2 * n + some % n  # atoms, counted through the batch
        found = self.rest(own.flatten(0, 1).index_select(0, first) + other.flatten(0, 1).index_select(0, second))
        return found.new_zeros(batch * n * n, WEIGHTS).index_copy(0, some, found).view(batch, n, n, WEIGHTS)


class Convolution(nn.Module):
    """x_i -> W sum_j share_j weights_ij (x) x_j, over all atoms j, i among them: with equal shares a mean."""

    def __init__(self, channels: int, pairs: str):
        super().__init__()
        self.weights, self.mix = PairWeights(pairs), nn.Linear(WEIGHTS * channels, channels)

    def forward(self, x: Float[Tensor, "B N C"], share: Float[Tensor, "B N"], *pairs: Tensor | None) -> Float[Tensor, "B N C"]:
        weights = self.weights(*pairs).mT.flatten(1, 2)  # (B, N 16, N)
        gathered = weights @ (x * share.unsqueeze(-1))
        return self.mix(gathered.unflatten(1, (-1, WEIGHTS)).flatten(2))


class Bottleneck(nn.Module):
    """x + up(convolution(down(x))), a norm and a swish before each."""

    def __init__(self, channels: int, inner: int, pairs: str):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (channels, inner, inner))
        self.down, self.convolution, self.up = nn.Linear(channels, inner), Convolution(inner, pairs), nn.Linear(inner, channels)

    def forward(self, x: Float[Tensor, "B N C"], share: Float[Tensor, "B N"], *pairs: Tensor | None) -> Float[Tensor, "B N C"]:
        inner = self.down(silu(self.norms[0](x)))
        inner = self.convolution(silu(self.norms[1](inner)), share, *pairs)
        return x + self.up(silu(self.norms[2](inner)))


class LieConv(nn.Module):
    """Atoms (number, position) to a number a molecule: the mean over its atoms. 21,316,129 parameters at 1,536 channels and six blocks.

    A molecule's atoms come first, then empty places. An atom's features are its species, as one of five, times 1, Z/9 and (Z/9)^2; every
    atom is every other's neighbour.

    Parameters
    ----------
    channels, blocks : of an atom between the blocks, a quarter of it within them; number of blocks.
    pairs : what a pair's weights are a function of: "absolute" positions, so that the network knows no symmetry ("trivial group"), or
        "relative" ones, so that translations change nothing ("T(3)").
    precision : "bfloat16" multiplies matrices so in training, under `torch.autocast`, for GPUs; the weights, and predictions in `eval`
        mode, stay as they are. On QM9 it moves the predictions of untrained networks by 1 to 4 % of their standard deviation.

    Raises ValueError for inputs that are no atoms, other pairs or precisions, or outputs that are no single number.

    Source: Finzi et al. (2020), their code's MolecLieResNet; SEMoLA sec. 5.3. Normalisation over an atom's channels, where they normalise
    over the batch, is Ours: a prediction must not hang on what it is predicted beside.
    """

    loops_on_cpu = True  # there only pairs of atoms that are there are computed, which vmap cannot

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, channels: int = 1536, blocks: int = 6,
        pairs: str = "absolute", precision: str = "float32",
    ):  # fmt: skip
        super().__init__()
        if len(inputs) != 2 or inputs[-1] != 4 or outputs != torch.Size([]):
            raise ValueError(f"inputs must be atoms (N, 4) and the output a number, got {tuple(inputs)} and {tuple(outputs)}")
        if pairs not in PAIRS:
            raise ValueError(f"pairs must be one of {', '.join(PAIRS)}, got {pairs!r}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.half = precision == "bfloat16"
        self.register_buffer("species", torch.tensor(SPECIES, dtype=torch.get_default_dtype()))
        self.embed = nn.Linear(3 * len(SPECIES), channels)
        self.blocks = nn.ModuleList(Bottleneck(channels, channels // 4, pairs) for _ in range(blocks))
        self.norm, self.last = nn.LayerNorm(channels), nn.Linear(channels, 1)

    def forward(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, " B"]:
        there, some = x[..., 0] > 0, None
        if x.device.type == "cpu":  # no time for places that are empty; on a GPU, and for vmap, shapes are fixed
            x = x[:, : int(there.sum(1).max())]
            there = x[..., 0] > 0
            some = (there.unsqueeze(2) & there.unsqueeze(1)).flatten().nonzero().squeeze(1)
        number, position = x[..., :1], x[..., 1:]
        share = there.to(x.dtype) / there.sum(1, keepdim=True)  # no molecule is empty
        powers = torch.cat([torch.ones_like(number), number / 9, (number / 9) ** 2], -1)
        one_hot = (number == self.species).to(x.dtype)
        h = self.embed((one_hot.unsqueeze(-1) * powers.unsqueeze(-2)).flatten(2))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half and self.training):
            for block in self.blocks:
                h = block(h, share, position, some)
        return (self.last(silu(self.norm(h))).squeeze(-1) * share).sum(1)
