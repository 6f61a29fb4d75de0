"""GATr, the geometric algebra transformer, on multivectors of G(3,0,1) and scalars: layers equivariant under E(3), predictions under SE(3).

Multivectors have their 16 entries first, (16, B, N, C), as in `lib.models.pga`; scalars are (B, N, S).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from lib.models.pga import GRADES, SPATIAL, GeometricProduct, Join, coordinates, point, translation

Multivectors, Scalars = Float[Tensor, "16 B N _"], Float[Tensor, "B N _"]  # any number of channels

# The nine equivariant maps of a multivector: its five grades, and e0 ^ (grade 0 to 3). Each is normalised as a 16x16 matrix, and starts
# uniform in +-sqrt(factor / fan-in). Source: GATr's code.
SIZES = (1, 4, 6, 4, 1, 1, 3, 3, 1)
FACTORS = (1.0, 4.0, 6.0, 2.0, 0.5, 0.5, 1.5, 1.5, 0.5)


class Maps(torch.autograd.Function):
    """Each entry of x by its own matrix, plus the first eight by eight more on the last eight (e0's), plus the scalars on the first.

    Summed in place, forward and backward: Ours, for speed (benchmarks/gatr.py).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Float[Tensor, "16 R C"], maps: Float[Tensor, "24 C D"], scalars: Float[Tensor, "R D"]) -> Float[Tensor, "16 R D"]:
        out = torch.bmm(x, maps[:16])
        out[8:].add_(torch.bmm(x[:8], maps[16:]))
        out[0].add_(scalars)
        return out

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, gradient):
        x, maps = ctx.saved_tensors
        to_x = torch.bmm(gradient, maps[:16].mT)
        to_x[:8].add_(torch.bmm(gradient[8:], maps[16:].mT))
        return to_x, torch.cat([torch.bmm(x.mT, gradient), torch.bmm(x[:8].mT, gradient[8:])]), gradient[0]


class EquiLinear(nn.Module):
    """Multivectors and scalars to multivectors and scalars: the nine equivariant maps, and scalars to and from the grade-0 entries.

    One small matrix product for each of the 16 entries and of e0's 8, in the place of a dense 16x16 map for each pair of channels.
    """

    def __init__(self, mv_in: int, s_in: int, mv_out: int, s_out: int, gain: float = 1.0):
        super().__init__()
        bound = gain * torch.tensor(FACTORS).sqrt()  # its code's division of the first by sqrt 2, for the scalars, acts on a copy
        self.weight = nn.Parameter(bound * torch.empty(mv_out, mv_in, 9).uniform_(-1, 1) / math.sqrt(mv_in))
        self.s_to_mv = nn.Linear(s_in, mv_out)
        self.mv_to_s, self.s_to_s = (nn.Linear(mv_in, s_out), nn.Linear(s_in, s_out, bias=False)) if s_out else (None, None)
        reach = 1.0 / math.sqrt(mv_in + s_in)
        with torch.no_grad():
            for module in self.children():
                module.weight *= gain / math.sqrt(2.0)
            self.s_to_mv.bias.uniform_(-reach, reach)
            if s_out:
                self.mv_to_s.bias.uniform_(-gain * reach, gain * reach)
        self.register_buffer("scale", torch.tensor(SIZES, dtype=torch.get_default_dtype()).rsqrt())
        self.register_buffer("grades", torch.tensor([*GRADES, *(5 + len(blade) for blade in SPATIAL)]))

    def forward(self, x: Multivectors, s: Scalars) -> tuple[Multivectors, Scalars | None]:
        _, batch, tokens, channels = x.shape
        maps = (self.weight * self.scale).permute(2, 1, 0).index_select(0, self.grades)
        out = Maps.apply(x.reshape(16, batch * tokens, channels), maps, self.s_to_mv(s).flatten(0, 1)).view(16, batch, tokens, -1)
        return out, None if self.s_to_s is None else self.mv_to_s(x[0]) + self.s_to_s(s)


def normalise(x: Multivectors, s: Scalars) -> tuple[Multivectors, Scalars]:
    """Layer norm without parameters: x over the root of the invariant inner product's mean over channels (at least 0.01)."""
    size = x[:8].square().sum(0).mean(-1, keepdim=True).clamp(min=0.01).sqrt()
    return x / size, layer_norm(s, s.shape[-1:])


class Attention(nn.Module):
    """Multi-query attention whose score is the invariant inner product, minus the distance of points, plus the scalars' product."""

    def __init__(self, mv: int, s: int, heads: int):
        super().__init__()
        self.heads, self.mv, self.s = heads, 2 * mv // heads, 2 * s // heads  # channels of a head: twice the width in all
        copies = heads + 2  # queries of every head, one key, one value
        self.qkv, self.out = EquiLinear(mv, s, copies * self.mv, copies * self.s), EquiLinear(heads * self.mv, heads * self.s, mv, s, 0.1)
        self.log_weights = nn.Parameter(torch.zeros(heads, 1, self.mv))

    def forward(self, x: Multivectors, s: Scalars) -> tuple[Multivectors, Scalars]:
        _, batch, tokens, _ = x.shape
        x, s = self.qkv(x, s)
        x = x.view(16, batch, tokens, -1, self.mv).permute(1, 3, 2, 0, 4)  # (B, heads + 2, N, 16, C)
        s = s.view(batch, tokens, -1, self.s).transpose(1, 2)
        (q, k, v), (qs, ks, vs) = (t.split([self.heads, 1, 1], 1) for t in (x, s))

        q_far, k_far = distance_features(q, k)
        q = torch.cat([q[..., :7, :].flatten(-2), (q_far * self.log_weights.exp().unsqueeze(2)).flatten(-2), qs], -1)
        k = torch.cat([k[..., :7, :].flatten(-2), k_far.flatten(-2), ks], -1)
        share = (q @ k.mT * (q.shape[-1] ** -0.5)).softmax(-1)
        out = (share @ torch.cat([v.flatten(-2), vs], -1)).transpose(1, 2)  # (B, N, heads, 16 C + S)
        x, s = out[..., : 16 * self.mv], out[..., 16 * self.mv :]
        x = x.unflatten(-1, (16, self.mv)).permute(3, 0, 1, 2, 4).flatten(-2)
        return self.out(x, s.flatten(-2))


def distance_features(q: Float[Tensor, "B H N 16 C"], k: Float[Tensor, "B 1 N 16 C"]) -> tuple[Tensor, Tensor]:
    """Five features each, whose product is -|w_k t_q - w_q t_k|^2, for points t of weights w: minus their squared distance."""
    scaled = []
    for x in (q, k):
        w = x[..., 7:8, :]
        factor = w / (w.square() + 1e-3)
        scaled.append((w * factor, x[..., 12:15, :] * factor))
    (w_q, t_q), (w_k, t_k) = scaled
    far_q = torch.cat([t_q.square().sum(-2, keepdim=True), w_q.square(), w_q * t_q], -2)
    far_k = torch.cat([-w_k.square(), -t_k.square().sum(-2, keepdim=True), 2 * w_k * t_k], -2)
    return far_q, far_k


class GeometricMLP(nn.Module):
    """Geometric products beside joins of linear maps of x, then a linear layer, a gated GELU and another linear layer."""

    def __init__(self, mv: int, s: int):
        super().__init__()
        self.factors = EquiLinear(mv, s, 4 * mv, 0)  # left and right of the product, then of the join
        with torch.no_grad():  # the product's right factor starts near one
            self.factors.weight[mv : 2 * mv] *= 0.5
            self.factors.s_to_mv.weight[mv : 2 * mv] *= 0.5
            self.factors.s_to_mv.bias[mv : 2 * mv] += 1.0
        self.product, self.join = GeometricProduct(), Join()
        self.mix, self.out = EquiLinear(2 * mv, s, 2 * mv, 2 * s), EquiLinear(2 * mv, 2 * s, mv, s)

    def forward(self, x: Multivectors, s: Scalars, reference: Float[Tensor, "B 1 1"]) -> tuple[Multivectors, Scalars]:
        left, right, left_join, right_join = self.factors(x, s)[0].chunk(4, -1)
        x = torch.cat([self.product(left, right), self.join(left_join, right_join) * reference], -1)
        x, s = self.mix(x, s)
        return self.out(gelu(x[0], approximate="tanh") * x, gelu(s))


class GATr(nn.Module):
    """Tokens of (mass,) position and velocity to the positions of all tokens, (B, N, 3); 2,209,058 parameters at 10 blocks.

    A token's mass is the grade-0 entry of its one multivector, its position a point, its velocity a translation, all three summed. A
    prediction is read off a point; `with_penalty` also gives GATr's regulariser of it.

    Parameters
    ----------
    blocks, mv, s, heads : number of blocks, multivector and scalar channels, attention heads.
    unit : length in which positions and velocities are read and positions predicted. Ours: GATr is not equivariant to a change of scale.

    Raises ValueError for inputs that are not 6 or 7 numbers a token.

    Source: Brehmer et al. 2023 and its code's defaults (multi-query attention of twice the width, distance-aware, join with a reference).
    """

    equivariant = True  # exactly: to the rounding of its precision
    loops_on_cpu = True  # alone a quarter faster than under vmap; a stack of three gains an eighth
    PENALTY = 0.01  # of the regulariser; GATr's

    def __init__(
        self,
        inputs: torch.Size,
        outputs: torch.Size,
        generators: Tensor | None = None,
        *,
        blocks: int = 10,
        mv: int = 16,
        s: int = 128,
        heads: int = 8,
        unit: float = 1.0,
    ):
        super().__init__()
        self.unit = unit
        if inputs[-1] not in (6, 7):
            raise ValueError(f"GATr reads (mass,) position and velocity, 6 or 7 numbers a token, got {inputs[-1]}")
        self.first = EquiLinear(1, 1, mv, s)
        self.attentions = nn.ModuleList(Attention(mv, s, heads) for _ in range(blocks))
        self.mlps = nn.ModuleList(GeometricMLP(mv, s) for _ in range(blocks))
        self.last = EquiLinear(mv, s, 1, 1)

    def forward(self, tokens: Float[Tensor, "B N F"]) -> Float[Tensor, "B N 3"]:
        return self.unit * coordinates(self.multivectors(tokens)[0])

    def with_penalty(self, tokens: Float[Tensor, "B N F"]) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, ""]]:
        """The prediction, and 0.01 mean over samples of sum_tokens (|e123| - 1)^2 + (scalar output)^2."""
        p, s = self.multivectors(tokens)
        return self.unit * coordinates(p), self.PENALTY * ((p[7].abs() - 1).square().sum(1) + s.square().sum((1, 2))).mean()

    def multivectors(self, tokens: Float[Tensor, "B N F"]) -> tuple[Float[Tensor, "16 B N"], Float[Tensor, "B N 1"]]:
        """The output multivector and scalar of each token."""
        mass, position, velocity = tokens[..., :-6], tokens[..., -6:-3] / self.unit, tokens[..., -3:] / self.unit
        x = point(position) + translation(velocity)
        x = torch.cat([x[:1] + mass.sum(-1), x[1:]]).unsqueeze(-1)
        reference = x[7].mean((1, 2), keepdim=True)
        x, s = self.first(x, torch.zeros_like(tokens[..., :1]))
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x, s = add((x, s), attention(*normalise(x, s)))
            x, s = add((x, s), mlp(*normalise(x, s), reference))
        x, s = self.last(x, s)
        return x.squeeze(-1), s


def add(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The residual connection, of multivectors and of scalars."""
    return a[0] + b[0], a[1] + b[1]
