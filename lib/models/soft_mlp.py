"""Relaxations of the equivariant perceptron, which may leave the symmetry at a price: residual pathway priors (RPP) and PER."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from lib.models.representations import CLOSED, GROUPS, Averages, BlockTrace, Counts, irreps_of, size_of, tensor_counts
from lib.models.tensor_mlp import Gate, Projected, TensorEMLP, TensorMLP, Tensors, weight_and_bias

SMALL = 1e-3  # of what breaks the symmetry, against what does not, at the start; RPP's


class SoftGate(Gate):
    """The gates, and w times the swish of every entry, which is not equivariant."""

    def __init__(self, counts: Counts):
        super().__init__()
        self.counts = counts
        self.weight = nn.Parameter(torch.full((size_of(counts),), SMALL))

    def forward(self, t: Tensors) -> Tensors:
        weights = self.weight.split([count * 3**r for r, count in enumerate(self.counts)])
        values = [t[0][:, : self.counts[0]], *t[1:]]
        return [out + w.view(stack.shape[1:]) * silu(stack) for out, w, stack in zip(super().forward(t), weights, values, strict=True)]


class SoftMLP(TensorMLP):
    """A tensor perceptron whose equivariant part, relative to `group`, is the `TensorEMLP` that is left without the rest."""

    group: str

    def equivariant_part(self) -> TensorEMLP:
        """The projected linear layers, the products and the gates."""
        with torch.random.fork_rng(devices=[]):  # what is drawn is replaced
            sizes = {"channels": self.channels, "blocks": len(self.linears), "unit": self.unit}
            part = TensorEMLP(self.inputs, self.outputs, group=self.group, **sizes)
        part.to(self.last.weight)
        part.load_state_dict(self.state_dict(), strict=False)
        return part

    def gate_penalty(self) -> Float[Tensor, ""]:
        """The sum of the squared weights of the swishes."""
        return torch.stack([gate.weight.square().sum() for gate in self.gates]).sum()


class Residual(Projected):
    """x -> (P(W) + V) x + P(b) + c, where V and c start as 0.001 W and 0.001 b."""

    def __init__(self, group: str, out: Counts, into: Counts):
        super().__init__(group, out, into)
        self.basic_weight = nn.Parameter(SMALL * self.weight.detach())
        self.basic_bias = nn.Parameter(SMALL * self.bias.detach())

    def forward(self, x: Float[Tensor, "B into"]) -> Float[Tensor, "B out"]:
        return super().forward(x) + linear(x, self.basic_weight, self.basic_bias)


class RPP(SoftMLP):
    """Every layer the sum of an equivariant and a free one; `with_penalty` adds basic_wd |V|^2 + equiv_wd |W|^2 + gated_wd |w|^2.

    V are the free weights, W the dense ones that are projected, w those of the gates' swishes; biases are not penalised. Of 31 tokens of
    position and velocity to 31 positions, 1,092,147 parameters.

    Parameters
    ----------
    group, channels, blocks, unit : as of `TensorEMLP`.  basic_wd, equiv_wd, gated_wd : weights of the penalty.

    Source: Finzi et al. (2021b), their code, and PER's for the penalty's weights; REMUL Table 6 (channels).
    """

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *, group: str = "SO(3)", channels: int = 378,
        blocks: int = 3, basic_wd: float = 1.0, equiv_wd: float = 1e-5, gated_wd: float = 1.0,
        unit: float = 1.0,
    ):  # fmt: skip
        counts = tensor_counts(channels)
        super().__init__(inputs, outputs, channels, blocks, lambda out, into: Residual(group, out, into), lambda: SoftGate(counts), unit)
        self.group, self.basic_wd, self.equiv_wd, self.gated_wd = group, basic_wd, equiv_wd, gated_wd

    def with_penalty(self, x: Float[Tensor, "B *inputs"]) -> tuple[Float[Tensor, "B *outputs"], Float[Tensor, ""]]:
        """The prediction and the penalty."""
        layers = [*self.linears, self.last]
        basic = torch.stack([layer.basic_weight.square().sum() for layer in layers]).sum()
        equivariant = torch.stack([layer.weight.square().sum() for layer in layers]).sum()
        return self(x), self.basic_wd * basic + self.equiv_wd * equivariant + self.gated_wd * self.gate_penalty()


class Free(nn.Module):
    """x -> W x + b, and how far W and b are from commuting with each of some groups. W starts as (W + P(W)) / 2, P of the first group."""

    def __init__(self, groups: Sequence[str], out: Counts, into: Counts):
        super().__init__()
        self.weight, self.bias = weight_and_bias(out, into)
        self.averages = Averages(irreps_of(out), (*irreps_of(into), (0, 1, 1)))  # the bias is a column more, a scalar's
        with torch.no_grad():
            self.weight += BlockTrace(groups[0], irreps_of(out), irreps_of(into))(self.weight)
            self.weight /= 2

    def forward(self, x: Float[Tensor, "B into"]) -> Float[Tensor, "B out"]:
        return linear(x, self.weight, self.bias)

    def distance(self, weights: tuple[tuple[float, str], ...]) -> Float[Tensor, ""]:
        """sum_i lambda_i / 2 (|W - P_i W|^2 + |b - P_i b|^2) = 1/2 <W, S W>, S = sum_i lambda_i (1 - P_i), the bias as a column of W."""
        both = torch.cat([self.weight, self.bias.unsqueeze(1)], 1)
        here = both.detach()
        gradient = sum(factor for factor, _ in weights) * here - self.averages(here, weights)
        return (both * gradient).sum() - 0.5 * (here * gradient).sum()  # S W is the gradient: nothing to differentiate in it


class PER(SoftMLP):
    """Free linear layers; `with_penalty` adds weight * sum_i 1/2 (|W - P_i W|^2 + |b - P_i b|^2) over the layers and the groups i > 0.

    P_i projects on what commutes with group i. The largest group, the first, has the weight 0, so a network with a subgroup's symmetry
    pays for the other subgroups only. The gates' swishes cost gated_wd |w|^2, as RPP's. Of 31 tokens of position and velocity to 31
    positions, 1,094,244 parameters.

    Parameters
    ----------
    groups : of `lib.models.representations.GROUPS`, the first "SO(3)" or "O(3)".
    channels, blocks, unit : as of `TensorEMLP`; half of each matrix is free at the start, so that large numbers grow with each layer's
        products.

    Raises ValueError for another group. Source: Kim et al. (2023) and their code; REMUL Table 6 (channels). Constant weights are Ours:
    there, each group's weight is set anew once, by how fast its term falls in the epochs before.
    """

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Tensor | None = None, *,
        groups: Sequence[str] = ("O(3)", "O_xy(2)", "O_yz(2)", "O_xz(2)"), channels: int = 532, blocks: int = 3, weight: float = 0.3,
        gated_wd: float = 1.0, unit: float = 1.0,
    ):  # fmt: skip
        unknown = [group for group in groups if group not in GROUPS]
        if not groups or unknown or groups[0] not in CLOSED:
            raise ValueError(f"groups must be of {', '.join(GROUPS)}, and the first one of the first two, got {list(groups)}")
        counts = tensor_counts(channels)
        super().__init__(inputs, outputs, channels, blocks, lambda out, into: Free(groups, out, into), lambda: SoftGate(counts), unit)
        self.group, self.gated_wd, self.weights = groups[0], gated_wd, tuple((weight, group) for group in groups[1:])

    def with_penalty(self, x: Float[Tensor, "B *inputs"]) -> tuple[Float[Tensor, "B *outputs"], Float[Tensor, ""]]:
        """The prediction and the penalty."""
        distance = torch.stack([layer.distance(self.weights) for layer in (*self.linears, self.last)]).sum()
        return self(x), distance + self.gated_wd * self.gate_penalty()
