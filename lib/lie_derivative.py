"""Where in a network equivariance is lost: the Lie derivative, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

Infinitesimal = Callable[[Tensor, Tensor], Tensor]  # (L, h) -> d/dt rho(exp(tL)) h at t = 0
Layer = tuple[Callable[[Tensor], Tensor], Infinitesimal]  # a map, and how L moves what it gives


def layerwise(layers: Sequence[Layer], x: Float[Tensor, "B m"], action: Infinitesimal, element: Float[Tensor, "n n"]) -> list[Tensor]:
    """What each layer adds to the Lie derivative of f = f_K ... f_1, in the units of f: K tensors, whose sum is the derivative itself.

    Layer k by itself errs by d_k = Df_k(h) [L h] - L f_k(h), L acting as each layer's features are meant to move; what comes of it at the
    output is the push-forward of d_k through the layers behind it. The sum telescopes to Df(x) [L x] - L f(x), the derivative at t = 0 of
    rho(exp(-tL)) f(exp(tL) x): zero for every x and L if and only if f is equivariant to the group's connected component.

    Source: Gruver et al. (2023), "The Lie derivative for measuring learned equivariance", eq. (6), there for feature maps that move as
    pictures do.
    """
    errors: list[Tensor] = []
    tangent, features = action(element, x), x
    for layer, moves in layers:
        pushed = [jvp(layer, (features,), (error,))[1] for error in errors]
        features, change = jvp(layer, (features,), (tangent,))
        tangent = moves(element, features)
        errors = [*pushed, change - tangent]
    return errors


def layer_norms(layers: Sequence[Layer], x: Float[Tensor, "B m"], action: Infinitesimal, generators: Float[Tensor, "C n n"]) -> list[float]:
    """The norm of each layer's part of `layerwise`, and of the whole last: root mean square over generators, mean over samples."""
    parts = torch.stack([torch.stack([*found, sum(found)]) for found in (layerwise(layers, x, action, element) for element in generators)])
    return parts.square().flatten(3).sum(3).mean(0).sqrt().mean(1).tolist()
