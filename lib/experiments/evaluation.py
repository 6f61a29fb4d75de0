"""What came out of a training: its predictors, and every metric of them and of its basis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from lib import metrics
from lib.actions import trivially
from lib.augmenter import averaged_prediction
from lib.draws import random_stream
from lib.protocol import Run
from lib.robustness import equivariance_report, worst_on_grid
from lib.tasks import Task

RESIDUALS = 1000  # samples that the residual of a law is the median of


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every layer in its evaluation mode: without dropout. Afterwards each is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def validation_loss(model: nn.Module, task: Task) -> Tensor:
    """l(f(x), y) over the validation set, without augmentation: the same yardstick for every method."""
    x, y = task.val
    parts = zip(x.split(task.chunk), y.split(task.chunk), strict=True)
    with evaluating(model):
        return torch.stack([task.loss(model(xi), yi) * len(yi) for xi, yi in parts]).sum() / len(y)


def predictors(trainable: nn.Module, task: Task, run: Run) -> dict[str, metrics.Predictor]:
    """The average of g^-1 f(g x) under "" and f(x) under "_plain": the same f(x) in both places without an augmenter."""

    def plain(x: Tensor) -> Tensor:
        with evaluating(trainable.model):
            return torch.cat([task.output(trainable.model(part)) for part in x.split(task.chunk)])

    if not trainable.averages:
        return {"": plain, "_plain": plain}
    averaged = partial(
        averaged_prediction, plain, trainable.augmenter, copies=run["test_copies"],
        generator=random_stream(run["seed"], "inference", task.generators.device), rho_x=task.rho_x, rho_y=task.rho_y,
    )  # fmt: skip
    return {"": averaged, "_plain": plain}


@torch.no_grad()
def evaluate(trainable: nn.Module, task: Task, run: Run) -> tuple[dict[str, float], list | None]:
    """Metrics of what was trained, by name, and its basis.

    Every metric of the prediction stands twice: of the averaged predictor, and of f(x) with the suffix `_plain`. E and E' are taken over
    each of the task's groups: the first without its name, the others with theirs, E_so2; of networks that say `equivariant`, exactly, they
    are taken in float64, so that their rounding is not mistaken for a symmetry that is missing. For
    E the averaged predictor draws from its stream anew, whatever it has predicted before.
    """
    scores, first = {}, next(iter(task.groups))
    turned = trainable.in_double() if getattr(trainable.model, "equivariant", False) else trainable
    of_turned, data = predictors(turned, turned.task, run), turned.task
    x_error = data.test[0][: run["error_samples"]]
    for suffix, predict in predictors(trainable, task, run).items():
        if suffix and not trainable.averages:
            scores |= {name + suffix: value for name, value in scores.items()}
            break
        for split, (x, y) in {"val": task.val, "test": task.test, **task.further}.items():
            output = torch.cat([predict(part) for part in x.split(task.chunk)])
            scores[f"{split}_{task.metric_name}{suffix}"] = task.metric(output, y).item()
        reported = lambda x, predict=of_turned[suffix]: data.reported(predict(x))  # noqa: E731
        actions = {"": data.rho_x} | ({"floor_": metrics.there_and_back(data.rho_x)} if data.interpolates else {})
        for (prefix, action), (group, sample) in itertools.product(actions.items(), data.groups.items()):
            draw = random_stream(run["seed"], "errors", data.generators.device)
            e, e_prime = metrics.equivariance_errors(
                reported, x_error, lambda count, draw=draw, sample=sample: sample(count, draw, data.generators.dtype),
                run["error_draws"], rho_x=action, rho_y=data.rho_y,
            )  # fmt: skip
            name = "" if group == first else f"_{group}"
            scores |= {f"{prefix}E{name}{suffix}": e, f"{prefix}E_prime{name}{suffix}": e_prime}

    if "worst_samples" in run:
        scores |= worst_cases(of_turned["_plain"], turned.model, data, run)
    if not trainable.averages:
        return scores, None
    basis = trainable.augmenter.basis()
    return {**scores, **basis_scores(basis, task)}, basis.tolist()


def worst_cases(predict: metrics.Predictor, model: nn.Module, task: Task, run: Run) -> dict[str, float]:
    """Of f(x), on some samples of each test set, or else of test and validation: mean, 99th percentile, worst case found, rounding and
    size, see `equivariance_report`; of one generator the worst of a grid, too. Where the action on each layer is known, what it adds to
    the Lie derivative, `lie_1` the first, and the whole, `lie`.
    """
    scores = {}
    reported = lambda x: task.reported(predict(x))  # noqa: E731
    sets = {"test": task.test, **(task.further or {"val": task.val})}
    for (split, (x, _)), (name, reach) in itertools.product(sets.items(), task.reach.items()):
        x, name = x[: run["worst_samples"]], f"_{name}" if name else ""
        given = {"on_x": task.rho_x, "on_y": task.rho_y, "reach": reach}
        report = equivariance_report(
            reported, task.generators, x, **given, samples=run["error_draws"], steps=run["worst_steps"], seed=run["seed"]
        )
        found = {"mean": report.E_prime, "percentile_99": report.percentile_99, "worst": report.worst, "floor": report.floor}
        scores |= {f"{split}_{key}{name}": value for key, value in {**found, "size": report.size}.items()}
        if len(task.generators) == 1:
            scores[f"{split}_grid{name}"] = worst_on_grid(reported, task.generators, x, **given)
    if hasattr(model, "lie_derivative"):
        *parts, whole = model.lie_derivative(task.test[0][: run["worst_samples"]])
        scores |= {f"lie_{k}": norm for k, norm in enumerate(parts, 1)} | {"lie": whole}
    return scores


def basis_scores(basis: Tensor, task: Task) -> dict[str, float]:
    """Scores of a basis against the task's ground truth and, where the task knows it, its law."""
    found_in_true, true_in_found = metrics.inclusions(basis, task.generators, task.points, task.blocks)
    scores = {
        "cosine": metrics.basis_cosine(basis, task.generators),
        "mae": metrics.basis_mae(basis, task.generators),
        "dimension_found": float(metrics.dimension(basis)),
        "dimension_true": float(metrics.dimension(task.generators)),
        "found_in_true": found_in_true,
        "true_in_found": true_in_found,
        "action_score": min(found_in_true, true_in_found),
        "closure": metrics.bracket_closure(basis),
    }
    if task.angles:
        angles = metrics.principal_angles(basis, task.generators, task.points)
        scores |= {"mean_angle": angles.mean().item(), "largest_angle": angles.max().item()}
    if task.law is not None:
        noise = torch.randn(basis.shape, generator=random_stream(0, "random"), dtype=basis.dtype).to(basis.device)
        for name, generators in {"": basis, "_truth": task.generators, "_random": noise}.items():
            draw = random_stream(0, "residual", basis.device)
            scores[f"residual{name}"] = metrics.symmetry_residual(
                task.law, generators, task.test[0][:RESIDUALS], draw, rho_x=task.rho_x, rho_y=task.rho_y
            )
        if task.rho_y is trivially:
            x = task.test[0][: 10 * task.size**2].double()
            algebra = metrics.symmetry_algebra(task.law, x, task.size, rho_x=task.rho_x)
            scores |= {"dimension_law": float(len(algebra)), "share_inside": metrics.share_inside(basis, algebra)}
    return scores
