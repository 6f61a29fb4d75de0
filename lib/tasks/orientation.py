"""Are the data oriented? Whether a sample is as it was found or was moved by the group, as a task of its own: what no classifier can tell
apart has a symmetric distribution, whatever its law is (distributional symmetry breaking).

A scenario is a data set and a group. Half of the samples are moved; the accuracy is 50 % where the distribution is symmetric. A finite
group of m elements moves one sample in m nowhere, so that the most that can be told is 1 - 1 / (2 m).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lib.actions import trivially
from lib.draws import random_stream
from lib.groups import haar, homogeneous
from lib.metrics import accuracy
from lib.tasks import (
    Task,
    discrete_rotation,
    flow,
    md17,
    mocap,
    nbody,
    partial_permutation,
    planted_symmetry,
    qm9,
    rotated_mnist,
    two_body,
)  # fmt: skip

SEED = 20_251_130


def turned_about_one_point(count: int, draws: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Rotations of the Haar measure as 4 x 4 matrices."""
    return homogeneous(haar(3, (count,), draws, dtype))


@dataclass(frozen=True)
class Source:
    """What is told apart: a task's module and scenario; the group, by its name in the task or as what draws from it; what else the task is
    loaded with; how many samples there are to train on and of its validation set.

    `domain` : that set is of the same simulations or places, whose turns are soon learnt by heart; the further test set takes its place.
    `centred` : atoms are taken from their molecule's centre, as where a file has put its origin tells, too.  `order` : of a finite group.
    """

    module: ModuleType
    scenario: str
    group: str | Callable
    options: Mapping[str, Any] = field(default_factory=dict)
    most: tuple[int, int] = (10_000, 2_000)
    domain: bool = False
    centred: bool = False
    order: int | None = None


MOLECULE, SMALL, WALKS, RUNS, FILMS = (500, 2000), (2000, 300), (1100, 600), (200, 240), (420, 126)
SOURCES = {
    "gaussian": Source(planted_symmetry, "so2", "so2"),  # isotropic by construction
    "digits": Source(rotated_mnist, "in", "so2"),
    "digits_90": Source(rotated_mnist, "out", "so2"),
    "orbits": Source(two_body, "in", "so2", most=(7000, 2000)),
    "orbits_quadrants": Source(two_body, "out", "so2", most=(7000, 2000)),
    "sevenths": Source(discrete_rotation, "in", "c7", order=7),
    "permutation": Source(partial_permutation, "in", "so2"),
    "bodies": Source(nbody, "10deg", "haar"),
    "walk": Source(mocap, "walk", "haar", most=WALKS),
    "walk_vertical": Source(mocap, "walk", "vertical", most=WALKS),
    "run": Source(mocap, "run", "haar", most=RUNS),
    "run_vertical": Source(mocap, "run", "vertical", most=RUNS),
    **{name: Source(md17, name, "haar", most=MOLECULE) for name in md17.SCENARIOS if name != "benzene"},
    "qm9": Source(qm9, "lumo", turned_about_one_point, {"heavy": 7}, SMALL, centred=True),
    "ocean": Source(flow, "ocean", "c4", most=FILMS, domain=True, order=4),
    "turbulence": Source(flow, "simulated", "c4", {"strength": 0.0}, FILMS, domain=True, order=4),
    "turbulence_driven": Source(flow, "simulated", "c4", {"strength": 20.0}, FILMS, domain=True, order=4),
}
SCENARIOS = tuple(SOURCES)


def load(scenario: str, n_train: int = 2000, n_eval: int = 2000, shuffled: bool = False) -> Task:
    """Samples of a data set and moved ones, to be told apart: x as the data set has it, y 1 where it was moved; the error is an accuracy.

    Training samples, four in five, are each there as they are and moved; the fifth are for validation; the test set is the data set's
    validation set, which is distributed as its training set is, or of films those of other places. Of these two the first half is as it is
    and the second half is moved, so that no two of them are of one sample. Where an action interpolates all are moved twice, those as they
    are there and back: else what is told apart is how sharp they are.

    Parameters
    ----------
    n_train, n_eval : at most so many samples to train and validate on, and to test on.
    shuffled : labels at random in all parts: what a classifier scores where there is nothing to tell.

    Raises ValueError for an unknown scenario, DataError without the data.

    Source: Lawrence et al. (2025), "To augment or not to augment?"; classifier two-sample tests, Lopez-Paz & Oquab (2017). The pairs, the
    second move and the shuffled labels are Ours.
    """
    source = known(scenario)
    train, evaluated = map(min, source.most, (n_train, n_eval))
    return told_apart(source.module.load(source.scenario, train, evaluated, **source.options), source, shuffled, scenario)


def load_tiny(scenario: str, shuffled: bool = False) -> Task:
    """The same of a few made-up samples."""
    source = known(scenario)
    return told_apart(source.module.load_tiny(source.scenario, **source.options), source, shuffled, scenario)


def known(scenario: str) -> Source:
    if scenario not in SOURCES:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    return SOURCES[scenario]


def told_apart(task: Task, source: Source, shuffled: bool, scenario: str) -> Task:
    """The task of telling this one's samples from moved ones."""
    draw = task.groups[source.group] if isinstance(source.group, str) else source.group
    found = task.train[0], (task.further["domain"] if source.domain else task.val)[0]
    found = [from_centre(x) for x in found] if source.centred else found
    fifth = len(found[0]) // 5
    sets = {}
    for part, x in {"train": found[0][fifth:], "val": found[0][:fifth], "test": found[1]}.items():
        draws = random_stream(SEED, f"{scenario} {part}")
        stays, moves = (x, x) if part == "train" else x.tensor_split(2)
        both = torch.cat([moved(task, draw, stays, draws, back=True), moved(task, draw, moves, draws)])
        y = (torch.arange(len(both)) >= len(stays)).long()
        sets[part] = both, y[torch.randperm(len(y), generator=draws)] if shuffled else y
    return replace(
        task, **sets, name="orientation", rho_y=trivially, loss=torch.nn.functional.cross_entropy, metric=accuracy, metric_name="accuracy",
        outputs=torch.Size([2]), output=partial(torch.softmax, dim=-1), as_target=partial(torch.softmax, dim=-1), further={}, law=None,
        reported=Task.reported, groups={"group": draw}, graph=None, masks={}, mask=None, family=None, angles=False,
    )  # fmt: skip


def from_centre(x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N 4"]:
    """Atoms (number, position), their positions from the mean of their molecule's; places without an atom stay zero."""
    there = (x[..., :1] > 0).to(x.dtype)
    centre = (x[..., 1:] * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)
    return torch.cat([x[..., :1], (x[..., 1:] - centre) * there], -1)


def moved(task: Task, draw: Callable, x: Tensor, draws: torch.Generator, back: bool = False) -> Tensor:
    """g x; with `back` x itself. Of an action that interpolates h g x, h of the group too, or else g^-1 g x."""

    def act(g: Tensor, x: Tensor) -> Tensor:
        pairs = zip(g.unsqueeze(1).split(task.chunk), x.split(task.chunk), strict=True)
        return torch.cat([task.rho_x(gi, xi).squeeze(1) for gi, xi in pairs]).to(x.dtype)

    g = draw(len(x), draws, x.dtype)
    if not task.interpolates:
        return x if back else act(g, x)
    return act(torch.linalg.inv(g) if back else draw(len(x), draws, x.dtype), act(g, x))
