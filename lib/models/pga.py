"""The projective geometric algebra G(3,0,1) of points, lines, planes and their motions: e1^2 = e2^2 = e3^2 = 1, e0^2 = 0.

A multivector is X = A + e0 B with A and B in the algebra G(3) of e1, e2, e3. Its 16 entries stand on the *first* axis of a tensor, A before
B, each in the order 1; e1, e2, e3; e12, e13, e23; e123 (`BLADES`), so that every part of it is a contiguous slice.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

SPATIAL = ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3))
BLADES = SPATIAL + tuple((0, *blade) for blade in SPATIAL)
GRADES = tuple(len(blade) for blade in BLADES)


def sorted_sign(vectors: tuple[int, ...]) -> int:
    """The sign of the permutation that sorts them: -1 for an odd number of pairs out of order."""
    return (-1) ** sum(a > b for a, b in itertools.combinations(vectors, 2))


def product_table(kept: str = "geometric") -> Float[Tensor, "16 16 16"]:
    """T with (x y)_i = sum_jk T_ijk x_j y_k, from the rules of the algebra; kept = "wedge" leaves out pairs that share a vector."""
    table = torch.zeros(16, 16, 16, dtype=torch.float64)
    for (j, a), (k, b) in itertools.product(enumerate(BLADES), repeat=2):
        shared = set(a) & set(b)
        if not shared or (kept == "geometric" and 0 not in shared):
            rest = tuple(sorted(set(a) ^ set(b)))
            table[BLADES.index(rest), j, k] = sorted_sign(a + b)  # equal neighbours square to one
    return table


def complement() -> Float[Tensor, "16 16"]:
    """The dual as a matrix: a blade goes to the blade of the missing vectors, signed so that blade ^ dual = e0123."""
    matrix = torch.zeros(16, 16, dtype=torch.float64)
    for j, blade in enumerate(BLADES):
        rest = tuple(sorted({0, 1, 2, 3} - set(blade)))
        matrix[BLADES.index(rest), j] = sorted_sign(blade + rest)
    return matrix


def join_table() -> Float[Tensor, "16 16 16"]:
    """The join x v y = dual^-1(dual x ^ dual y): of two points the line through them, of a line and a point the plane."""
    dual = complement()
    return torch.einsum("ia,abc,bj,ck->ijk", dual.T, product_table("wedge"), dual, dual)


def pauli_entries() -> Float[Tensor, "8 8"]:
    """Real, then imaginary parts of the matrix entries (11, 12, 21, 22) of an element of G(3), from its coefficients.

    G(3) is the algebra of complex 2x2 matrices: e_i is the Pauli matrix sigma_i, so that e12 = i sigma_3, e23 = i sigma_1, e123 = i.
    """
    one, x, y, z = [[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]
    sigma = dict(enumerate((torch.tensor(m, dtype=torch.complex128) for m in (x, y, z)), 1))
    columns = []
    for blade in SPATIAL:
        matrix = torch.tensor(one, dtype=torch.complex128)
        for vector in blade:
            matrix = matrix @ sigma[vector]
        columns.append(torch.cat([matrix.flatten().real, matrix.flatten().imag]))
    return torch.stack(columns, 1)


class MatrixProducts(torch.autograd.Function):
    """out_o = sum of a_x b_y over the terms (o, x, y): complex 2x2 matrices, a in planes (re/im, row, column, R), b and out alike.

    In place, forward and backward, which takes the same products with adjoints. A sign of -1 takes the complex conjugate of that factor.
    """

    @staticmethod
    def forward(
        a: Float[Tensor, "na 2 2 2 R"],
        b: Float[Tensor, "nb 2 2 2 R"],
        terms: list[tuple[int, int, int]],
        outputs: int,
        a_sign: int,
        b_sign: int,
    ):
        out = a.new_zeros(outputs, *a.shape[1:])
        for (o, x, y), j in itertools.product(terms, range(2)):
            (ar, ai), (br, bi) = a[x][:, :, j, None].unbind(0), b[y][:, None, j].unbind(0)
            out[o, 0].addcmul_(ar, br).addcmul_(ai, bi, value=-a_sign * b_sign)
            out[o, 1].addcmul_(ar, bi, value=b_sign).addcmul_(ai, br, value=a_sign)
        return out

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.rest = inputs[2:]

    @staticmethod
    def backward(ctx, gradient):
        (a, b), (terms, _, a_sign, b_sign) = ctx.saved_tensors, ctx.rest
        both = -a_sign * b_sign
        to_a = MatrixProducts.apply(gradient, b.transpose(2, 3), [(x, o, y) for o, x, y in terms], len(a), a_sign, both)
        to_b = MatrixProducts.apply(a.transpose(2, 3), gradient, [(y, x, o) for o, x, y in terms], len(b), both, b_sign)
        return to_a, to_b, None, None, None, None

    @staticmethod
    def vmap(info, in_dims, a, b, *rest):
        size = info.batch_size  # of a stack of networks: more columns
        a, b = (t.unsqueeze(-1).expand(*t.shape, size) if d is None else t.movedim(d, -1) for t, d in zip((a, b), in_dims[:2], strict=True))
        out = MatrixProducts.apply(a.flatten(-2), b.flatten(-2), *rest)
        return out.unflatten(-1, (-1, size)), 5


class GeometricProduct(nn.Module):
    """x y, by complex 2x2 matrices: (A + e0 B)(C + e0 D) = AC + e0 (A' D + BC), where A' flips the sign of A's odd grades.

    96 real multiplications in the place of 192 nonzero and 4,096 dense ones. Source: Ours, for speed (benchmarks/gatr.py); the
    isomorphism is textbook.
    """

    def __init__(self):
        super().__init__()
        entries = pauli_entries()
        flip = torch.diag(torch.tensor([(-1.0) ** len(blade) for blade in SPATIAL], dtype=torch.float64))
        nothing, dtype = torch.zeros_like(entries), torch.get_default_dtype()
        pair = torch.block_diag(entries, entries)
        self.register_buffer("left", torch.cat([pair, torch.cat([entries @ flip, nothing], 1)]).to(dtype))  # A, B, A'
        self.register_buffer("right", pair.to(dtype))  # C, D
        self.register_buffer("back", torch.linalg.inv(pair).to(dtype))

    def forward(self, x: Float[Tensor, "16 *shape"], y: Float[Tensor, "16 *shape"]) -> Float[Tensor, "16 *shape"]:
        left, right = self.left @ x.flatten(1), self.right @ y.flatten(1)
        terms = [(0, 0, 0), (1, 1, 0), (1, 2, 1)]  # AC, BC + A'D
        product = MatrixProducts.apply(left.view(3, 2, 2, 2, -1), right.view(2, 2, 2, 2, -1), terms, 2, 1, 1)
        return (self.back @ product.view(16, -1)).view(x.shape)


class Join(nn.Module):
    """x v y, its 81 nonzero products gathered, multiplied and summed by one constant matrix."""

    def __init__(self):
        super().__init__()
        table = join_table()
        i, j, k = table.nonzero().unbind(1)
        signs = torch.zeros(16, len(i), dtype=torch.get_default_dtype())
        signs[i, torch.arange(len(i))] = table[i, j, k].to(signs)
        for name, buffer in {"left": j.contiguous(), "right": k.contiguous(), "signs": signs}.items():
            self.register_buffer(name, buffer)

    def forward(self, x: Float[Tensor, "16 *shape"], y: Float[Tensor, "16 *shape"]) -> Float[Tensor, "16 *shape"]:
        products = x.flatten(1).index_select(0, self.left) * y.flatten(1).index_select(0, self.right)
        return (self.signs @ products).view(x.shape)


# ------------------------------------------------------------------------------------------------- geometric objects


def trivector(x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "3 *shape"]:
    """(-x3, x2, -x1): the entries e012, e013, e023 of the point x; applied to (3, *shape) of these it is its own inverse."""
    return torch.stack([-x[..., 2], x[..., 1], -x[..., 0]])


def point(x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "16 *shape"]:
    """A point: e123 - x1 e023 + x2 e013 - x3 e012, the intersection of three planes."""
    one, zeros = torch.ones_like(x[..., :1]).movedim(-1, 0), lambda n: x.new_zeros(n, *x.shape[:-1])
    return torch.cat([zeros(7), one, zeros(4), trivector(x), zeros(1)])


def coordinates(p: Float[Tensor, "16 *shape"], least: float = 1e-3) -> Float[Tensor, "*shape 3"]:
    """The coordinates of a point; an e123 entry of at most `least` counts as that, so ideal points are far, not infinite."""
    weight = torch.where(p[7].abs() > least, p[7], least)
    return trivector((p[12:15] / weight).movedim(0, -1)).movedim(0, -1)


def translation(v: Float[Tensor, "*shape 3"]) -> Float[Tensor, "16 *shape"]:
    """The motion by v: 1 - (v1 e01 + v2 e02 + v3 e03) / 2."""
    one, zeros = torch.ones_like(v[..., :1]).movedim(-1, 0), lambda n: v.new_zeros(n, *v.shape[:-1])
    return torch.cat([one, zeros(8), -0.5 * v.movedim(-1, 0), zeros(4)])
