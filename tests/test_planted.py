"""Whether there is a symmetry, of how many generators, and which group: told from errors on validation."""

import pandas as pd
import pytest

from lib.views.figures.planted import choices, error_ratios


def test_ratios_are_taken_within_a_scenario_and_a_seed():
    plain, moved, found = {"method": "standard"}, {"method": "augmentation"}, {"method": "semola"}
    frame = pd.DataFrame(
        [
            ("none", 0, "MLP", None, 2.0, plain),
            ("none", 1, "MLP", None, 4.0, plain),
            ("so2", 0, "MLP", None, 8.0, plain),
            ("none", 1, "SEMoLA C=2", [[1], [1]], 6.0, found),
            ("so2", 0, "SEMoLA C=1", [[1]], 4.0, found),
            ("so2", 0, "REMUL, axis", None, 24.0, moved),
        ],
        columns=["scenario", "seed", "model", "basis", "val_mse", "run"],
    )
    numbers = error_ratios(frame)
    assert numbers[["scenario", "seed", "ratio"]].values.tolist() == [["none", 1, 1.5], ["so2", 0, 0.5], ["so2", 0, 3.0]]
    assert numbers.generators.fillna(0).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("axis", "whole", "semola", "least", "largest"),
    [
        (300.0, 900.0, 60.0, "none", "none"),
        (2.0, 900.0, 3.0, "none", "so2"),
        (0.8, 900.0, 0.5, "found", "so2"),
        (0.8, 9.9, 1.5, "so2", "so3"),
        (0.8, 10.0, 1.5, "so2", "so3"),
        (0.8, 10.1, 1.5, "so2", "so2"),
        (30.0, 0.7, 1.5, "so3", "so3"),
    ],
)
def test_the_group_is_the_one_of_least_error_or_the_largest_that_costs_no_more_than_tenfold(axis, whole, semola, least, largest):
    rows = {"Augmentation, axis": axis, "Augmentation, SO(3)": whole, "SEMoLA C=1": semola, "SEMoLA C=2": 70.0, "REMUL, axis": 0.1}
    numbers = pd.DataFrame([("none", row, 4, ratio) for row, ratio in rows.items()], columns=["scenario", "model", "seed", "ratio"])
    assert choices(numbers, "Augmentation").loc["none", 4].tolist() == [least, largest]
