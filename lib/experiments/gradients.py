"""The gradients of a stack: one program for all of its members under `vmap`, or one after another; traced where there are many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from lib.experiments.traced import Traced
from lib.experiments.trainable import Trainable, seeded
from lib.losses import Phase
from lib.weights import Dual, Gradual, last_name


def stack_gradients(
    template: Trainable, layout: Sequence, weights: Sequence[Mapping[str, float]], mover: Gradual | Dual | None = None,
    noises: Sequence[torch.Generator] | None = None, traced: bool = False,
) -> Callable:  # fmt: skip
    """(theta, x, y, coefficients, phase), all but the last with one entry a member, to (gradients, one dictionary of terms each).

    With a `mover`, whose weights stand in the place of alpha and beta, a call ends with a step of it. Members of a network that draws at
    random take turns, each with draws from its own one of `noises`. `traced` is for a CPU; a network can say that it `traces` not.
    """
    device, model = template.task.generators.device, template.model
    balanced, offsets = (template.method.alpha, template.method.beta), ()
    if mover is not None and mover.of_gradients:
        zero = torch.zeros_like(model.get_parameter(last_name(model)))
        offsets = (torch.stack([zero, zero]),)
    on_cpu = device.type == "cpu"
    traced = traced and on_cpu and noises is None and getattr(model, "traces", True)
    replayed = Traced if traced else lambda function: function

    def loss_of(unknowns: tuple[Tensor, ...], x: Tensor, y: Tensor, coefficients: Tensor | None, weight: Mapping, phase: Phase):
        vector, *offsets = unknowns
        return functional_call(template, unflatten(vector, layout), (x, y, coefficients, weight, phase, *offsets))

    def gradient(unknowns: tuple[Tensor, ...], *rest: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Of one member, by autograd itself: under `torch.func.grad` a SiLU's backward pass is four operators in place of one."""
        unknowns = tuple(unknown.detach().requires_grad_() for unknown in unknowns)
        loss, terms = loss_of(unknowns, *rest)
        return torch.autograd.grad(loss, unknowns, materialize_grads=True), {name: term.detach() for name, term in terms.items()}

    def gradients(unknowns: tuple[Tensor, ...], x: Tensor, y: Tensor, coefficients: Tensor | None, weight: Mapping, phase: Phase):
        dims = ((0, *[None for _ in offsets]), 0, 0, None if coefficients is None else 0, 0 if weight else None, None)
        found, (_, terms) = vmap(grad_and_value(loss_of, has_aux=True), in_dims=dims)(unknowns, x, y, coefficients, weight, phase)
        return found, [{name: term[i] for name, term in terms.items()} for i in range(len(weights))]

    one_by_one, together = [replayed(gradient) for _ in weights], replayed(gradients)

    def in_turn(theta: Tensor, x: Sequence[Tensor], y: Sequence[Tensor], coefficients: Sequence[Tensor] | None, phase: Phase):
        drawn = coefficients or [None] * len(weights)
        live = weights
        if mover is not None:
            live = [{**w, **dict(zip(balanced, pair, strict=True))} for w, pair in zip(weights, mover.weights.T, strict=True)]
        parts = []
        for i, (vector, *rest) in enumerate(zip(theta, x, y, drawn, live, strict=True)):
            with nullcontext() if noises is None else seeded(noises[i], vector.device):
                # a copy, so that its alignment in memory, and with it the rounding, is that of a stack of one
                parts.append(one_by_one[i]((vector.clone(), *offsets), *rest, phase))
        return [torch.stack(g) for g in zip(*(g for g, _ in parts), strict=True)], [terms for _, terms in parts]

    def at_once(theta: Tensor, x: Sequence[Tensor], y: Sequence[Tensor], coefficients: Sequence[Tensor] | None, phase: Phase):
        weight = constant if mover is None else {**constant, **dict(zip(balanced, mover.weights, strict=True))}
        drawn = None if coefficients is None else torch.stack(list(coefficients))
        if traced:
            phase = Phase(*theta.new_tensor(phase))  # no number, so that one list serves for all phases
        return together((theta, *offsets), torch.stack(list(x)), torch.stack(list(y)), drawn, weight, phase)

    constant = {name: torch.tensor([w[name] for w in weights], dtype=template.task.generators.dtype, device=device) for name in weights[0]}
    looped = noises is not None or (on_cpu and getattr(model, "loops_on_cpu", False))

    def both(*batch):
        (found, *last), terms = (in_turn if looped else at_once)(*batch)
        if mover is not None:
            losses = torch.stack([torch.stack([term[name] for term in terms]) for name in ("task", "equiv")])
            mover.step(losses.detach(), last[0].flatten(2).norm(dim=2).T if last else None)
        return found, terms

    return both


def unflatten(vector: Tensor, layout: Sequence[tuple[str, torch.Size, int]]) -> dict[str, Tensor]:
    """A trainable's parameters by name, as views of their flat vector."""
    parts = vector.split([count for *_, count in layout])
    return {name: part.reshape(shape) for (name, shape, _), part in zip(layout, parts, strict=True)}
