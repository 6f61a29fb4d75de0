"""Figures that show data: the same with the files and from the committed numbers."""

import numpy as np
import pandas as pd
import pytest

from lib.tasks.files import prepared
from lib.views.figures import bases


@pytest.fixture
def frame() -> pd.DataFrame:
    run = {"gamma": 1.0}
    return pd.DataFrame([{"model": "SEMoLA", "scenario": "in", "seed": 0, "basis": [[[0, -1, 0], [1, 0, 0], [0, 0, 0]]], "run": run}])


def missing(*_):
    raise prepared.DataError("no MNIST")


def test_digits_are_those_of_mnist_and_the_same_without_it(frame, monkeypatch, tmp_path):
    arrays, _ = prepared.read("mnist")
    numbers = bases.augmentations(frame)
    monkeypatch.setattr(prepared, "read", missing)
    pd.testing.assert_frame_equal(bases.augmentations(frame), numbers, check_dtype=False)
    numbers.to_csv(tmp_path / "digits.csv", index=False)
    figure = bases.augmented_digits(pd.read_csv(tmp_path / "digits.csv"))
    rows = np.array(figure.axes).reshape(bases.DIGITS, bases.COPIES + 1)
    for digit, row in enumerate(rows):
        image = arrays["test_x"][np.flatnonzero(arrays["test_y"] == digit)[0]] / 255
        assert (row[0].images[0].get_array() == image).all()
        np.testing.assert_allclose(row[1 + bases.COPIES // 2].images[0].get_array(), image, atol=1e-4, err_msg="w = 0 moves nothing")
