"""The loss around trained weights, on a plane of two random directions, and numbers for how rugged it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from lib.draws import random_stream


def direction(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A Gaussian direction, every filter of which (a slice along the first axis of a parameter of two dimensions or more: one output of a
    linear layer) is as long as the model's own; other parameters stay.

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


def ruggedness(surface: Float[Tensor, "p p"], extent: float = 1.0) -> dict[str, float]:
    """Three numbers of a surface's logarithm, so that its scale does not matter. They compare surfaces; of a smooth bowl only the second is
    known beforehand.

    saddles : the share of inner points whose Hessian, by central differences, has a negative eigenvalue, so where log10 L is not convex.
    minima : the number of inner points below their eight neighbours; 1 for a bowl.
    roughness : the root mean square of the Laplacian, in decades per square of the directions' length. Of a ragged surface it grows with
        the number of points.

    Raises ValueError for fewer than three points each way, and for a loss that is not finite and positive. Ours: the paper shows pictures.
    """
    if min(surface.shape) < 3 or not (surface.isfinite() & (surface > 0)).all():
        raise ValueError("a loss surface needs three points each way, and finite positive values: take fewer steps from the weights")
    z, step = surface.double().log10(), 2 * extent / (len(surface) - 1)
    centre = z[1:-1, 1:-1]
    xx, yy = z[2:, 1:-1] - 2 * centre + z[:-2, 1:-1], z[1:-1, 2:] - 2 * centre + z[1:-1, :-2]
    xy = (z[2:, 2:] - z[2:, :-2] - z[:-2, 2:] + z[:-2, :-2]) / 4
    least = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    rows, columns = z.shape
    around = [z[1 + i : rows - 1 + i, 1 + j : columns - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    return {
        "saddles": (least < 0).double().mean().item(),
        "minima": (centre < torch.stack(around).amin(0)).double().sum().item(),
        "roughness": ((xx + yy) / step**2).square().mean().sqrt().item(),
    }
