"""Runs that train together: their parameters are the rows of one matrix, and a step moves them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib import metrics
from lib.draws import random_stream
from lib.experiments.evaluation import validation_loss
from lib.experiments.gradients import stack_gradients
from lib.experiments.trainable import Trainable, draws
from lib.protocol import Batches, Run, add_point, decayed, phase_of
from lib.tasks import Task
from lib.weights import moving

# What may differ within a stack: everything else fixes a shape, a loop length or the exponential map's bound.
STACKABLE = ("seed", "lr", "lambda_task", "lambda_equiv", "lambda_aug", "lambda_ortho", "lambda_sparse", "lambda_width")

# Steps from which on a stack is traced, which takes a tenth of a second to two; what is probed (`lib.experiments.timing`) has more.
TRACED_FROM = 40


class Stack:
    """Runs that differ in `STACKABLE` only, each with generators of its own: its result does not depend on the others.

    Attributes
    ----------
    theta : (runs, parameters), today's.  best : the same, as they were at the look with the lowest loss on validation.
    curves : what was found at each look, by run.

    Parameters
    ----------
    known, noise : see `lib.experiments.training.fit`.

    Raises ValueError for runs that differ in more.
    """

    def __init__(self, task: Task, runs: Sequence[Run], known: Tensor | None = None, noise: float = 0.0):
        self.task, self.runs, self.first = task, runs, runs[0]
        refuse_differing(runs)
        device = task.generators.device
        trainables = [Trainable(run, task, known) for run in runs]
        self.template = template = trainables[0]
        layout = [(name, p.shape, p.numel()) for name, p in template.named_parameters()]
        self.theta = torch.stack([nn.utils.parameters_to_vector(trainable.parameters()).detach() for trainable in trainables])
        if noise:
            draw = torch.randn(self.theta.shape, generator=random_stream(0, "noise"), dtype=self.theta.dtype)
            self.theta = self.theta + noise * draw.to(device)
        self.best, self.best_loss = self.theta.clone(), self.theta.new_full((len(runs), 1), torch.inf)
        self.adam = Adam(self.theta, self.theta.new_tensor([[run["lr"]] for run in runs]))
        weights = [{name: run[name] for name in template.method.hyperparameters} for run in runs]
        balanced = [[weight.get(name, name) for weight in weights] for name in (template.method.alpha, template.method.beta)]
        self.moving = moving(self.first, self.theta.new_tensor(balanced))
        count = len(task.train[1])
        self.size = min(self.first["batch_size"], count)
        self.batches = [Batches(count, self.size, random_stream(run["seed"], "batches", device)) for run in runs]
        self.augmentations = [random_stream(run["seed"], "augment", device) for run in runs]
        noises = [random_stream(run["seed"], "dropout") for run in runs] if draws(template.model, task.train[0][:2]) else None
        self.noises = noises or []
        self.gradients = stack_gradients(template, layout, weights, self.moving, noises, traced=self.first["steps"] >= TRACED_FROM)
        self.curves, self.norm = [{} for _ in runs], None
        self.clipped = self.theta.new_zeros(len(runs), 1)

    def step(self, step: int) -> list[dict[str, Tensor]]:
        """One step of the optimiser; the terms of each run's objective before it."""
        (x, y), first, augmenter = self.task.train, self.first, self.template.augmenter
        chosen, coefficients, phase = [next(batch) for batch in self.batches], None, phase_of(first, step)
        if augmenter is not None:
            coefficients = [augmenter.coefficients(self.size, first["copies"], draw, phase.reach) for draw in self.augmentations]
        gradient, terms = self.gradients(self.theta, [x[i] for i in chosen], [y[i] for i in chosen], coefficients, phase)
        if "clip" in first:
            self.norm = gradient.norm(dim=1, keepdim=True)
            self.clipped = self.clipped + (self.norm > first["clip"])
            gradient = gradient * (first["clip"] / self.norm).clamp(max=1.0)
        self.adam.step(self.theta, gradient, decayed(first, step))
        return terms

    def look(self, step: int, terms: Sequence[Mapping[str, Tensor]], handicap: float = 1.0) -> None:
        """Look at validation after that step: each run's curves go on, with the step's terms, and the weights are kept where the loss,
        times the `handicap`, is the lowest so far."""
        losses = []
        for i, curves in enumerate(self.curves):
            trainable = self.trainable(self.theta[i])
            losses.append(validation_loss(trainable.model, self.task))
            point = {"step": step, "val_loss": losses[i].item(), **{name: value.item() for name, value in terms[i].items()}}
            if self.moving is not None:
                point |= {name: value[i].item() for name, value in self.moving.state().items()}
            if "clip" in self.first:  # the share of the steps so far, and the last one's
                point |= {"clipped": self.clipped[i].item() / step, "gradient_norm": self.norm[i].item()}
            if trainable.averages:
                point["cosine"] = metrics.basis_cosine(trainable.augmenter.basis().detach(), self.task.generators)
            add_point(curves, point, self.runs[i]["seed"])
        now = torch.stack(losses)[:, None] * handicap
        self.best, self.best_loss = torch.where(now < self.best_loss, self.theta, self.best), torch.minimum(now, self.best_loss)

    def state(self) -> dict[str, Tensor]:
        """All that later steps depend on: parameters, today's and the best, what the optimiser and weights that move remember, what is left
        of each epoch, all streams."""
        found = {prefix + name: getattr(holder, name) for prefix, holder, name in self.remembered()}
        found |= {f"order.{i}": batches.order for i, batches in enumerate(self.batches)}
        return found | {f"stream.{i}": stream.get_state() for i, stream in enumerate(self.streams())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` said."""
        for prefix, holder, name in self.remembered():
            setattr(holder, name, state[prefix + name])
        for i, batches in enumerate(self.batches):
            batches.order = state[f"order.{i}"]
        for i, stream in enumerate(self.streams()):
            stream.set_state(state[f"stream.{i}"].cpu())

    def remembered(self) -> list[tuple[str, object, str]]:
        """Prefix, holder and name of each tensor that a step changes; those of moving weights are there from their first step on."""
        own = [("", self, name) for name in ("theta", "best", "best_loss", "clipped")]
        own += [("adam.", self.adam, name) for name in ("mean", "square", "steps")]
        return own + [("moving.", self.moving, name) for name in (() if self.moving is None else self.moving.remembered)]

    def streams(self) -> list[torch.Generator]:
        """What the members draw from: batches, augmentations, dropout."""
        return [*(batches.draws for batches in self.batches), *self.augmentations, *self.noises]

    def trainable(self, vector: Float[Tensor, " parameters"]) -> Trainable:
        """The trainable with these parameters; the same one at every call."""
        nn.utils.vector_to_parameters(vector.clone(), self.template.parameters())  # aligned as in a stack of one
        return self.template


def refuse_differing(runs: Sequence[Run]) -> None:
    """Raises ValueError for runs that cannot be of one stack."""
    for run in runs[1:]:
        differing = [key for key in {*runs[0], *run} if runs[0].get(key) != run.get(key) and key not in STACKABLE]
        if differing:
            raise ValueError(f"runs of one stack may differ in {', '.join(STACKABLE)} only, these differ in {', '.join(sorted(differing))}")


class Adam:
    """Adam (Kingma & Ba, Algorithm 1) with default moments on a stack of flat vectors, one learning rate each; it steps in place.

    Its operator is the one under `torch.optim.Adam(fused=True)`, one pass over memory a vector (benchmarks/adam.py). Ours is to call it
    directly: the class costs a second's import, and in small stacks more than the operator.
    """

    def __init__(self, theta: Tensor, rates: Tensor, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        rates = rates.flatten().tolist()
        self.members = {rate: [i for i, other in enumerate(rates) if other == rate] for rate in rates}
        self.options = {"beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)
        self.steps = torch.zeros((), device=theta.device)

    def step(self, theta: Tensor, gradient: Tensor, factor: float = 1.0) -> None:
        self.steps += 1
        stacks = theta, gradient.contiguous(), self.mean, self.square  # the operator takes entries to be neighbours and does not ask
        for rate, members in self.members.items():
            vectors = [[stack[i] for i in members] for stack in stacks]
            torch._fused_adam_(*vectors, [], [self.steps] * len(members), lr=factor * rate, **self.options)
