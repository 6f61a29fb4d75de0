"""The objective of any method in a training loop of your own: tensors or torch-geometric batches, on any device, in any precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.actions import Action, on_stacks, on_vectors, trivially
from lib.augmenter import GroupAugmenter, LieAugmenter
from lib.checks import refuse_batch_norm, refuse_other_form
from lib.draws import random_stream
from lib.losses import SIMILARITIES, Method, method_named, objective
from lib.protocol import phase_of
from lib.weights import last_name, moving

NAMES = {"lambda_task": "alpha", "lambda_equiv": "beta"}  # what a weight is called here; the others without their `lambda_`
TARGETS = ("label", "prediction")


def refuse_other_basis(name: str, method: Method, augmenter: LieAugmenter) -> None:
    """Raises ValueError for a basis that is learned where the method needs a fixed one, or the reverse, and for another draw."""
    learned, learns = isinstance(augmenter.raw, nn.Parameter), method.basis == "learnable"
    if learned != learns:
        wanted, hint = ("learns its basis", "leave") if learns else ("has a fixed basis", "say")
        raise ValueError(
            f"method {name} {wanted}, this augmenter's is {'learned' if learned else 'fixed'}: {hint} LieAugmenter's generators"
        )
    if (augmenter.draw == "widths") != (method.draw == "widths"):
        raise ValueError(f"method {name} draws coefficients by {method.draw!r}, got an augmenter with draw={augmenter.draw!r}")


def refuse_other_phases(steps: int | None, warmup: float | None, decay: float | None) -> None:
    """Raises ValueError for phases that are no shares of a known number of steps, and for a decay that ends before it begins."""
    if steps is None and (warmup is not None or decay is not None):
        raise ValueError("warmup and decay are shares of the steps: say how many there are, steps=...")
    for name, value in (("warmup", warmup), ("decay", decay)):
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"{name} must be a share of the steps in (0, 1], got {value}")
    if decay is not None and decay <= (warmup or 0.0):
        raise ValueError(f"decay starts where warmup ends and must be larger than {warmup}, got {decay}")


class Objective:
    """L = alpha l(f(x), y) + beta l(f(g x), rho(g) y) + R(augmenter), called with the model, x and y once a step.

    Parameters
    ----------
    method : a row of `lib.losses.METHODS`.  augmenter : who draws g, on the model's device; None for "standard".
    loss : l on a batch of predictions and targets.  copies : K, group elements a sample and step.
    on_x, on_y : how g acts on inputs and targets.  target, similarity : as in `lib.losses.objective`.
    steps, warmup, decay : length of the training and the shares of it in which gamma grows and after which R is out of force.
    gradual : options of `lib.weights.Gradual`, which moves alpha and beta from there after each step; {} takes its defaults.
    dual : options of `lib.weights.Dual`, say {"epsilon": 0.01}: beta moves so that the equivariance term comes to be epsilon.
    vectors : of a graph, the node features that g moves; the same g for all nodes of a graph.
    seed : of the draws of g, which are those of a recorded run with that seed.
    weights : alpha, beta, aug, ortho, sparse, those that the method reads; alpha is 1 and R's are 0 unless given.

    Raises
    ------
    KeyError : an unknown method.  TypeError : x is no tensor and no batch of graphs.  ValueError : a method that plays against a
    discriminator; a weight that the method does not read or that is no number of at least 0, or beta missing; an unknown target or
    similarity; copies below 1; phases without `steps`, or that are none; a method and an augmenter, or an augmenter and data, that do not
    go together; weights that move in two ways, or that the method has not; a model in training that normalises over the batch.

    Source: SEMoLA eq. (1), REMUL eqs. (6)-(9).
    """

    def __init__(
        self,
        method: str,
        augmenter: nn.Module | None = None,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        copies: int = 1,
        on_x: Action = on_vectors,
        on_y: Action = trivially,
        target: str = "label",
        similarity: str = "features",
        steps: int | None = None,
        warmup: float | None = None,
        decay: float | None = None,
        gradual: Mapping[str, Any] | None = None,
        dual: Mapping[str, Any] | None = None,
        vectors: Sequence[str] = ("pos",),
        seed: int = 0,
        **weights: float,
    ):
        self.method, self.augmenter, self.copies, self.seed = method_named(method), augmenter, copies, seed
        if self.method.adversarial:
            raise ValueError(
                f"method {method} has no loss of a network: it plays against a discriminator, lib.experiments.adversarial.discover"
            )
        if (augmenter is None) != (self.method.basis is None):
            raise ValueError(f"method {method} needs {'no' if self.method.basis is None else 'an'} augmenter")
        known = {NAMES.get(name, name.removeprefix("lambda_")): name for name in self.method.hyperparameters}
        if unknown := sorted(set(weights) - set(known)):
            raise ValueError(f"method {method} reads no weight {', '.join(unknown)}: it reads the weights {', '.join(known) or 'none'}")
        if "beta" in known and "beta" not in weights:
            raise ValueError(f"method {method} reads the weights {', '.join(known)}: beta is missing, say beta=1.0")
        if wrong := [f"{name} = {value!r}" for name, value in weights.items() if not isinstance(value, Real) or not 0 <= value < math.inf]:
            raise ValueError(f"a weight must be a number of at least 0, got {', '.join(wrong)}")
        if copies < 1:
            raise ValueError(f"copies must be at least 1, got {copies}: the group elements a sample and step")
        for name, value, choices in (("target", target, TARGETS), ("similarity", similarity, SIMILARITIES)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        wanted = GroupAugmenter if self.method.basis == "group" else LieAugmenter
        if augmenter is not None and not isinstance(augmenter, wanted):
            how = "draws elements of a known group" if wanted is GroupAugmenter else "draws from a basis"
            other = ", or take method 'augmented', for a basis that is known or was found" if wanted is GroupAugmenter else ""
            raise ValueError(f"method {method} {how}: give it a {wanted.__name__}, got {type(augmenter).__name__}{other}")
        if isinstance(augmenter, LieAugmenter):
            refuse_other_basis(method, self.method, augmenter)
        default = dict.fromkeys(known, 0.0) | {"alpha": 1.0}
        self.weights = {name: {**default, **weights}[short] for short, name in known.items()}
        refuse_other_phases(steps, warmup, decay)
        phases = {"warmup": warmup, "decay": decay, "steps": steps}
        self.phases = {name: value for name, value in phases.items() if value is not None}
        self.options = {"loss": loss, "rho_x": on_x, "rho_y": on_y, "target": target, "similarity": similarity}
        self.vectors, self.step, self.draws = (vectors,) if isinstance(vectors, str) else tuple(vectors), 0, None
        balanced = [self.weights.get(name, name) for name in (self.method.alpha, self.method.beta)]
        if not {self.method.alpha, self.method.beta} <= self.weights.keys() and (gradual, dual) != (None, None):
            raise ValueError(f"method {method} has no alpha and beta that could move: leave gradual and dual out")
        if dual is not None and 0 in balanced:
            raise ValueError(f"the price of a bound starts from alpha and beta above 0, got {balanced[0]} and {balanced[1]}")
        self.moving = moving({"gradual": gradual, "dual": dual}, torch.tensor(balanced, dtype=torch.float64)[:, None])

    def __call__(self, model: Callable[[Any], Tensor], x: Any, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to be minimised, and its terms by name; every call is a step."""
        self.step += 1
        refuse_batch_norm(model)
        phase = phase_of(self.phases, self.step)
        if self.draws is None:
            self.draws = random_stream(self.seed, "augment", y.device)
        graphs = None if isinstance(x, Tensor) else getattr(x, "batch", None)
        if graphs is None and not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor or a batch of graphs, got {type(x).__name__}: make one with Batch.from_data_list([...])")
        coefficients, options = None, dict(self.options)
        if self.augmenter is not None:
            count = len(x) if graphs is None else int(graphs.max()) + 1
            coefficients = self.augmenter.coefficients(count, self.copies, self.draws, phase.reach)
        inputs, stack = model, x
        if graphs is not None:
            inputs = Moved(model, x, self.vectors)
            stack, coefficients = inputs.stack, None if coefficients is None else coefficients[graphs]
            options |= {"rho_x": on_stacks, "rho_y": inputs.on_y(self.options["rho_y"], y)}
        if coefficients is not None:
            self.refuse_other_data(stack, y, coefficients, options["rho_x"])
        total, terms = objective(self.method, self.weights, inputs, self.augmenter, stack, y, coefficients, phase=phase, **options)
        if self.moving is not None and {"task", "equiv"} <= terms.keys():  # else there is nothing to balance
            self.move(model, terms)
        return total, {name: term.detach() for name, term in terms.items()}

    def refuse_other_data(self, x: Tensor, y: Tensor, coefficients: Tensor, on_x: Action) -> None:
        """Raises ValueError for data of a precision, dimension or form that the augmenter or an action does not have."""
        if {x.dtype, coefficients.dtype} == {torch.float32, torch.float64}:
            raise ValueError(f"the data are {x.dtype} and the augmenter is {coefficients.dtype}: call augmenter.to({x.dtype})")
        if y.is_floating_point() and y.dtype != x.dtype:
            raise ValueError(f"the data are {x.dtype} and the targets {y.dtype}: call y.to({x.dtype})")
        n = coefficients.shape[-1] if self.method.basis == "group" else self.augmenter.raw.shape[-1]
        refuse_other_form(x, n, on_x, "on_x")
        refuse_other_form(y, n, self.options["rho_y"], "on_y")

    def move(self, model: nn.Module, terms: Mapping[str, Tensor]) -> None:
        """A step of weights that move, from both data terms and, of gradual ones, the norms of their gradients on the last layer."""
        names, norms = (self.method.alpha, self.method.beta), None
        parts = {"task": self.weights[names[0]], "equiv": self.weights[names[1]]}
        if self.moving.of_gradients:
            last = model.get_parameter(last_name(model))
            norms = [torch.autograd.grad(weight * terms[name], last, retain_graph=True)[0].norm() for name, weight in parts.items()]
        stacks = [values and torch.stack(values).double().cpu()[:, None] for values in ([terms[name].detach() for name in parts], norms)]
        self.moving.step(*stacks)
        self.weights |= dict(zip(names, self.moving.weights[:, 0].tolist(), strict=True))


class Moved:
    """A model of graphs as a function of what is moved of them: (nodes, vectors, n), or as many copies of all nodes at once."""

    def __init__(self, model: Callable[[Any], Tensor], data: Any, names: Sequence[str]):
        self.model, self.data, self.names = model, data, names
        self.stack: Float[Tensor, "nodes vectors n"] = torch.stack([data[name] for name in names], 1)

    def __call__(self, stacks: Float[Tensor, "nodes_and_copies vectors n"]) -> Tensor:
        predictions = []
        for copy in stacks.unflatten(0, (len(self.stack), -1)).unbind(1):
            data = self.data.clone()
            for name, values in zip(self.names, copy.unbind(1), strict=True):
                data[name] = values
            predictions.append(self.model(data))
        return torch.stack(predictions, 1).flatten(0, 1)

    def on_y(self, action: Action, y: Tensor) -> Action:
        """The action on targets, one a node or one a graph, from elements that stand once for each node."""
        if len(y) == len(self.stack):
            return action
        first = torch.searchsorted(self.data.batch, torch.arange(len(y), device=y.device))
        return lambda g, goal: action(g[first], goal)
