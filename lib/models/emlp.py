"""Equivariant multilayer perceptron for any set of generators.

Features are scalars and copies of the vector space V that the generators act on. Every linear map between them, and every product of two
vectors to a scalar, is built from spaces of invariants, which are found numerically, so it needs nothing but the generators.
"""

from __future__ import annotations

import math
import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.draws import random_stream
from lib.groups import normalised
from lib.metrics import bracket_closure


class AmbiguousSymmetryWarning(UserWarning):
    """The generators do not close under the bracket, or their invariants depend on the tolerance."""


def invariants(action: Float[Tensor, "C n m"], tolerance: float, what: str) -> Float[Tensor, "R m"]:
    """An orthonormal basis of {v : A_c v = 0 for every c}: right singular vectors of the stacked A_c whose value is <= tolerance, mixed.

    Warns AmbiguousSymmetryWarning where the least value left out is less than three times the tolerance, so that it decides.

    Source: Finzi et al. (2021), sec. 5.1 (null space by SVD). The choice of the basis is Ours: which one of a null space the decomposition
    returns is a matter of rounding, and so of the machine; the projections of fixed random vectors, orthonormalised, are not.
    """
    rows = action.flatten(0, 1).double()
    _, values, directions = torch.linalg.svd(rows, full_matrices=True)
    values = nn.functional.pad(values, (0, len(directions) - len(values)))
    kept = values <= tolerance
    left_out = values[~kept].min().item() if (~kept).any() else math.inf
    if left_out < 3 * tolerance:
        warnings.warn(
            f"{what}: a singular value of {left_out:.2g} lies just above the tolerance {tolerance:g}; "
            "the space of equivariant maps hangs on it: clean the generators, or choose the tolerance on purpose",
            AmbiguousSymmetryWarning,
            stacklevel=3,
        )
    span = directions[kept]
    start = torch.randn(len(directions), len(span), generator=random_stream(0, "invariants"), dtype=torch.float64)
    q, r = torch.linalg.qr(span.mT @ (span @ start))
    return (q * r.diagonal().sign()).mT


class EquivariantLinear(nn.Module):
    """(scalars, vectors) to (scalars, vectors), linear and equivariant, with a bias on scalars.

    Vectors to vectors M with [L, M] = 0; vectors to scalars l with L^T l = 0; scalars to vectors u with L u = 0.
    """

    def __init__(self, spaces: dict[str, Tensor], inputs: tuple[int, int], outputs: tuple[int, int]):
        super().__init__()
        (s_in, v_in), (s_out, v_out) = inputs, outputs
        for name, space in spaces.items():
            self.register_buffer(name, space)
        fan_in = s_in + v_in

        def weight(rows: int, columns: int, space: Tensor | None = None) -> nn.Parameter:
            # a random combination of an orthonormal space acts on a random vector like one matrix of n^2 free entries
            kinds = () if space is None else (len(space),)
            scale = 1.0 if space is None else math.sqrt(space.shape[-1] / max(1, len(space)))
            return nn.Parameter(scale * torch.randn(rows, columns, *kinds) / math.sqrt(max(1, fan_in)))

        self.vv = weight(v_out, v_in, spaces["commutant"])
        self.ss = weight(s_out, s_in)
        self.sv = weight(s_out, v_in, spaces["functionals"])
        self.vs = weight(v_out, s_in, spaces["fixed"])
        self.bias = nn.Parameter(torch.zeros(s_out))

    def forward(self, s: Float[Tensor, "B s_in"], v: Float[Tensor, "B v_in n"]) -> tuple[Tensor, Tensor]:
        moved = torch.einsum("oir,rnm->oinm", self.vv, self.commutant)
        vectors = torch.einsum("oinm,bim->bon", moved, v) + torch.einsum("oir,rn,bi->bon", self.vs, self.fixed, s)
        scalars = s @ self.ss.T + torch.einsum("oir,rn,bin->bo", self.sv, self.functionals, v) + self.bias
        return scalars, vectors


class BilinearForms(nn.Module):
    """Products: scalar times vector to vectors; invariant forms B(v, w) = v^T B w, with L^T B + B L = 0, to scalars.

    Source: Finzi et al. (2021), sec. 6 (bilinear layer), with all invariant forms in place of the dot product alone (Ours: it
    serves groups that are not orthogonal too), and a learned weight for each pair in place of a random subset.
    """

    def __init__(self, forms: Float[Tensor, "R n n"], inputs: tuple[int, int], outputs: tuple[int, int]):
        super().__init__()
        (s_in, v_in), (s_out, v_out) = inputs, outputs
        self.register_buffer("forms", forms)
        self.left = nn.Parameter(torch.randn(s_out, v_in, len(forms)) / math.sqrt(max(1, v_in * len(forms))))
        self.right = nn.Parameter(torch.randn(s_out, v_in) / math.sqrt(max(1, v_in)))
        self.scale = nn.Parameter(torch.randn(v_out, s_in) / math.sqrt(max(1, s_in)))
        self.mix = nn.Parameter(torch.randn(v_out, v_in) / math.sqrt(max(1, v_in)))

    def forward(self, s: Float[Tensor, "B s_in"], v: Float[Tensor, "B v_in n"]) -> tuple[Tensor, Tensor]:
        left = torch.einsum("oir,rnm,bin->bom", self.left, self.forms, v)
        right = torch.einsum("oi,bin->bon", self.right, v)
        vectors = (s @ self.scale.T).unsqueeze(-1) * torch.einsum("oi,bin->bon", self.mix, v)
        return (left * right).sum(-1), vectors


class EMLP(nn.Module):
    """Blocks of linear, bilinear (times 0.1) and gated nonlinearity, then one linear layer; equivariant for the given generators.

    Inputs of shape (*, n) are vectors of V; outputs of shape (*, n) are vectors, any other shape is invariant. Scalars pass a swish,
    vectors are multiplied by the sigmoid of a gate scalar of their own.

    Parameters
    ----------
    generators : basis (C, n, n), at any scale; each is normalised to Frobenius norm sqrt n first.
    channels, blocks : copies of V (and as many scalars) of a hidden layer, and number of blocks. Source: LieGAN's prediction
        experiments (5 vectors, 3 blocks).
    tolerance : largest singular value that counts as zero. Source: 1e-5, Finzi et al. A learned generator's zeros are as large as its
        noise: LieGAN's choice for them, 5e-3, lies below that, keeps no invariant form, and leaves a network that is linear.

    Raises ValueError without generators, or for inputs that are not vectors of their size. Warns AmbiguousSymmetryWarning.

    Source: Finzi et al. (2021); SEMoLA A.4.1.
    """

    equivariant = True  # exactly: to the rounding of its precision
    loops_on_cpu = True  # its stacked products round differently from its single ones

    def __init__(
        self, inputs: torch.Size, outputs: torch.Size, generators: Float[Tensor, "C n n"] | None, *, channels: int = 5, blocks: int = 3,
        tolerance: float = 1e-5,
    ):  # fmt: skip
        super().__init__()
        if generators is None:
            raise ValueError("an EMLP needs generators (C, n, n): the task's, or discovered ones")
        n = generators.shape[-1]
        if inputs[-1] != n:
            raise ValueError(f"inputs must be vectors of the generators' size {n}, got shape {tuple(inputs)}")
        generators = normalised(generators.double())
        closure = bracket_closure(generators)
        if closure > min(tolerance, 0.1):  # relative to the generators' size; 0 for one generator
            warnings.warn(
                f"the generators do not close under the bracket (residual {closure:.2g}): the network is equivariant for the algebra "
                "they generate, which is larger than their span",
                AmbiguousSymmetryWarning,
                stacklevel=2,
            )
        eye = torch.eye(n, dtype=torch.float64)
        commuting = torch.stack([torch.kron(g, eye) - torch.kron(eye, g.T.contiguous()) for g in generators])  # of vec(M), row by row
        preserving = torch.stack([torch.kron(g.T.contiguous(), eye) + torch.kron(eye, g.T.contiguous()) for g in generators])
        dtype = torch.get_default_dtype()
        spaces = {
            "commutant": invariants(commuting, tolerance, "linear maps").unflatten(1, (n, n)).to(dtype),
            "functionals": invariants(generators.mT, tolerance, "linear functionals").to(dtype),
            "fixed": invariants(generators, tolerance, "fixed vectors").to(dtype),
        }
        forms = invariants(preserving, tolerance, "bilinear forms").unflatten(1, (n, n)).to(dtype)
        self.outputs, self.vector_output = outputs, len(outputs) > 0 and outputs[-1] == n
        last = (0, math.prod(outputs[:-1])) if self.vector_output else (math.prod(outputs), 0)
        widths = [(0, math.prod(inputs[:-1]))] + [(channels, channels)] * blocks
        gated = (2 * channels, channels)  # as many scalars again, the gates
        self.linears = nn.ModuleList(EquivariantLinear(spaces, width, gated) for width in widths[:-1])
        self.bilinears = nn.ModuleList(BilinearForms(forms, gated, gated) for _ in widths[:-1])
        self.last = EquivariantLinear(spaces, widths[-1], last)

    def forward(self, x: Float[Tensor, "B *inputs"]) -> Float[Tensor, "B *outputs"]:
        v = x.reshape(len(x), -1, x.shape[-1])
        s = v.new_zeros(len(x), 0)
        for linear, bilinear in zip(self.linears, self.bilinears, strict=True):
            s, v = linear(s, v)
            ds, dv = bilinear(s, v)
            s, gates = (s + 0.1 * ds).chunk(2, -1)
            s, v = nn.functional.silu(s), gates.sigmoid().unsqueeze(-1) * (v + 0.1 * dv)
        s, v = self.last(s, v)
        return (v if self.vector_output else s).reshape(len(x), *self.outputs)
