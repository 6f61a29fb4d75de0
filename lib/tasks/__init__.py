"""Data sets, one file each: load or simulate, split, the actions on x and y, the loss, the metric, the ground truth."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType

import torch
from torch import Tensor

from lib.actions import Action
from lib.models.molecules import Molecule

TASKS = (
    "rotated_mnist",
    "two_body",
    "discrete_rotation",
    "partial_permutation",
    "planted_symmetry",
    "nbody",
    "mocap",
    "md17",
    "qm9",
    "flow",
    "tokens",
    "orientation",
    "pulls",
)

OPTIONS = (
    "scenario",
    "timesteps",
    "scaled",
    "axes",
    "horizon",
    "assignment",
    "centred",
    "strength",
    "heavy",
    "trimmed",
    "shuffled",
    "seen",
)  # what tasks are loaded with, each those it has
SIZES = ("n_train", "n_eval")


def unchanged(prediction: Tensor) -> Tensor:
    """The prediction as it is."""
    return prediction


@dataclass(frozen=True)
class Task:
    """What `lib.experiments.training.fit` needs to know of a data set.

    Attributes
    ----------
    train, val, test : pairs (x, y), whole, on one device; `further` : test sets of another distribution, by name.
    outputs : shape of the prediction for one sample.
    loss : l on a batch of raw predictions and targets; `as_target` makes a prediction a target of it.
    output : what predictions are averaged as (softmax for classifiers).
    metric, metric_name : on a batch of outputs and targets, and its name in records.
    reported : outputs in the units in which E and E' are reported.
    size : n, the size of the group's matrices.
    mask, masks : the entries of a generator that may be used, and others by name.
    generators : ground-truth basis, (C, n, n); `family`: Augerino's candidates, where it has some.
    groups : by name, (count, generator, dtype) -> elements (count, n, n), for E and for fixed groups; the ground truth's first.
    candidates : more groups, by name, that samples may be moved by though they are no symmetries: E would mean nothing.
    angles : whether a found basis is compared by principal angles too.
    points, blocks : what the action score is taken over, (N, n), and the coordinates of each physical quantity.
    law : x -> y without noise, where it is known and the ground truth is a symmetry of it.
    interpolates : whether rho_x loses something on the way, so that E has a floor.
    reach : how far a coefficient of the generators goes where the worst case is looked for, by name; the first is nameless.
    graph : of the tokens, the same for every sample, for networks that pass messages along its edges.
    chunk : samples of a forward pass where nothing is learnt.
    data, sha256 : the label of the data (official, rebuilt, surrogate, simulated) and the digest of its file.
    """

    name: str
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rho_x: Action
    rho_y: Action
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]
    metric_name: str
    outputs: torch.Size
    size: int
    generators: Tensor
    groups: Mapping[str, Callable[[int, torch.Generator, torch.dtype], Tensor]]
    points: Tensor
    data: str
    sha256: str = ""
    blocks: Mapping[str, list[int]] | None = None
    mask: Tensor | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    further: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    candidates: Mapping[str, Callable[[int, torch.Generator, torch.dtype], Tensor]] = field(default_factory=dict)
    family: Tensor | None = None
    law: Callable[[Tensor], Tensor] | None = None
    interpolates: bool = False
    angles: bool = False
    reach: Mapping[str, float] = field(default_factory=lambda: {"": math.pi})
    graph: Molecule | None = None
    chunk: int = 1000
    output: Callable[[Tensor], Tensor] = unchanged
    as_target: Callable[[Tensor], Tensor] = unchanged
    reported: Callable[[Tensor], Tensor] = unchanged

    def __post_init__(self):
        for name in ("train", "val", "test"):
            for part, tensor in zip("xy", getattr(self, name), strict=True):
                if not torch.isfinite(tensor).all():
                    raise ValueError(
                        f"task {self.name}: {part} of {name} holds NaN or infinite values; "
                        "fetch the data again with `python -m lib data`, or clean your own"
                    )

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Task:
        """The same task with its tensors on `device`, floating ones as `dtype`."""

        def move(t: Tensor) -> Tensor:
            return t.to(device, dtype if dtype is not None and t.is_floating_point() else t.dtype)

        pairs = {name: tuple(move(t) for t in getattr(self, name)) for name in ("train", "val", "test")}
        further = {name: tuple(move(t) for t in pair) for name, pair in self.further.items()}
        graph = None if self.graph is None else self.graph.to(device, dtype)
        return replace(self, **pairs, further=further, generators=move(self.generators), points=move(self.points), graph=graph)


def load(name: str, **options) -> Task:
    """The task of that name. Raises KeyError, with the known names, for any other."""
    return module_of(name).load(**options)


def load_tiny(name: str, **options) -> Task:
    """A few made-up samples of the same form, which need no file: for canaries and tests."""
    return module_of(name).load_tiny(**options)


def module_of(name: str) -> ModuleType:
    """The module of that task. Raises KeyError, with the known names, for any other."""
    if name not in TASKS:
        raise KeyError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}, or add it to lib.tasks.TASKS")
    return importlib.import_module(f"lib.tasks.{name}")


def options(name: str) -> tuple[str, ...]:
    """Names of what a task can be loaded with."""
    return tuple(inspect.signature(module_of(name).load).parameters)


def scenarios(name: str) -> tuple[str, ...]:
    """Names of a task's scenarios."""
    return tuple(module_of(name).SCENARIOS)
