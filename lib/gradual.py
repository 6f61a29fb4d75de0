"""GradNorm: the weights of the two data terms follow the norms of their last-layer gradients.

With n_k = ||grad_W L_k|| of the last layer's weights W, G_k = w_k n_k and r_k = (L_k / L_k(0)) / their mean over k, one step is

    w_k <- w_k - eta * d/dw_k sum_j |G_j - mean(G) r_j^exponent| = w_k - eta sign(G_k - mean(G) r_k^exponent) sign(w_k) n_k

where the mean and the rates are constants of the step, so no second derivative is taken.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

FLOOR = 1e-3
SUMS = ("none", "initial", "tasks")
DEFAULTS = {"eta": 0.025, "exponent": 1.5, "relative": True, "renormalise": "none"}


class Gradual:
    """(alpha, beta) of every member of a stack, and their steps.

    `relative` (Ours) runs the algorithm on the losses L_k / n_k(0), each starting at weight one, and floors these at 1e-3; the weight of
    L_k itself is its initial value times that. So a step moves a weight by eta n_k / n_k(0) in parts of its initial value, whatever the
    loss's units, and the proportion of alpha to beta at the start is not forgotten. Without it this is Algorithm 1 to the letter, with no
    floor: gradient norms can be in the hundreds, and a weight then jumps past zero. Where one weight starts at zero there is nothing to
    balance, and both stay.

    Attributes
    ----------
    weights, targets : (2, members), of alpha and beta; targets of G_k.  floored : (members,), how many times the floor was hit.

    Source: Chen et al. 2018; REMUL Algorithm 1. `renormalise`, the sum that the weights are brought back to after each step: REMUL's
    "none", "initial", or the number of "tasks" (Chen et al.).
    """

    def __init__(
        self,
        initial: Float[Tensor, "2 members"],
        *,
        eta: float = DEFAULTS["eta"],
        exponent: float = DEFAULTS["exponent"],
        relative: bool = DEFAULTS["relative"],
        renormalise: str = DEFAULTS["renormalise"],
    ):
        if renormalise not in SUMS:
            raise ValueError(f"renormalise must be one of {', '.join(SUMS)}, got {renormalise!r}")
        if renormalise != "none" and not relative:
            raise ValueError("renormalise needs relative weights: without their floor a sum can be zero or negative")
        self.eta, self.exponent, self.relative, self.renormalise = eta, exponent, relative, renormalise
        self.initial, self.weights = initial, initial.clone()
        self.scaled = torch.ones_like(initial) if relative else initial.clone()
        self.floored = torch.zeros_like(initial[0])
        self.first_losses: Tensor | None = None
        self.targets = torch.zeros_like(initial)

    def state(self) -> dict[str, Tensor]:
        """What a curve shows of each member, by name."""
        return {"alpha": self.weights[0], "beta": self.weights[1], "floored": self.floored, "target_of_beta": self.targets[1]}

    def step(self, losses: Float[Tensor, "2 members"], norms: Float[Tensor, "2 members"]) -> None:
        """One step from L_k and G_k = ||grad_W w_k L_k|| at the present weights."""
        norms = torch.where(self.weights == 0, 0.0, norms / self.weights.abs())  # n_k
        if self.first_losses is None:
            self.first_losses, self.first_norms = losses, norms if self.relative else torch.ones_like(norms)
        norms = torch.where(self.first_norms == 0, 0.0, norms / self.first_norms)
        sizes = self.scaled.abs() * norms
        rates = losses / self.first_losses
        self.targets = sizes.mean(0) * (rates / rates.mean(0)) ** self.exponent
        moved = self.scaled - self.eta * (sizes - self.targets).sign() * self.scaled.sign() * norms
        self.scaled = torch.where((self.initial == 0).any(0), self.scaled, moved)
        if self.relative:
            self.floored = self.floored + (self.scaled < FLOOR).sum(0)
            self.scaled = self.scaled.clamp(min=FLOOR)
        self.weights = self.initial * self.scaled if self.relative else self.scaled
        if self.renormalise != "none":
            factor = (self.initial.sum(0) if self.renormalise == "initial" else 2.0) / self.weights.sum(0)
            self.weights, self.scaled = self.weights * factor, self.scaled * factor


def last_name(model: nn.Module) -> str:
    """The name of the last layer's weight: the last parameter with two dimensions or more. Raises ValueError where there is none."""
    names = [name for name, parameter in model.named_parameters() if parameter.ndim >= 2]
    if not names:
        raise ValueError(f"{type(model).__name__} has no weight matrix whose gradient could steer gradual weights")
    return names[-1]


def twice(model: nn.Module, offsets: Float[Tensor, "2 *shape"]) -> list[Callable[[Tensor], Tensor]]:
    """The model as two functions, each with an offset of its own on the last layer's weight.

    At offsets of zero both are the model, and the gradient of a weighted sum of their losses with respect to the offsets holds each
    loss's own last-layer gradient: one backward pass gives all.
    """
    name = last_name(model)
    weight = operator.attrgetter(name)(model)
    return [lambda x, offset=offset: functional_call(model, {name: weight + offset}, (x,)) for offset in offsets]


def checked(options: Mapping[str, Any]) -> None:
    """Raises ValueError for an option of `Gradual` that is unknown or out of range."""
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))} of gradual weights: choose from {', '.join(DEFAULTS)}")
    values = {**DEFAULTS, **options}
    if not values["eta"] > 0 or not values["exponent"] >= 0:
        raise ValueError(f"gradual weights need eta > 0 and exponent >= 0, got {values['eta']} and {values['exponent']}")
    Gradual(torch.ones(2, 1), **values)
