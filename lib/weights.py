"""How alpha and beta move in a training: not at all, by GradNorm (`Gradual`), or beta as the price of a constraint (`Dual`).

GradNorm: the weights of the two data terms follow the norms of their last-layer gradients. With n_k = ||grad_W L_k|| of the last layer's
weights W, G_k = w_k n_k and r_k = (L_k / L_k(0)) / their mean over k, one step is

    w_k <- w_k - eta * d/dw_k sum_j |G_j - mean(G) r_j^exponent| = w_k - eta sign(G_k - mean(G) r_k^exponent) sign(w_k) n_k

where the mean and the rates are constants of the step, so no second derivative is taken.

A constraint: minimise l(f(x), y) where l(f(g x), rho(g) y) is at most epsilon; beta rises as long as it is more, and falls where less.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

FLOOR = 1e-3
SUMS = ("none", "initial", "tasks")
AVERAGED = 30  # steps that the level of a constraint is a mean over, the latest most
PRICES = 1e-3, 1e2  # what beta stays between: beyond them it is as good as none or as all, and the way back would take long


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

    Raises ValueError for an option out of range.
    """

    of_gradients = True  # whether a step needs the norms
    remembered = ("weights", "scaled", "floored", "targets", "first_losses", "first_norms")

    def __init__(
        self,
        initial: Float[Tensor, "2 members"],
        *,
        eta: float = 0.025,
        exponent: float = 1.5,
        relative: bool = True,
        renormalise: str = "none",
    ):
        if not eta > 0 or not exponent >= 0:
            raise ValueError(f"gradual weights need eta > 0 and exponent >= 0, got {eta} and {exponent}")
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


class Dual:
    """beta of every member of a stack as the multiplier of l(f(g x), rho(g) y) <= epsilon, from where it starts; alpha stays:

        beta <- beta exp(eta (min(l_equiv / epsilon, 2) - 1))

    so that it rises while the term of a step is above epsilon, falls while it is below, and rests where the mean of min(l_equiv / epsilon,
    2) is 1: where the constraint just holds, or, as batches differ, a little above. A step changes beta by at most eta in parts of itself,
    and it stays within `PRICES`: a bound that is out of reach early in a training, or holds by itself, must not take it so far that it
    never comes back.

    Attributes
    ----------
    weights : (2, members), of alpha and beta.  level : (members,), l_equiv, a mean over the last steps.

    Parameters
    ----------
    epsilon : in the units of the loss: of a mean squared error, the square of the targets'.

    Raises ValueError for an epsilon or eta that is not positive, and for a beta that starts outside `PRICES`.

    Source: dual ascent, as in ACE (Manolache et al. 2025), whose constraint is on the layers of a network that starts unequivariant and is
    equivariant in the end; here it is on REMUL's term, of any network. Steps in parts of beta, so that no units matter, and `PRICES` are
    Ours.
    """

    of_gradients = False
    remembered = ("weights", "level", "count")

    def __init__(self, initial: Float[Tensor, "2 members"], *, epsilon: float = math.nan, eta: float = 0.02):
        if not epsilon > 0 or not eta > 0:
            raise ValueError(f"dual weights need epsilon > 0, the bound of the equivariance term, and eta > 0, got {epsilon} and {eta}")
        if ((initial[1] < PRICES[0]) | (initial[1] > PRICES[1])).any():
            raise ValueError(f"dual weights keep beta within {PRICES[0]:g} and {PRICES[1]:g}, got {initial[1].tolist()} to start from")
        self.epsilon, self.eta, self.weights = epsilon, eta, initial.clone()
        self.level, self.count = torch.zeros_like(initial[0]), torch.zeros_like(initial[0])

    def state(self) -> dict[str, Tensor]:
        """What a curve shows of each member, by name."""
        return {"alpha": self.weights[0], "beta": self.weights[1], "level": self.level}

    def step(self, losses: Float[Tensor, "2 members"], norms: Tensor | None = None) -> None:
        """One step from both terms at the present weights."""
        self.count = (self.count + 1).clamp(max=AVERAGED)
        self.level = self.level + (losses[1] - self.level) / self.count
        slack = (losses[1] / self.epsilon).clamp(max=2.0) - 1
        self.weights = torch.stack([self.weights[0], (self.weights[1] * (self.eta * slack).exp()).clamp(*PRICES)])


KINDS = {"gradual": Gradual, "dual": Dual}  # by the name of the setting that holds their options


def moving(run: Mapping[str, Any], initial: Float[Tensor, "2 members"]) -> Gradual | Dual | None:
    """Who moves a run's weights from `initial`; None for constant ones. Raises ValueError for two of them, or an option out of range."""
    named = [name for name in KINDS if run.get(name) is not None]
    if len(named) > 1:
        raise ValueError(f"weights move in one way, got {' and '.join(named)}: leave all but one out")
    return KINDS[named[0]](initial, **run[named[0]]) if named else None


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
