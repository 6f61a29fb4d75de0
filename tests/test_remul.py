"""REMUL and augmentation by a known group: their limits, the group's draws, the learning rate and the clipping they train with."""

import math

import pytest
import torch
from torch import nn

from lib import tasks
from lib.augmenter import GroupAugmenter
from lib.experiments.settings import ConfigError, labelled_plan, plan
from lib.experiments.trainable import Trainable
from lib.experiments.training import fit
from lib.protocol import decayed

SMALL = {"n_train": 32, "n_eval": 20, "steps": 12, "error_samples": 4, "error_draws": 3}


@pytest.fixture(scope="module")
def task():
    return tasks.load("nbody", scenario="10deg", n_train=32, n_eval=20)


@pytest.fixture(scope="module")
def runs():
    return dict(reversed(labelled_plan("nbody", "smoke", **SMALL)))  # the first of a label


def same_training(one, other):
    return one["curves"]["val_loss"] == other["curves"]["val_loss"] and all(
        one["metrics"][name] == value for name, value in other["metrics"].items()
    )


def test_beta_zero_is_standard_training_bit_for_bit(task, runs):
    plain = fit(task, [runs["Transformer"]])[0]
    assert same_training(fit(task, [{**runs["REMUL"], "lambda_equiv": 0.0}])[0], plain)
    assert not same_training(fit(task, [{**runs["REMUL"], "lambda_equiv": 1.0}])[0], plain)


def test_alpha_zero_is_augmentation_bit_for_bit(task, runs):
    augmented = fit(task, [runs["Transformer + aug"]])[0]
    assert same_training(fit(task, [{**runs["REMUL"], "lambda_task": 0.0, "lambda_equiv": 1.0}])[0], augmented)


def test_predictions_are_not_averaged_over_a_known_group(task, runs):
    result = fit(task, [runs["REMUL"]])[0]
    assert result["basis"] is None and "cosine" not in result["metrics"]
    assert result["metrics"]["test_mse"] == result["metrics"]["test_mse_plain"]
    assert {"out_mse", "E", "E_prime", "E_10deg", "E_prime_10deg"} <= set(result["metrics"])


@pytest.mark.parametrize(("group", "largest"), [("10deg", math.radians(10)), ("haar", math.pi)])
def test_the_augmenter_draws_from_its_group(task, runs, group, largest):
    augmenter = Trainable({**runs["REMUL"], "group": group}, task).augmenter
    assert isinstance(augmenter, GroupAugmenter)
    g = augmenter(augmenter.coefficients(200, 3, torch.Generator().manual_seed(0)))
    assert g.shape == (200, 3, 3, 3)
    angle = ((torch.diagonal(g.double(), dim1=2, dim2=3).sum(2) - 1) / 2).clamp(-1, 1).acos()
    assert 0.9 * largest < angle.max() <= largest + 1e-3
    assert len(angle.flatten().round(decimals=9).unique()) > 550  # each sample and copy draws its own


def test_every_network_and_method_of_the_experiment_trains(task, runs):
    for label, run in runs.items():
        result = fit(task, [run])[0]
        assert math.isfinite(result["metrics"]["test_mse"]), label
        exact = run["model"] in ("gatr", "se3_transformer")
        assert (result["metrics"]["E_prime"] < 1e-5) == exact, label
        assert ("penalty" in result["curves"]) == (run["model"] == "gatr")
        assert ("alpha" in result["curves"]) == ("gradual" in run)


def test_the_learning_rate_falls_in_fifty_stairs():
    run = {"steps": 100, "lr_decay": 0.01}
    assert [decayed(run, step) for step in (1, 2, 3, 99)] == pytest.approx([1.0, 1.0, 0.01**0.02, 0.01**0.98])
    assert decayed({"steps": 100}, 99) == 1.0


def test_clipping_is_that_of_torch(task, runs):
    """One step at a rate of one and a clip far below the gradient's norm, against torch's own clipping and Adam."""
    run = {**runs["Transformer"], "steps": 1, "clip": 1e-9, "lr": 0.1}
    trainable = Trainable(run, task)
    x, y = task.train
    loss = task.loss(trainable.model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(trainable.parameters(), 1e-9)
    torch.optim.Adam(trainable.parameters(), lr=0.1).step()
    expected = task.loss(trainable.model(task.val[0]), task.val[1]).item()
    clipped = fit(task, [{**run, "batch_size": 32}])[0]["curves"]
    unclipped = fit(task, [{**run, "batch_size": 32, "clip": 1e9}])[0]["curves"]
    assert clipped["val_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert clipped["val_loss"][-1] != pytest.approx(unclipped["val_loss"][-1], rel=1e-2)
    assert (clipped["clipped"], unclipped["clipped"]) == ([1.0], [0.0])


def test_a_surface_is_recorded_where_it_is_asked_for(task):
    run = plan("loss_surface", "smoke", **SMALL)[0]
    result = fit(task, [run])[0]
    grid = torch.tensor(result["surface"])
    assert grid.shape == (5, 5) and grid.isfinite().all()
    assert {"saddles", "minima", "roughness"} <= set(result["metrics"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr_decay": 0.0}, "share of the learning rate"),
        ({"clip": -1.0}, "clip must be positive"),
        ({"axes": "xyz"}, "axes must be one of"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        plan("nbody", "smoke", **change)


def test_a_group_that_the_task_does_not_have_is_named(task, runs):
    with pytest.raises(ValueError, match="task nbody has the groups haar, 10deg, not 'so2'"):
        Trainable({**runs["REMUL"], "group": "so2"}, task)


def test_gradual_weights_do_not_balance_a_third_term(task, runs):
    run = {**runs["REMUL gradual"], "model": "gatr", "model_options": runs["GATr"]["model_options"]}
    with pytest.raises(ValueError, match="gatr brings a third"):
        Trainable(run, task)
