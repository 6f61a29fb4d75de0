"""Training: one loop for every method; runs that differ in their seed or weights only train as one stack.

A run is a flat dictionary of plain values (see `lib.runs`): task, scenario, model, method, hyperparameters, protocol and seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lib import metrics, tasks
from lib.evaluation import evaluate, validation_loss
from lib.gradual import Gradual, last_name
from lib.groups import random_stream
from lib.learner import Learner, Run
from lib.losses import Phase
from lib.surface import loss_surface, ruggedness
from lib.tasks import Task

# What may differ within a stack: everything else fixes a shape, a loop length or the exponential map's bound.
STACKABLE = ("seed", "lr", "lambda_task", "lambda_equiv", "lambda_aug", "lambda_ortho", "lambda_sparse")
FAR = 1_000_000  # between the seeds of a run's restarts
EVALUATIONS = 10  # validation passes of a run that names no number, evenly spaced; the best one's weights are kept


class NonFiniteLossError(FloatingPointError):
    """A loss or a parameter became NaN or infinite."""


def fit(
    task: Task, runs: Sequence[Run], progress: Callable[[int], None] | None = None, *, known: Tensor | None = None, noise: float = 0.0
) -> list[dict[str, Any]]:
    """Train the runs as one stack on the task's device and evaluate the best weights on validation; one result a run.

    Each run draws from generators of its own, so its result does not depend on the stack: on a CPU exactly, but up to rounding where a
    layer has a single output (scalar predictions, GATr). On a GPU, and for networks that do not say `loops_on_cpu`, the stack is one
    program under `vmap`; else its members take turns.

    Parameters
    ----------
    progress : called with the number of optimiser steps just done, summed over the stack.
    known : generators (C, n, n) found before, in place of the task's ground truth, for fixed augmenters and equivariant networks.
    noise : standard deviation of what is added to the start of every parameter, the basis too.

    A run with a `surface` has the loss around its best weights too, on that many points in each of two directions. A run with `restarts` is
    trained that many times, see `best_of_restarts`.

    Raises
    ------
    ValueError : runs that differ in more than `STACKABLE`.  NonFiniteLossError : a loss became NaN or infinite.

    Source: SEMoLA A.1 (Adam, one learning rate, other defaults). Keeping the best weights on validation is Ours for SEMoLA; for REMUL it is
    GATr's early stopping, with fewer validations unless a run's `evaluations` asks for more, and without a network's own penalty in the
    validation loss. A remainder of the samples smaller than a batch is left out.
    """
    first = runs[0]
    for run in runs[1:]:
        differing = [key for key in {*first, *run} if first.get(key) != run.get(key) and key not in STACKABLE]
        if differing:
            raise ValueError(f"runs of one stack may differ in {', '.join(STACKABLE)} only, these differ in {', '.join(sorted(differing))}")

    if "restarts" in first:
        return best_of_restarts(task, runs, progress, known=known, noise=noise)
    started = time.perf_counter()
    device = task.generators.device
    learners = [Learner(run, task, known) for run in runs]
    template = learners[0]
    layout = [(name, p.shape, p.numel()) for name, p in template.named_parameters()]
    theta = torch.stack([nn.utils.parameters_to_vector(learner.parameters()).detach() for learner in learners])
    if noise:
        theta = theta + noise * torch.randn(theta.shape, generator=random_stream(0, "noise"), dtype=theta.dtype).to(device)
    rates = torch.tensor([[run["lr"]] for run in runs], dtype=theta.dtype, device=device)
    weights = [{name: run[name] for name in template.method.hyperparameters} for run in runs]
    gradual = None
    if "gradual" in first:
        initial = [[weight[name] for weight in weights] for name in (template.method.alpha, template.method.beta)]
        gradual = Gradual(theta.new_tensor(initial), **first["gradual"])
    batches = [random_stream(run["seed"], "batches", device) for run in runs]
    augmentations = [random_stream(run["seed"], "augment", device) for run in runs]
    gradients = stack_gradients(template, layout, weights, gradual)
    adam = Adam(theta, rates)
    best, best_loss = theta.clone(), torch.full((len(runs), 1), torch.inf, dtype=theta.dtype, device=device)
    curves, clipped = [{} for _ in runs], torch.zeros_like(best_loss)
    (x_train, y_train), steps, size = task.train, first["steps"], min(first["batch_size"], len(task.train[1]))
    orders = [torch.empty(0, dtype=torch.long, device=device)] * len(runs)
    passes = first.get("evaluations", EVALUATIONS)
    checks = {max(1, round(steps * (i + 1) / passes)) for i in range(passes)}
    for step in range(1, steps + 1):
        for i, generator in enumerate(batches):
            if len(orders[i]) < size:
                orders[i] = torch.randperm(len(y_train), generator=generator, device=device)
        chosen, orders = [order[:size] for order in orders], [order[size:] for order in orders]
        coefficients, phase = None, phase_of(first, step)
        if template.augmenter is not None:
            coefficients = [template.augmenter.coefficients(size, first["copies"], draws, phase.reach) for draws in augmentations]
        gradient, terms = gradients(theta, [x_train[i] for i in chosen], [y_train[i] for i in chosen], coefficients, phase)
        if "clip" in first:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient, clipped = gradient * (first["clip"] / norm).clamp(max=1.0), clipped + (norm > first["clip"])
        adam.step(theta, gradient, decayed(first, step))
        if step in checks:
            losses = []
            for i, curve in enumerate(curves):
                nn.utils.vector_to_parameters(theta[i].clone(), template.parameters())
                losses.append(validation_loss(template.model, task))
                point = {"step": step, "val_loss": losses[i].item(), **{name: value.item() for name, value in terms[i].items()}}
                if not all(map(math.isfinite, point.values())):
                    raise NonFiniteLossError(f"step {step} of seed {runs[i]['seed']}: {point}; lower lr or gamma, or look at the data")
                if gradual is not None:
                    point |= {name: value[i].item() for name, value in gradual.state().items()}
                if "clip" in first:
                    point["clipped"] = clipped[i].item() / step  # the share of the steps so far
                if template.averages:
                    point["cosine"] = metrics.basis_cosine(template.augmenter.basis().detach(), task.generators)
                for name, value in point.items():
                    curve.setdefault(name, []).append(value)
            now = torch.stack(losses)[:, None]
            best, best_loss = torch.where(now < best_loss, theta, best), torch.minimum(now, best_loss)
        if progress:
            progress(len(runs))
    trained = time.perf_counter()

    results = []
    for run, vector, curve in zip(runs, best, curves, strict=True):
        nn.utils.vector_to_parameters(vector.clone(), template.parameters())  # aligned as in a stack of one
        scores, basis = evaluate(template, task, run)
        result = {"metrics": scores, "curves": curve, "basis": basis, "train_s": (trained - started) / len(runs)}
        if "surface" in run:
            grid = loss_surface(template.model, partial(task_loss, task), run["surface"], run["seed"])
            result |= {"surface": grid.tolist(), "metrics": {**scores, **ruggedness(grid)}}
        results.append(result)
    return results


def best_of_restarts(task: Task, runs: Sequence[Run], progress: Callable[[int], None] | None = None, **options) -> list[dict[str, Any]]:
    """`fit` from as many seeds as a run has `restarts`, the first its own; the result with the best validation score, and every restart's.

    Ours: which basis a run settles on is a matter of its start; where it is no symmetry the averaged predictor's validation score shows it.
    """
    count = runs[0]["restarts"]
    single = [{name: value for name, value in run.items() if name != "restarts"} for run in runs]
    tried = fit(task, [{**run, "seed": run["seed"] + FAR * i} for run in single for i in range(count)], progress, **options)
    score, best = f"val_{task.metric_name}", max if task.metric_name == "accuracy" else min
    results = []
    for start in range(0, len(tried), count):
        group = tried[start : start + count]
        kept = best(group, key=lambda result: result["metrics"][score])
        spent = sum(result["train_s"] for result in group)
        results.append({**kept, "train_s": spent, "restarts": [result["metrics"] for result in group]})
    return results


def task_loss(task: Task, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """The task's loss over all training samples."""
    return task.loss(predict(task.train[0]), task.train[1])


def phase_of(run: Run, step: int) -> Phase:
    """Gamma grows linearly over the first `warmup` of the steps; from there R's weights fall linearly, to 0 at `decay` of the steps."""
    reach, push = 1.0, 1.0
    if "warmup" in run:
        reach = min(1.0, step / (run["warmup"] * run["steps"]))
    if "decay" in run:
        push = min(1.0, max(0.0, run["decay"] - step / run["steps"]) / (run["decay"] - run.get("warmup", 0.0)))
    return Phase(reach, push)


STAIRS = 50  # of the learning rate


def decayed(run: Run, step: int) -> float:
    """The learning rate's factor: from 1 towards `lr_decay` in 50 equal stairs. Source: GATr's code, which REMUL follows on N-body."""
    return run.get("lr_decay", 1.0) ** (STAIRS * (step - 1) // run["steps"] / STAIRS)


def stack_gradients(
    template: Learner, layout: Sequence, weights: Sequence[Mapping[str, float]], gradual: Gradual | None = None
) -> Callable:
    """(theta, x, y, coefficients, phase), all but the last with one entry a member, to (gradients, one dictionary of terms each).

    With `gradual` weights in the place of alpha and beta, a call ends with a step of theirs.
    """
    balanced, offsets = (template.method.alpha, template.method.beta), ()
    if gradual is not None:
        zero = torch.zeros_like(template.model.get_parameter(last_name(template.model)))
        offsets = (torch.stack([zero, zero]),)

    def loss_of(unknowns: tuple[Tensor, ...], x: Tensor, y: Tensor, coefficients: Tensor | None, weight: Mapping, phase: Phase):
        vector, *offsets = unknowns
        return functional_call(template, unflatten(vector, layout), (x, y, coefficients, weight, phase, *offsets))

    gradient = grad_and_value(loss_of, has_aux=True)

    def in_turn(theta: Tensor, x: Sequence[Tensor], y: Sequence[Tensor], coefficients: Sequence[Tensor] | None, phase: Phase):
        draws = coefficients or [None] * len(weights)
        live = weights
        if gradual is not None:
            live = [{**w, **dict(zip(balanced, pair, strict=True))} for w, pair in zip(weights, gradual.weights.T, strict=True)]
        # a copy of each member's vector, so that its alignment in memory, and with it the rounding, is that of a stack of one
        parts = [gradient((vector.clone(), *offsets), *rest, phase) for vector, *rest in zip(theta, x, y, draws, live, strict=True)]
        return [torch.stack(g) for g in zip(*(g for g, _ in parts), strict=True)], [terms for _, (_, terms) in parts]

    def at_once(theta: Tensor, x: Sequence[Tensor], y: Sequence[Tensor], coefficients: Sequence[Tensor] | None, phase: Phase):
        weight = {name: theta.new_tensor([w[name] for w in weights]) for name in weights[0]}
        weight |= {} if gradual is None else dict(zip(balanced, gradual.weights, strict=True))
        draws = None if coefficients is None else torch.stack(list(coefficients))
        dims = ((0, *[None for _ in offsets]), 0, 0, None if draws is None else 0, 0 if weight else None, None)
        g, (_, terms) = vmap(gradient, in_dims=dims)((theta, *offsets), torch.stack(list(x)), torch.stack(list(y)), draws, weight, phase)
        return g, [{name: term[i] for name, term in terms.items()} for i in range(len(weights))]

    looped = template.task.generators.device.type == "cpu" and getattr(template.model, "loops_on_cpu", False)

    def both(*batch):
        (found, *last), terms = (in_turn if looped else at_once)(*batch)
        if gradual is not None:
            losses = torch.stack([torch.stack([term[name] for term in terms]) for name in ("task", "equiv")])
            gradual.step(losses, last[0].flatten(2).norm(dim=2).T)
        return found, terms

    return both


def unflatten(vector: Tensor, layout: Sequence[tuple[str, torch.Size, int]]) -> dict[str, Tensor]:
    """A learner's parameters by name, as views of their flat vector."""
    parts = vector.split([count for *_, count in layout])
    return {name: part.reshape(shape) for (name, shape, _), part in zip(layout, parts, strict=True)}


class Adam:
    """Adam (Kingma & Ba, Algorithm 1) with default moments on a stack of flat vectors, one learning rate each; it steps in place.

    Ours, for speed: on a CPU it goes through the vectors a block at a time, so that what it computes on the way stays in the cache. No
    number depends on the block.
    """

    BLOCK = 2**17  # entries of each vector

    def __init__(self, theta: Tensor, rates: Tensor, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.rates, self.betas, self.eps, self.steps = rates, betas, eps, 0
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)
        self.block = self.BLOCK if theta.device.type == "cpu" else theta.shape[1]

    def step(self, theta: Tensor, gradient: Tensor, factor: float = 1.0) -> None:
        self.steps += 1
        rates, (b1, b2) = factor * self.rates, self.betas
        for at, g, mean, square in zip(*(part.split(self.block, 1) for part in (theta, gradient, self.mean, self.square)), strict=True):
            mean.mul_(b1).add_(g * (1 - b1))
            square.mul_(b2).add_((g * g).mul_(1 - b2))
            size = (square / (1 - b2**self.steps)).sqrt_().add_(self.eps)
            at.sub_((mean / (1 - b1**self.steps)).mul_(rates).div_(size))


def shrunk(run: Run) -> dict[str, Any]:
    """The run at the size of a canary, without what does not matter there. Rounding must not decide: gamma is small (of an image that has
    all but left the frame only rounding is left), and the steps are (Adam blows up gradients near its epsilon)."""
    small = {"seed": 0, "steps": 3, "batch_size": 4, "error_samples": 2, "error_draws": 2, "test_copies": 2}
    small |= {"copies": min(run.get("copies", 1), 3), "gamma": min(run.get("gamma", 0.3), 0.3), "lr": 1e-5}
    small |= {"surface": 3} if "surface" in run else {}
    small |= {"basis": "not the ground truth"} if "basis" in run else {}
    return {name: value for name, value in {**run, **small}.items() if name not in ("n_train", "n_eval")}


def canary(run: Run) -> dict[str, Any]:
    """What the run's code computes on a tiny made-up problem: three optimiser steps and every metric, float64, CPU, fixed seed.

    Two versions of the code that agree here agree on what the run's record holds; it needs no data file. The start is perturbed: a
    constant basis leaves pixels exactly on their places, where interpolation has kinks and rounding decides.
    """
    options = {name: run[name] for name in ("scenario", "timesteps", "scaled", "axes", "assignment", "centred") if name in run}
    task = tasks.load_tiny(run["task"], **options).to("cpu", torch.float64)
    # a basis that was discovered before is replaced by one that is not the ground truth
    known = 1.1 * task.generators.roll(1, -1) if "basis" in run else None
    result = fit(task, [shrunk(run)], known=known, noise=1e-3)[0]
    return {"metrics": result["metrics"], "curves": result["curves"], "basis": result["basis"]}
