"""The one objective of both papers, and its methods as rows of one table.

    L = alpha * l(f(x), y)  +  beta * l(f(g x), rho(g) y)  +  R(augmenter),      g ~ augmenter

`METHODS` says, for each method, who draws g, which hyperparameters are alpha and beta, and which regularisers R sums.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.actions import Action
from lib.groups import normalised

# --------------------------------------------------------------------------------------------------- regularisers R


def cosine_penalty(x: Float[Tensor, "B *shape"], gx: Float[Tensor, "B K *shape"]) -> Float[Tensor, ""]:
    """|mean over samples, copies and vectors of cos(x, g x)|: near 1 where g does nothing.

    A sample's vectors are its time steps or tokens, each of which counts alike however long it is; of an image, its channels, flattened.

    Source: SEMoLA L_aug; the cosine is Ours after LieGAN's g_reg, one of each time step, the paper's formula is lost.
    """
    if x.ndim == 2:
        x, gx = x.unsqueeze(1), gx.unsqueeze(2)
    return torch.nn.functional.cosine_similarity(x.flatten(2).unsqueeze(1), gx.flatten(3), dim=-1).mean().abs()


def fourier_penalty(x: Float[Tensor, "B c h w"], gx: Float[Tensor, "B K c h w"]) -> Float[Tensor, ""]:
    """The same cosine of log(1 + |FFT|), which a translation leaves alone.

    Source: SEMoLA L_aug with the similarity of LieGAN's RotatedMNIST recipe.
    """
    return cosine_penalty(torch.fft.fft2(x).abs().log1p(), torch.fft.fft2(gx).abs().log1p())


def orthogonality_penalty(basis: Float[Tensor, "C n n"]) -> Float[Tensor, ""]:
    """sum over i < j of |<L_i, L_j>_F|, on the normalised basis; zero for one generator. Source: SEMoLA L_ortho, as LieGAN's."""
    flat = basis.flatten(1)
    return (flat @ flat.T).triu(1).abs().sum()


def sparsity_penalty(basis: Float[Tensor, "C n n"]) -> Float[Tensor, ""]:
    """sum |L|, on the normalised basis: at a constant norm it asks for few entries. Source: SEMoLA L_sparse; L1 is Ours."""
    return basis.abs().sum()


SIMILARITIES = {"features": cosine_penalty, "fourier": fourier_penalty}


class Phase(NamedTuple):
    """How far a run is: the coefficients span `reach` of gamma, whose square is `square`, and `push` of R's weights is in force. Ours."""

    reach: float = 1.0
    push: float = 1.0
    square: float = 1.0


WHOLE = Phase()


# A term is called with the augmenter, x, gx, the similarity and the square of the reach. Of a turn by a small angle the data terms are of
# second order in it; what looks at the basis alone is scaled to keep their proportion.


def augmentation_term(augmenter, x, gx, similarity, square):
    return SIMILARITIES[similarity](x, gx)


def orthogonality_term(augmenter, x, gx, similarity, square):
    return orthogonality_penalty(augmenter.basis()) * square


def correlation_term(augmenter, x, gx, similarity, square):
    """The same of the generators before the mask, normalised. Source: LieGAN's channel correlation."""
    return orthogonality_penalty(normalised(augmenter.raw)) * square


def sparsity_term(augmenter, x, gx, similarity, square):
    return sparsity_penalty(augmenter.basis()) * square


def width_term(augmenter, x, gx, similarity, square):
    """-||widths||_2, which rewards wide ranges, until one is 10 wide. Source: Augerino, eq. (5); the stop is its code's "safe" rule."""
    widths = nn.functional.softplus(augmenter.widths)
    return torch.where(widths.detach().max() < 10, -widths.norm(), torch.zeros_like(widths[0]))


# ---------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Method:
    """One row: where the basis comes from, alpha and beta (a number, or the name of a hyperparameter), and R's terms."""

    basis: str | None  # None, "fixed" (ground truth or found before), "learnable", "family" (the task's candidates), or "group": no basis,
    # but whole group elements from one of the task's samplers; the prediction is then f(x) alone
    alpha: float | str
    beta: float | str
    regularisers: Mapping[str, Callable] = field(default_factory=dict)  # weight's name -> term
    draw: str = "uniform"  # of coefficients, see LieAugmenter
    normalised: bool = True
    gaussian_start: bool = False  # of a learnable basis, in place of a constant
    adversarial: bool = False  # no network: `lib.experiments.adversarial` trains the basis against a discriminator, with this R

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Names of the weights that this method reads."""
        return tuple(w for w in (self.alpha, self.beta, *self.regularisers) if isinstance(w, str))


METHODS = {
    "standard": Method(basis=None, alpha=1.0, beta=0.0),
    "augmentation": Method(basis="group", alpha=0.0, beta=1.0),
    "remul": Method(basis="group", alpha="lambda_task", beta="lambda_equiv"),
    "augmented": Method(basis="fixed", alpha="lambda_task", beta="lambda_equiv"),
    "semola": Method(
        basis="learnable",
        alpha="lambda_task",
        beta="lambda_equiv",
        regularisers={
            "lambda_aug": augmentation_term,
            "lambda_ortho": orthogonality_term,
            "lambda_sparse": sparsity_term,
        },
    ),
    "augerino": Method(basis="family", alpha=0.0, beta=1.0, regularisers={"lambda_width": width_term}, draw="widths"),
    "augerino_plus": Method(
        basis="learnable",
        alpha=0.0,
        beta=1.0,
        regularisers={"lambda_aug": augmentation_term, "lambda_ortho": correlation_term},
        draw="normal",
        normalised=False,
        gaussian_start=True,
    ),
    "liegan": Method(
        basis="learnable",
        alpha=0.0,
        beta=0.0,
        regularisers={"lambda_aug": augmentation_term, "lambda_ortho": correlation_term},
        draw="normal",
        normalised=False,
        gaussian_start=True,
        adversarial=True,
    ),
}


def method_named(name: str) -> Method:
    """The row of that name. Raises KeyError, with the known names, for any other."""
    if name not in METHODS:
        near = difflib.get_close_matches(str(name).lower(), METHODS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise KeyError(f"unknown method {name!r}: {meant}Choose one of {', '.join(METHODS)}, or add a row to lib.losses.METHODS")
    return METHODS[name]


# -------------------------------------------------------------------------------------------------------- objective


def objective(
    method: Method,
    weights: Mapping[str, float | Tensor],
    model: Callable[[Tensor], Tensor],
    augmenter: nn.Module | None,
    x: Tensor,
    y: Tensor,
    coefficients: Tensor | None,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    rho_x: Action,
    rho_y: Action,
    as_target: Callable[[Tensor], Tensor] = lambda prediction: prediction,
    target: str = "label",
    similarity: str = "features",
    phase: Phase = WHOLE,
    again: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L = alpha l(f(x), y) + beta l(f(g x), rho(g) y) + sum_r lambda_r R_r, and its terms by name.

    A term whose weight is the number 0 is not computed: beta = 0 is plain training bit for bit.

    Parameters
    ----------
    weights : values of the method's hyperparameters; they must not be negative.
    coefficients : w of shape (B, K, C), from `augmenter.coefficients`; None for a method without an augmenter.
    loss, as_target : l on a batch of predictions and targets; how a prediction serves as a target.
    target : "label" takes y in the second term, as both papers do; "prediction" f(x), as a constant: Ours, no gradient moves the target.
    again : f in the second term, where `lib.weights` has to tell the two apart; None for `model`.
    phase : terms on the basis alone are multiplied by its `square`, all of R by its `push`.

    Source: SEMoLA eq. (1), REMUL eqs. (6)-(9).
    """
    alpha, beta = (weights[w] if isinstance(w, str) else w for w in (method.alpha, method.beta))
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    prediction = None
    if not _is_zero(alpha):
        prediction = model(x)
        terms["task"] = loss(prediction, y)
        total = total + alpha * terms["task"]
    if augmenter is None:
        return total, terms

    g = augmenter(coefficients)
    gx = rho_x(g, x)
    if not _is_zero(beta):
        goal = y
        if target == "prediction":
            goal = as_target(model(x) if prediction is None else prediction).detach()
        terms["equiv"] = loss((again or model)(gx.flatten(0, 1)), rho_y(g, goal).flatten(0, 1))
        total = total + beta * terms["equiv"]
    for name, term in method.regularisers.items():
        if not _is_zero(weights[name]):
            terms[name.removeprefix("lambda_")] = term(augmenter, x, gx, similarity, phase.square)
            total = total + phase.push * weights[name] * terms[name.removeprefix("lambda_")]
    return total, terms


def _is_zero(weight: float | Tensor) -> bool:
    """A weight that is the number zero; a tensor's value is not read."""
    return not isinstance(weight, Tensor) and weight == 0
