"""The augmenter of the objective: who draws g. A basis of generators, learnable or fixed, and coefficients w ~ U(-gamma, gamma)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.actions import Action
from lib.groups import exp_map, uniform


class LieAugmenter(nn.Module):
    """g = exp(sum_c w_c Lhat_c), w_c ~ U(-gamma, gamma), Lhat = norm * (mask * L) / ||mask * L||_F.

    The mask comes first, then the normalisation, then the exponential map. All entries of L start at one small constant.

    Parameters
    ----------
    n, cardinality : size of the matrices and number C of generators.
    generators : a fixed basis (C, n, n) in place of a learnable one.
    mask : 0/1 matrix of the entries that may be used.
    norm : "sqrt_dim" (||Lhat||_F = sqrt n), a number, or None (L as it is).

    Raises
    ------
    ValueError : a basis or mask of the wrong shape, gamma <= 0, C < 1, an unknown norm.

    Source: SEMoLA sec. 4.1 and A.4.1 (masks). The scale sqrt n is Ours: the paper says only that it depends on the dimension.
    """

    def __init__(
        self,
        n: int,
        cardinality: int = 1,
        *,
        gamma: int | float = 1.0,
        generators: Float[Tensor, "C n n"] | None = None,
        mask: Float[Tensor, "n n"] | None = None,
        norm: str | int | float | None = "sqrt_dim",
        init: float = 1e-2,
    ):
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma}: coefficients are drawn from U(-gamma, gamma)")
        if cardinality < 1:
            raise ValueError(f"cardinality must be at least 1, got {cardinality}: a basis has one generator or more")
        if norm is not None and norm != "sqrt_dim" and not (isinstance(norm, int | float) and norm > 0):
            raise ValueError(f"norm must be 'sqrt_dim', a positive number or None, got {norm!r}")
        if generators is not None and (generators.ndim != 3 or generators.shape[1:] != (n, n)):
            raise ValueError(f"generators must have shape (C, {n}, {n}), got {tuple(generators.shape)}: one {n}x{n} matrix each")
        if mask is not None and mask.shape != (n, n):
            raise ValueError(f"mask must have shape ({n}, {n}), got {tuple(mask.shape)}: one 0 or 1 for each entry of a generator")
        self.gamma, self.norm = float(gamma), math.sqrt(n) if norm == "sqrt_dim" else norm
        if generators is None:
            self.raw = nn.Parameter(torch.full((cardinality, n, n), init))
        else:
            self.register_buffer("raw", generators.clone())
        self.register_buffer("mask", torch.ones(n, n) if mask is None else mask.clone())

    @property
    def bound(self) -> float | None:
        """Upper bound of ||sum_c w_c Lhat_c||_F: C * gamma * norm; None for a basis that is not normalised."""
        return None if self.norm is None else len(self.raw) * self.gamma * self.norm

    def basis(self) -> Float[Tensor, "C n n"]:
        """The masked, normalised generators Lhat."""
        masked = self.raw * self.mask
        if self.norm is None:
            return masked
        size = torch.linalg.matrix_norm(masked, keepdim=True)
        return masked * (self.norm / size.clamp(min=torch.finfo(masked.dtype).tiny ** 0.5))

    def coefficients(self, batch: int, copies: int, generator: torch.Generator) -> Float[Tensor, "B K C"]:
        """w ~ U(-gamma, gamma) for `copies` group elements a sample, from `generator`."""
        return uniform((batch, copies, len(self.raw)), -self.gamma, self.gamma, generator, self.raw.dtype)

    def forward(self, coefficients: Float[Tensor, "B K C"]) -> Float[Tensor, "B K n n"]:
        """The group elements of these coefficients; negated coefficients give their inverses."""
        return exp_map(coefficients, self.basis(), self.bound)


def averaged_prediction(
    predict: Callable[[Tensor], Tensor],
    augmenter: LieAugmenter,
    x: Float[Tensor, "B *shape"],
    *,
    copies: int,
    generator: torch.Generator,
    rho_x: Action,
    rho_y: Action,
) -> Tensor:
    """The average over K = `copies` group elements of rho(g)^-1 f(g x), g from the augmenter.

    `predict` gives what is averaged: class probabilities, not logits, for a classifier (Ours: the paper does not say which).

    Source: SEMoLA eq. (2).
    """
    coefficients = augmenter.coefficients(len(x), copies, generator)
    output = predict(rho_x(augmenter(coefficients), x).flatten(0, 1))
    inverse = augmenter(-coefficients).flatten(0, 1).unsqueeze(1)
    return rho_y(inverse, output).squeeze(1).unflatten(0, (len(x), copies)).mean(1)
