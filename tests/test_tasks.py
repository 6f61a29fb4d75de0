"""RotatedMNIST: the angles of each scenario, measured on images whose direction can be read off."""

import math

import pytest
import torch

from lib.tasks import rotated_mnist
from lib.tasks.files.sources import DataError


def test_fashion_is_of_fashions_images(tmp_path):
    with pytest.raises(DataError, match=r"fashion\.npz is missing: run `python -m lib data fashion`"):
        rotated_mnist.load("fashion_out", root=tmp_path)
    with pytest.raises(DataError, match=r"mnist\.npz is missing"):
        rotated_mnist.load("out", root=tmp_path)


@pytest.mark.parametrize(("scenario", "half"), [("in", 180), ("out", 90), ("out30", 30), ("fashion_out", 90)])
def test_training_angles_lie_within_the_range_and_test_angles_as_the_scenario_says(scenario, half):
    blob = torch.zeros(28, 28, dtype=torch.uint8)
    blob[12:16, 20:24] = 255  # right of the centre: after a turn its direction is the angle
    images = {"train_x": blob.expand(400, 28, 28), "test_x": blob.expand(400, 28, 28)}
    images |= {"train_y": torch.zeros(400, dtype=torch.uint8), "test_y": torch.zeros(400, dtype=torch.uint8)}
    task = rotated_mnist.make(scenario, images, (300, 300, 100), data="simulated", sha256="")

    def degrees(x):
        axis = torch.arange(28) - 13.5
        right, up = (x.sum((1, 2)) * axis).sum(1), -(x.sum((1, 3)) * axis).sum(1)
        return torch.atan2(up, right) * 180 / math.pi

    for x, _ in (task.train, task.val):
        assert degrees(x).abs().max() <= half + 1
        assert degrees(x).abs().max() > 0.9 * half
        assert degrees(x).min() < 0 < degrees(x).max()
    test = degrees(task.test[0]).abs()
    if scenario == "in":
        assert test.min() < 10 and test.max() > 170
    else:
        assert test.min() >= half - 1 and test.min() < half + 10 and test.max() > 170
    assert [len(y) for _, y in (task.train, task.val, task.test)] == [300, 100, 400]


def test_the_data_do_not_depend_on_who_asks():
    one, two = (rotated_mnist.load_tiny("out") for _ in range(2))
    assert all(torch.equal(a, b) for name in ("train", "val", "test") for a, b in zip(getattr(one, name), getattr(two, name), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 0}, "n_train must be between 1 and 50000, got 0"),
        ({"n_eval": 10_001}, "n_eval must be between 1 and 10000, got 10001"),
        ({"scenario": "around"}, "unknown scenario 'around': choose one of in, out, out30"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rotated_mnist.load(**{"scenario": "out", "n_train": 10, "n_eval": 10, **options})
