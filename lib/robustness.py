"""How far any predictor is from equivariant: on average, for most, and at the worst group element that can be found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.actions import Action, on_vectors, trivially
from lib.augmenter import LieAugmenter
from lib.checks import refuse_other_form, refuse_training
from lib.draws import random_stream, uniform
from lib.exponential import exp_map
from lib.metrics import there_and_back


@dataclass(frozen=True)
class EquivarianceReport:
    """Errors ||f(g x) - rho(g) f(x)||_2 of one sample and one g each, in the units of f; printed, a table.

    Attributes
    ----------
    E, E_prime : see `lib.metrics.equivariance_errors`.
    percentile_99, worst : over all samples and elements that were drawn; `worst` of those that ascent found, too.
    worst_sample, worst_element : where it is: an index of x, and g, (n, n).
    ascended : whether f could be differentiated, so that `worst` is more than the worst that was drawn.
    floor : mean of ||f(g^-1 g x) - f(x)||: rounding, and what interpolation loses on the way there and back.
    size : mean of ||f(x)||, to compare with.
    """

    E: float
    E_prime: float
    percentile_99: float
    worst: float
    worst_sample: int
    worst_element: Float[Tensor, "n n"]
    ascended: bool
    floor: float
    size: float

    def __str__(self) -> str:
        how = "worst found" if self.ascended else "worst drawn"
        rows = {"E": self.E, "E'": self.E_prime, "99th percentile": self.percentile_99, how: self.worst, "floor": self.floor}
        of_size = [f"{value / self.size:9.2%}" if self.size else f"{'-':>9s}" for value in rows.values()]
        lines = [f"{name:16s} {value:10.3g} {share}" for (name, value), share in zip(rows.items(), of_size, strict=True)]
        return "\n".join([f"{'':16s} {'error':>10s} {'of ||f||':>9s}", *lines])


def equivariance_report(
    predict: Callable[[Tensor], Tensor],
    group: Float[Tensor, "C n n"] | LieAugmenter,
    x: Float[Tensor, "B *shape"],
    *,
    on_x: Action = on_vectors,
    on_y: Action = trivially,
    reach: float = math.pi,
    samples: int = 100,
    starts: int = 4,
    steps: int = 50,
    seed: int = 0,
) -> EquivarianceReport:
    """E, E', the 99th percentile and the worst case of any callable from a batch to a batch, over g = exp(sum_c w_c L_c).

    M = `samples` elements a sample are drawn, w ~ U(-reach, reach)^C. From the `starts` worst of them each sample's w is then moved up the
    gradient of its error, by `steps` steps of Adam that shrink to nothing, and never beyond the reach. Where f has no gradient the worst
    that was drawn is reported.

    Parameters
    ----------
    group : generators, or an augmenter, whose basis and range are taken.

    Raises TypeError for what is no tensor (of a graph, take the features that move, and predict from them), ValueError for fewer than one
    sample or start, a network in training that predicts otherwise then, predictions that are NaN or infinite, and inputs or predictions of
    a form that their action does not move.

    Source: E and E' as in `lib.metrics.equivariance_errors`. The rest is Ours: a mean hides the element at which a network fails.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"equivariance_report takes a tensor (B, ...), got {type(x).__name__}: predict from the features that move")
    if min(samples, starts) < 1:
        raise ValueError(f"samples and starts must be at least 1, got {samples} and {starts}")
    if isinstance(group, LieAugmenter):
        group, reach = group.basis().detach(), group.half_width
    refuse_other_form(x, group.shape[-1], on_x, "on_x")
    refuse_training(predict)
    generators = group.to(x)
    draw = random_stream(seed, "report", x.device)
    with torch.no_grad():
        fx = predict(x)
    refuse_other_form(fx, generators.shape[-1], on_y, "on_y")
    if not torch.isfinite(fx).all():
        raise ValueError("predictions are NaN or infinite: there is nothing to compare")

    everyone = torch.arange(len(x), device=x.device)

    def gaps(w: Float[Tensor, "N C"], of: Int[Tensor, " N"] = everyone, action: Action = on_x, output: Action = on_y) -> Tensor:
        """f(g x) - rho(g) f(x) of these samples, without a gradient where f passes none on."""
        g = exp_map(w.unsqueeze(1), generators)
        moved = predict(action(g, x[of]).squeeze(1))
        return moved - output(g if moved.requires_grad else g.detach(), fx[of]).squeeze(1)

    with torch.no_grad():
        drawn = torch.stack([uniform((len(x), len(generators)), -reach, reach, draw, x.dtype) for _ in range(samples)])
        differences = torch.stack([gaps(w) for w in drawn])
        floor = norms(gaps(drawn[0], action=there_and_back(on_x), output=trivially))
    errors = norms(differences.flatten(0, 1)).unflatten(0, (samples, len(x)))
    rank = errors.topk(min(starts, samples), dim=0).indices
    of = everyone.expand(len(rank), -1).flatten()
    worst, w, ascended = climbed(lambda w: norms(gaps(w, of)), drawn[rank.flatten(), of], reach, steps)
    place = int(worst.argmax())
    return EquivarianceReport(
        E=norms(differences.mean(0)).mean().item(),
        E_prime=errors.mean().item(),
        percentile_99=errors.flatten().quantile(0.99).item(),
        worst=worst[place].item(),
        worst_sample=int(of[place]),
        worst_element=exp_map(w[place, None], generators)[0],
        ascended=ascended,
        floor=floor.mean().item(),
        size=norms(fx).mean().item(),
    )


@torch.no_grad()
def worst_on_grid(
    predict: Callable[[Tensor], Tensor], generator: Float[Tensor, "1 n n"], x: Float[Tensor, "B *shape"], *, on_x: Action,
    on_y: Action = trivially, reach: float = math.pi, points: int = 720,
) -> float:  # fmt: skip
    """The largest ||f(g x) - rho(g) f(x)||_2 over samples and g = exp(w L), w at equal steps in [-reach, reach]: of one generator no ascent
    is needed, and this is what it is checked by. Ours."""
    w = torch.linspace(-reach, reach, points, dtype=x.dtype, device=x.device)
    g = exp_map(w.view(1, -1, 1).expand(len(x), -1, -1), generator.to(x))
    return norms(predict(on_x(g, x).flatten(0, 1)) - on_y(g, predict(x)).flatten(0, 1)).max().item()


def norms(x: Float[Tensor, "B *shape"]) -> Float[Tensor, " B"]:
    """||x||_2 of each sample."""
    return x.reshape(len(x), -1).norm(dim=1)


def climbed(error: Callable[[Tensor], Tensor], w: Float[Tensor, "N C"], reach: float, steps: int) -> tuple[Tensor, Tensor, bool]:
    """The largest errors on the way from w up their gradients, within the reach, where they were, and whether there was a gradient."""
    with torch.no_grad():
        best, where = error(w), w.clone()
    w = w.clone().requires_grad_()
    optimiser = torch.optim.Adam([w], lr=0.05 * reach)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        with torch.enable_grad():
            now = error(w)
            down = -now.sum()
        if not now.requires_grad:
            return best, where, False
        higher = now.detach() > best
        best, where = torch.where(higher, now.detach(), best), torch.where(higher[:, None], w.detach(), where)
        w.grad = torch.autograd.grad(down, w)[0].nan_to_num()  # a norm has no gradient at zero
        optimiser.step()
        schedule.step()
        w.data.clamp_(-reach, reach)
    return best, where, True
