"""What is trained: a network, and the augmenter where the method has one, under one objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from lib import models
from lib.augmenter import GroupAugmenter, LieAugmenter
from lib.draws import random_stream
from lib.groups import gaussian_start
from lib.losses import Method, Phase, method_named, objective
from lib.precision import default_dtype
from lib.protocol import Run
from lib.tasks import Task
from lib.weights import twice


class Trainable(nn.Module):
    """A network and, where the method has one, its augmenter; called, it returns the objective and its terms.

    `known` generators, the ground truth unless others were discovered before, are what a fixed augmenter draws from and an equivariant
    network is built for. A network with a regulariser of its own (`with_penalty`) adds it to the objective, once: its mean over the passes.

    Raises ValueError for a method that the task or the network does not fit, and for a network that normalises over the batch.
    """

    def __init__(self, run: Run, task: Task, known: Tensor | None = None):
        super().__init__()
        self.run, self.task, self.method = run, task, method_named(run["method"])
        self.known, known = known, (task.generators if known is None else known).cpu()
        shapes = task.train[0].shape[1:], task.outputs
        if getattr(models.class_of(run["model"]), "needs_graph", False) and task.graph is None:
            raise ValueError(
                f"{run['model']} passes messages along the edges of a graph, and task {task.name} has none: take another model"
            )
        self.model = models.build(run["model"], random_stream(run["seed"], "network"), *shapes, known, task.graph, **run["model_options"])
        if "gradual" in run and hasattr(self.model, "with_penalty"):
            raise ValueError(f"gradual weights balance two terms, and {run['model']} brings a third: keep its weights constant")
        for name, layer in self.model.named_modules():
            if isinstance(layer, _NormBase) and (layer.track_running_stats or isinstance(layer, _BatchNorm)):
                raise ValueError(
                    f"{run['model']}: {name} is a {type(layer).__name__}, whose predictions hang on the batch that they are made or "
                    "trained in, and whose running statistics are no parameters: take GroupNorm or LayerNorm"
                )
        self.augmenter = augmenter_of(self.method, run, task, known)
        self.to(task.generators.device, task.generators.dtype)

    @property
    def averages(self) -> bool:
        """Whether predictions are averaged over the augmenter: a basis has inverses to average with, and is what the method found."""
        return isinstance(self.augmenter, LieAugmenter)

    def in_double(self) -> Trainable:
        """The same in float64, its network's constants computed in it: what is equivariant but for rounding is so to float64's."""
        with default_dtype(torch.float64):
            twin = Trainable(self.run, self.task.to(self.task.generators.device, torch.float64), self.known)
        for own, parameter in zip(twin.parameters(), self.parameters(), strict=True):
            own.data.copy_(parameter)
        return twin

    def forward(
        self, x: Tensor, y: Tensor, coefficients: Tensor | None, weights: Mapping[str, Tensor | float], phase: Phase, *offsets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        task, penalties = self.task, []
        model, again = twice(self.model, *offsets) if offsets else (collecting(self.model, penalties), None)
        options = {key: self.run[key] for key in ("target", "similarity") if key in self.run}
        total, terms = objective(
            self.method, weights, model, self.augmenter, x, y, coefficients, phase=phase, again=again,
            loss=task.loss, rho_x=task.rho_x, rho_y=task.rho_y, as_target=task.as_target, **options,
        )  # fmt: skip
        if penalties:
            terms["penalty"] = torch.stack(penalties).mean()
            total = total + terms["penalty"]
        return total, terms


def collecting(model: nn.Module, penalties: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """The model, its penalty of every call, if it has any, left in `penalties`."""
    if not hasattr(model, "with_penalty"):
        return model

    def call(x: Tensor) -> Tensor:
        prediction, penalty = model.with_penalty(x)
        penalties.append(penalty)
        return prediction

    return call


def draws(model: nn.Module, x: Tensor) -> bool:
    """Whether a pass over x, as the model is, draws from PyTorch's global stream: dropout does in training."""
    with seeded(random_stream(0, "draws"), x.device):
        before = streams(x.device)
        model(x)
        return not all(map(torch.equal, before, streams(x.device)))


def streams(device: torch.device) -> list[Tensor]:
    """The states of the global streams that a pass on `device` may draw from."""
    return [torch.random.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


@contextmanager
def seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """PyTorch's global stream starts anew from `generator` (CPU), and is afterwards what it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def augmenter_of(method: Method, run: Run, task: Task, known: Tensor) -> nn.Module | None:
    """Who draws g, or None for a method without augmentations."""
    if method.basis is None:
        return None
    if method.basis == "group":
        groups = {**task.groups, **task.candidates}
        if run["group"] not in groups:
            raise ValueError(f"task {task.name} has the groups {', '.join(groups)}, not {run['group']!r}")
        return GroupAugmenter(groups[run["group"]], task.generators.dtype)
    if method.basis == "family" and task.family is None:
        raise ValueError(f"method {run['method']} chooses among a task's candidate generators, and {task.name} has none")
    mask = task.masks[run["mask"]] if "mask" in run else task.mask
    start = {}
    if "start" in run:
        start["init"] = gaussian_start(run["start"], run["cardinality"], task.size, random_stream(run["seed"], "basis"))
    return LieAugmenter(
        task.size, run["cardinality"], gamma=run["gamma"], draw=method.draw, mask=None if mask is None else mask.cpu(),
        generators={"fixed": known, "family": task.family}.get(method.basis),
        norm=run["norm"] if method.normalised else None, **start,
    )  # fmt: skip
