"""The augmenter of the objective: who draws g. A basis of generators, learnable or fixed, and a distribution of coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.actions import Action
from lib.draws import uniform
from lib.exponential import exp_map
from lib.groups import haar, normalised


class LieAugmenter(nn.Module):
    """g = exp(sum_c w_c Lhat_c), Lhat = norm * (mask * L) / ||mask * L||_F, w_c from one of `DRAWS`.

    The mask comes first, then the normalisation, then the exponential map. All entries of L start at one small constant.

    Parameters
    ----------
    n, cardinality : size of the matrices and number C of generators.
    gamma : w_c ~ U(-gamma, gamma); for "normal" the standard deviation; for "widths" the full width that is learned starts there.
    generators : a fixed basis (C, n, n) in place of a learnable one.
    mask : 0/1 matrix of the entries that may be used.
    norm : "sqrt_dim" (||Lhat||_F = sqrt n), a number, or None (L as it is).
    init : the constant, or generators (C, n, n) to start from. Zero can learn; a normalised basis cannot from next to zero.

    Raises
    ------
    ValueError : a basis or mask of the wrong shape, gamma <= 0, C < 1, an unknown norm or draw, a start below `LEAST_START` but not zero.

    Source: SEMoLA sec. 4.1 and A.4.1 (masks). The scale sqrt n is Ours: the paper says only that it depends on the dimension.
    Normal coefficients: LieGAN and its Augerino+. Learned widths: Augerino, w_c ~ U(-1/2, 1/2) softplus(s_c).
    """

    DRAWS = ("uniform", "normal", "widths")
    # Ours: a first gradient goes as 1 / start, and Adam's second moment is slow to forget it. From 1e-4 all seeds learned, from 1e-5 some.
    LEAST_START = 1e-4

    def __init__(
        self,
        n: int,
        cardinality: int = 1,
        *,
        gamma: int | float = 1.0,
        generators: Float[Tensor, "C n n"] | None = None,
        mask: Float[Tensor, "n n"] | None = None,
        norm: str | int | float | None = "sqrt_dim",
        draw: str = "uniform",
        init: float | Float[Tensor, "C n n"] = 1e-2,
    ):
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma}: coefficients are drawn from U(-gamma, gamma)")
        if cardinality < 1:
            raise ValueError(f"cardinality must be at least 1, got {cardinality}: a basis has one generator or more")
        if norm is not None and norm != "sqrt_dim" and not (isinstance(norm, int | float) and norm > 0):
            raise ValueError(f"norm must be 'sqrt_dim', a positive number or None, got {norm!r}")
        if draw not in self.DRAWS:
            raise ValueError(f"draw must be one of {', '.join(self.DRAWS)}, got {draw!r}")
        if generators is not None and (generators.ndim != 3 or generators.shape[1:] != (n, n)):
            raise ValueError(f"generators must have shape (C, {n}, {n}), got {tuple(generators.shape)}: one {n}x{n} matrix each")
        if mask is not None and mask.shape != (n, n):
            raise ValueError(f"mask must have shape ({n}, {n}), got {tuple(mask.shape)}: one 0 or 1 for each entry of a generator")
        self.gamma, self.norm, self.draw = float(gamma), math.sqrt(n) if norm == "sqrt_dim" else norm, draw
        if generators is not None:
            self.register_buffer("raw", generators.clone())
        else:
            self.raw = nn.Parameter(torch.zeros(cardinality, n, n) + init)
        if draw == "widths":
            self.widths = nn.Parameter(torch.full((len(self.raw),), math.log(math.expm1(gamma))))
        self.register_buffer("mask", torch.ones(n, n) if mask is None else mask.clone())
        largest = (self.raw.detach() * self.mask).abs().amax((-2, -1))
        if generators is None and norm is not None and ((largest > 0) & (largest < self.LEAST_START)).any():
            raise ValueError(
                f"init must be 0 or have entries of at least {self.LEAST_START:g} for a normalised basis, got {largest.min().item():.2g}: "
                "its first gradients go as 1 / init; start from 1e-2"
            )

    @property
    def bound(self) -> float | None:
        """Upper bound of ||sum_c w_c Lhat_c||_F: C * gamma * norm; None where the basis is not normalised or w is not bounded."""
        return len(self.raw) * self.gamma * self.norm if self.norm is not None and self.draw == "uniform" else None

    @property
    def half_width(self) -> float:
        """Of the range that coefficients are uniform in."""
        return 0.5 if self.draw == "widths" else self.gamma

    def basis(self) -> Float[Tensor, "C n n"]:
        """The masked, normalised generators Lhat; with learned widths, each times its own."""
        masked = self.raw * self.mask
        basis = masked if self.norm is None else normalised(masked, self.norm)
        return basis * nn.functional.softplus(self.widths)[:, None, None] if self.draw == "widths" else basis

    def coefficients(self, batch: int, copies: int, generator: torch.Generator, reach: float = 1.0) -> Float[Tensor, "B K C"]:
        """w for `copies` group elements a sample, from `generator`, times `reach`."""
        size = (batch, copies, len(self.raw))
        if self.draw == "normal":
            return reach * self.gamma * torch.randn(size, generator=generator, device=generator.device, dtype=self.raw.dtype)
        return reach * uniform(size, -self.half_width, self.half_width, generator, self.raw.dtype)

    def forward(self, coefficients: Float[Tensor, "B K C"]) -> Float[Tensor, "B K n n"]:
        """The group elements of these coefficients; negated coefficients give their inverses."""
        return exp_map(coefficients, self.basis(), self.bound)


class GroupAugmenter(nn.Module):
    """Elements of a known group from its sampler, (count, generator, dtype) -> (count, n, n); an element is its own coefficient.

    Raises ValueError for a `reach` other than 1.

    Source: REMUL sec. 3.1 (one group element a sample and step).
    """

    def __init__(self, sample: Callable[[int, torch.Generator, torch.dtype], Tensor], dtype: torch.dtype = torch.float32):
        super().__init__()
        self.sample = sample
        self.register_buffer("like", torch.empty(0, dtype=dtype), persistent=False)  # so that .to(torch.float64) reaches it

    @classmethod
    def haar(cls, n: int, dtype: torch.dtype = torch.float32) -> GroupAugmenter:
        """Rotations in n dimensions, uniform over the group (its Haar measure)."""
        return cls(lambda count, generator, dtype: haar(n, (count,), generator, dtype), dtype)

    def coefficients(self, batch: int, copies: int, generator: torch.Generator, reach: float = 1.0) -> Float[Tensor, "B K n n"]:
        """`copies` group elements a sample, from `generator`; they have no part to reach, as half a rotation matrix is no rotation."""
        if reach != 1.0:
            raise ValueError(f"elements of a known group are drawn whole, got reach {reach}: leave warmup out of the run")
        return self.sample(batch * copies, generator, self.like.dtype).unflatten(0, (batch, copies))

    def forward(self, coefficients: Float[Tensor, "B K n n"]) -> Float[Tensor, "B K n n"]:
        """The elements themselves."""
        return coefficients


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
