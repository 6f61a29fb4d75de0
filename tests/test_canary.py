"""A canary goes through every phase of its run, and through each of them at the run's own settings."""

import functools
import itertools
import math

import pytest
import torch

from lib import lie_derivative, robustness
from lib.experiments import evaluation, training
from lib.experiments.canary import STEPS, alike, canary, shrunk
from lib.experiments.settings import labelled_plan, plan
from lib.experiments.stack import STACKABLE
from lib.models import tensor_mlp
from lib.models.mlp import MLP
from lib.protocol import phase_of
from lib.tasks import nbody, planted_symmetry, pulls
from lib.weights import Dual


@functools.cache
def planned(experiment: str, label: str) -> dict:
    return dict(labelled_plan(experiment, "quick"))[label]


@functools.cache
def known(experiment: str, label: str) -> dict:
    """Its canary."""
    return canary(planned(experiment, label))


@pytest.mark.parametrize(("experiment", "label"), [("two_body", "SEMoLA_0"), ("rotated_mnist", "SEMoLA"), ("nbody", "REMUL")])
def test_each_phase_has_two_steps_and_the_run_keeps_what_the_code_branches_on(experiment, label):
    run, small = planned(experiment, label), shrunk(planned(experiment, label))
    phases = [phase_of(small, step) for step in range(1, small["steps"] + 1)]
    assert small["steps"] >= STEPS
    if "warmup" in run:
        assert sum(phase.reach < 1 for phase in phases) >= 2
    if "decay" in run:
        assert sum(0 < phase.push < 1 for phase in phases) >= 2 and sum(phase.push == 0 for phase in phases) >= 2
    kept = ("gamma", "norm", "warmup", "decay", "lr_decay", "clip", "evaluations", "draw", "mask", "target", "similarity")
    assert all(small[name] == run[name] for name in kept if name in run)


def test_of_its_looks_at_validation_neither_the_first_nor_the_last_is_the_best(monkeypatch):
    run = planned("nbody", "Transformer") | {"lr_decay": 1.0}
    as_it_is, stopped, fit = canary(run), [], training.fit
    for look in (0, 9):
        monkeypatch.setattr(training, "fit", lambda *rest, look=look, **options: fit(*rest, **options | {"favoured": look}))
        stopped.append(canary(run))
        monkeypatch.undo()
    assert as_it_is["metrics"]["test_mse"] not in [other["metrics"]["test_mse"] for other in stopped]


def test_its_clipping_binds_on_about_half_of_the_steps():
    curves = known("nbody", "Transformer")["curves"]
    assert 0.2 <= curves["clipped"][-1] <= 0.8


@pytest.mark.parametrize("place", [("nbody", "Transformer"), ("two_body", "SEMoLA_2"), ("planted_symmetry", "SEMoLA C=3")])
def test_it_is_the_same_again_and_holds_finite_numbers(place):
    first = known(*place)
    assert first == canary(planned(*place))
    assert all(map(math.isfinite, first["metrics"].values()))
    assert ("restarts" in first) == ("restarts" in planned(*place))


def test_beside_it_in_its_stack_is_another_run_whose_seed_and_weights_all_differ(monkeypatch):
    run, stacks, fit = planned("rotated_mnist", "SEMoLA"), [], training.fit
    monkeypatch.setattr(training, "fit", lambda task, runs, **options: stacks.append(runs) or fit(task, runs, **options))
    canary(run)
    assert len(stacks) == 2, "in double precision, and one step in single"
    for other, own in stacks:
        assert {name for name in own if other[name] != own[name]} == {name for name in STACKABLE if run.get(name)}


def test_it_is_drawn_in_double_precision_but_for_one_step_and_leaves_the_default_as_it_was(monkeypatch):
    seen, fit = [], training.fit

    def noting(task, runs, **options):
        seen.append((torch.get_default_dtype(), task.train[0].dtype, runs[-1]["steps"]))
        return fit(task, runs, **options)

    monkeypatch.setattr(training, "fit", noting)
    canary(planned("partial_permutation", "MLP"))
    assert seen == [(torch.float64, torch.float64, STEPS), (torch.float32, torch.float32, 1)]
    assert torch.get_default_dtype() == torch.float32


def test_two_canaries_agree_to_the_rounding_of_their_precisions():
    one = {"form": 3, "metrics": {"mse": 1.0, "E": 0.0}, "single": {"val_loss": [1.0]}}
    assert alike(one, {**one, "metrics": {"mse": 1.0 + 5e-7, "E": 5e-9}, "single": {"val_loss": [1.0 + 5e-5]}})
    assert not alike(one, {**one, "metrics": {"mse": 1.0 + 5e-6, "E": 0.0}})
    assert not alike(one, {**one, "metrics": {"mse": 1.0, "E": 5e-8}})
    assert not alike(one, {**one, "single": {"val_loss": [1.0 + 5e-4]}})
    assert not alike(one, {name: value for name, value in one.items() if name != "single"})


def test_of_a_bound_it_sees_how_beta_moves_while_it_is_broken_and_while_it_holds(monkeypatch):
    run = next(run for run in plan("bounded_orbits", "smoke") if "dual" in run)
    before = canary(run)
    steps = [later / earlier for earlier, later in itertools.pairwise(before["curves"]["beta"])]
    assert min(steps) < 1 < max(steps)
    step = Dual.step
    monkeypatch.setattr(Dual, "step", lambda self, losses, norms=None: step(self, 1.001 * losses, norms))
    assert not alike(canary(run), before)


def test_of_oriented_data_it_sees_which_samples_are_moved_and_which_labels_are_drawn():
    told, drawn = (next(run for run in plan("orientation", "quick") if run.get("shuffled", False) is value) for value in (False, True))
    moved = canary({**told, "scenario": "walk"})
    assert not alike(canary(told), canary(drawn)) and not alike(moved, canary({**told, "scenario": "walk_vertical"}))


def test_it_sees_errors_splices_and_what_is_trimmed():
    """Of two bodies whose data or loss differ in one of these only, no two have the same canary."""
    tried = [*plan("two_body", "perturbed"), *plan("two_body", "perturbed_trimmed")]
    runs = [run for run in tried if run["seed"] == 0 and run["mask"] == "mask_0" and run["scenario"] != "spliced_5"]  # of 8, one either way
    found = {(run["scenario"], run.get("trimmed")): canary(run) for run in runs}
    assert len(found) == len(runs) == 6
    assert not any(alike(one, other) for one, other in itertools.combinations(found.values(), 2))
    assert not alike(canary(runs[-1] | {"trimmed": 0.5}), found[runs[-1]["scenario"], 0.02])  # under the same names


DAMAGES = {  # of what is measured: experiment, row, where the function is, its name, the same a little off
    "a law": ("coverage_pulls", "MLP", pulls, "law", lambda law: lambda x: 1.001 * law(x)),
    "how far shifts go": ("coverage_pulls", "MLP", pulls, "shifts", lambda shifts: lambda most, *given: shifts(1.001 * most, *given)),
    "a group on offer": (
        "planted_symmetry", "Augmentation, axis", planted_symmetry, "turns", lambda draw: lambda *given: draw(*given).mT,
    ),
    "the whole group": (
        "planted_symmetry", "REMUL, SO(3)", planted_symmetry, "all_rotations", lambda draw: lambda *given: draw(*given).mT,
    ),
    "how many copies": (
        "coverage_bodies", "Transformer, copies", nbody, "copies",
        lambda copies: lambda x, y, count, *given: copies(x, y, max(0, count - 1), *given),
    ),
    "from where it is read": (
        "coverage_pulls", "MLP, centred", MLP, "forward",
        lambda forward: lambda self, x: (setattr(self, "centred", False), forward(self, x))[1],
    ),
    "how tensors move": ("depth_pulls", "Free layers", tensor_mlp, "on_tensors", lambda move: lambda *given: 1.001 * move(*given)),
    "the push-forward": (
        "depth_pulls", "Free layers", lie_derivative, "jvp", lambda jvp: lambda *given: (jvp(*given)[0], 1.001 * jvp(*given)[1]),
    ),
    "the ascent": ("capacity_orbits", "MLP", robustness, "climbed", lambda climb: lambda error, w, *given: climb(error, 0.9 * w, *given)),
    "the grid": (
        "capacity_orbits", "MLP", evaluation, "worst_on_grid",
        lambda worst: lambda *given, reach, **on: worst(*given, reach=0.01 * reach, **on),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_sees_a_small_change_in_what_is_measured(damage, monkeypatch):
    experiment, row, place, name, altered = DAMAGES[damage]
    run = [run for label, run in labelled_plan(experiment, "quick") if label == row][-1]  # of pulls the last scenario, translations
    before = canary(run)
    monkeypatch.setattr(place, name, altered(getattr(place, name)))
    assert not alike(canary(run), before)
