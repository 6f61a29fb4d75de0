"""Names of generators in space against their closed forms, and the drawing."""

import math

import numpy as np
import pandas as pd
import pytest

from lib.groups import so
from lib.views.figures import generators

EPSILON = np.zeros((3, 3, 3))  # EPSILON[i] turns about axis i: x -> e_i cross x
for i in range(3):
    EPSILON[i, i - 1, i - 2], EPSILON[i, i - 2, i - 1] = 1, -1
SHEAR = np.zeros((3, 3))
SHEAR[1, 0] = -2.0


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def test_turns_are_those_of_the_cross_product():
    x = np.random.default_rng(0).normal(size=3)
    for i, turn in enumerate(EPSILON):
        np.testing.assert_allclose(turn @ x, np.cross(np.eye(3)[i], x))
    assert all(generators.anatomy(turn.numpy())["rotation"] == pytest.approx(1.0) for turn in so(3))


@pytest.mark.parametrize(
    ("generator", "name", "shares"),
    [
        (EPSILON[0], "rotation about x", {"rotation": 1, "about_x": 1}),
        (-3 * EPSILON[1], "rotation about y", {"rotation": 1, "about_y": 1}),
        (EPSILON[2], "rotation about z", {"rotation": 1, "about_z": 1}),
        (EPSILON[0] - EPSILON[1], "rotation about (0.7, -0.7, 0.0)", {"rotation": 1, "about_x": 0.5, "about_y": 0.5}),
        (-np.eye(3), "scaling", {"scaling": 1, "rank_one": 1 / 3}),
        (SHEAR, "shear along y by x", {"rotation": 0.5, "stretching": 0.5, "rank_one": 1, "about_z": 0.5}),
        (np.diag([0.0, 0, 1]), "stretch along z", {"scaling": 1 / 3, "stretching": 2 / 3, "rank_one": 1}),
        (np.diag([1.0, -1, 0]), "mixture, 0% rotation", {"stretching": 1, "rank_one": 0.5}),
    ],
)
def test_generators_are_called_what_they_are(generator, name, shares):
    assert generators.name_of(generator) == name
    expected = dict.fromkeys(("rotation", "scaling", "stretching", "about_x", "about_y", "about_z"), 0) | shares
    found = generators.anatomy(generator)
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_shares_add_up_and_do_not_depend_on_the_frame(seed):
    generator, g = np.random.default_rng(seed).normal(size=(3, 3)), random_rotation(seed + 100)
    one, other = generators.anatomy(generator), generators.anatomy(g @ generator @ g.T)
    for parts in (one, other):
        assert parts["rotation"] + parts["scaling"] + parts["stretching"] == pytest.approx(1.0)
        assert sum(parts[f"about_{axis}"] for axis in "xyz") == pytest.approx(parts["rotation"])
    for key in ("rotation", "scaling", "stretching", "rank_one"):
        assert one[key] == pytest.approx(other[key])


def test_a_generator_that_is_nothing_is_refused():
    with pytest.raises(ValueError, match=r"its norm is 0\.0"):
        generators.anatomy(np.zeros((3, 3)))


@pytest.fixture
def frame():
    rows = []
    for seed in (0, 1):
        rows.append({"model": "SEMoLA_1", "seed": seed, "basis": [(SHEAR / 7).tolist()]})
        rows.append({"model": "SEMoLA_3", "seed": seed, "basis": EPSILON.tolist()})
    return pd.DataFrame(rows).assign(scenario="walk", test_mse=0.1, test_mse_plain=0.2)


def test_each_seed_of_one_generator_and_each_of_several_is_drawn(frame):
    numbers = generators.found_generators(frame)
    assert len(numbers) == 9 * (2 + 6)
    norms = numbers.groupby(["model", "seed", "generator"]).value.apply(lambda values: np.linalg.norm(values))
    assert norms.to_numpy() == pytest.approx(math.sqrt(3))
    assert (numbers.groupby(["model", "seed", "generator"]).value.agg(lambda v: v.loc[v.abs().idxmax()]) > 0).all()
    figure = generators.generators(numbers)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["seed 0\nshear along y\nby x", "seed 1\nshear along y\nby x", *(f"seed 0\nrotation about {axis}" for axis in "xyz")]
