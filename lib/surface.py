"""The loss around trained weights, on a plane of two random directions, and numbers for how rugged it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from lib.groups import random_stream


def direction(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A Gaussian direction in which every filter (first-index slice) is as long as the model's own; biases and norms stay.

    Source: Li et al. 2018, filter normalisation; REMUL sec. 6.5.
    """
    found = {}
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            d = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
            size, length = weight.detach().flatten(1).norm(dim=1), d.flatten(1).norm(dim=1).clamp(min=1e-10)
            found[name] = d * (size / length).view(-1, *[1] * (weight.ndim - 1))
    return found


@torch.no_grad()
def loss_surface(model: nn.Module, loss: Callable[[Callable], Tensor], points: int, seed: int, extent: float = 1.0) -> Float[Tensor, "p p"]:
    """loss(theta + a d1 + b d2) for a (rows) and b in `points` equal steps of [-extent, extent].

    `loss` takes a function x -> prediction. Source: REMUL figure 1; the extent is that of Li et al.'s code.
    """
    draws = random_stream(seed, "surface")
    first, second = direction(model, draws), direction(model, draws)
    theta = {name: weight.detach() for name, weight in model.named_parameters()}
    steps = torch.linspace(-extent, extent, points).tolist()

    def at(a: float, b: float) -> Tensor:
        moved = {name: theta[name] + a * first[name] + b * second[name] for name in first}
        return loss(lambda x: functional_call(model, moved, (x,)))

    return torch.stack([torch.stack([at(a, b) for b in steps]) for a in steps])


def ruggedness(surface: Float[Tensor, "p p"]) -> dict[str, float]:
    """Of the logarithm of a surface, so that scales do not matter: three numbers that are 0, or 1 for `minima`, for a smooth bowl.

    saddles : the share of inner points whose Hessian, by central differences, has a negative eigenvalue: where it is not convex (log of a
        paraboloid is not either, far from its minimum: compare surfaces, not with 0).
    minima : the number of inner points below their eight neighbours.
    roughness : the root mean square of the difference between a point and the mean of its four neighbours, in decades.

    Ours: the paper shows pictures only.
    """
    z = surface.double().log10()
    centre = z[1:-1, 1:-1]
    xx, yy = z[2:, 1:-1] - 2 * centre + z[:-2, 1:-1], z[1:-1, 2:] - 2 * centre + z[1:-1, :-2]
    xy = (z[2:, 2:] - z[2:, :-2] - z[:-2, 2:] + z[:-2, :-2]) / 4
    least = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    neighbours = torch.stack([z[1 + i : z.shape[0] - 1 + i, 1 + j : z.shape[1] - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    return {
        "saddles": (least < 0).double().mean().item(),
        "minima": (centre < neighbours.amin(0)).double().sum().item(),
        "roughness": ((xx + yy) / 4).square().mean().sqrt().item(),
    }
