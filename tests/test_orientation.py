"""Samples told from moved ones: half of them where the distribution is symmetric, nearly all where it is not."""

import math
from dataclasses import replace

import pytest
import torch

from lib import tasks
from lib.experiments.training import fit
from lib.tasks import orientation, planted_symmetry, rotated_mnist

RUN = {
    "task": "orientation", "scenario": "gaussian", "model": "mlp", "model_options": {"width": 64}, "method": "standard", "seed": 0,
    "steps": 400, "batch_size": 128, "lr": 0.003, "error_samples": 4, "error_draws": 2,
}  # fmt: skip
TURNS = orientation.Source(planted_symmetry, "so2", "so2")


def stretched(by):
    """A Gaussian in three dimensions, the first axis longer; turns about the third one."""
    task = planted_symmetry.load("so2", 2000, 1000)
    scale = torch.tensor([by, 1.0, 1.0])
    return replace(task, **{part: (getattr(task, part)[0] * scale, getattr(task, part)[1]) for part in ("train", "val", "test")})


def told(task):
    return fit(task, [RUN])[0]["metrics"]["test_accuracy"]


def test_isotropic_samples_cannot_be_told_from_moved_ones_and_oriented_ones_can():
    band = 100 * 1.96 * math.sqrt(0.25 / 1000)  # of 1,000 coins, which is what labels at random are
    assert abs(told(orientation.told_apart(stretched(1.0), TURNS, False, "isotropic")) - 50) < 1.5 * band
    assert told(orientation.told_apart(stretched(60.0), TURNS, False, "aligned")) > 95


def test_labels_at_random_leave_nothing_to_tell():
    assert abs(told(orientation.told_apart(stretched(60.0), TURNS, True, "aligned")) - 50) < 5


@pytest.mark.parametrize("scenario", orientation.SCENARIOS)
def test_each_sample_is_as_it_is_or_moved_by_the_group(scenario):
    task, source = tasks.load_tiny("orientation", scenario=scenario), orientation.known(scenario)
    origin = source.module.load_tiny(source.scenario, **source.options)
    fifth, held_out = len(origin.train[0]) // 5, (origin.further["domain"] if source.domain else origin.val)[0]
    (x, y), (_, val), (x_test, y_test) = task.train, task.val, task.test
    assert len(y) == 2 * (len(origin.train[0]) - fifth) and y.sum() == len(y) // 2
    assert len(val) == fifth
    assert len(y_test) == len(held_out) and abs(2 * y_test.sum() - len(y_test)) <= 1
    if source.centred:
        atoms = x[..., :1] > 0
        assert ((x[..., 1:] * atoms).sum(1).abs() < 1e-5 * len(atoms)).all()  # from their centre, moved ones too
    elif not origin.interpolates:
        torch.testing.assert_close(x[y == 0], origin.train[0][fifth:])
        torch.testing.assert_close(x_test[y_test == 0], held_out[: int((y_test == 0).sum())])
        shift = (x[y == 1] - x[y == 0]).flatten(1).norm(dim=1)
        assert (shift > 0).double().mean() >= (0.3 if source.group in ("c4", "c7") else 1.0)  # the identity is one of few elements there
        torch.testing.assert_close(x[y == 1].flatten(1).norm(dim=1), x[y == 0].flatten(1).norm(dim=1))


def test_images_as_they_are_and_moved_ones_are_as_sharp():
    """Both are interpolated twice; without that the sharpness alone tells them apart."""
    origin = rotated_mnist.load_tiny("in")
    task = orientation.told_apart(origin, TURNS, False, "digits")
    (x, y), plain = task.train, origin.train[0][len(origin.train[0]) // 5 :]

    def sharpness(x):
        return x.diff(dim=-1).square().mean().sqrt().item()

    assert sharpness(x[y == 0]) == pytest.approx(sharpness(x[y == 1]), rel=0.05)
    assert sharpness(plain) > 1.05 * sharpness(x[y == 0])


def test_an_unknown_scenario_is_named():
    with pytest.raises(ValueError, match="unknown scenario 'sky'"):
        tasks.load("orientation", scenario="sky")
