"""Hyperparameters as tables show them."""

import pandas as pd

from lib.experiments.settings import labelled_plan
from lib.views.hyperparameters import with_hyperparameters


def table_of(experiment: str, labels: tuple[str, ...]) -> pd.DataFrame:
    """One run of each row at the paper's profile, with its hyperparameters."""
    runs = {label: run for label, run in labelled_plan(experiment, "paper") if label in labels}
    return with_hyperparameters(pd.DataFrame({"run": list(runs.values())}, index=list(runs))).loc[list(labels)]


def test_table_5_has_the_published_networks_and_their_parameters():
    found = table_of("nbody", ("Transformer", "SE(3)-Transformer", "GATr"))
    assert list(found.parameters) == [11_827_587, 293_920, 2_209_058]
    assert list(found.channels) == [384, 8, 128]
    assert list(found.blocks.dropna()) == [10, 10] and found.layers["SE(3)-Transformer"] == 4
    assert found.mv["GATr"] == 16 and set(found.steps) == {50_000} and set(found.lr) == {3e-4}


def test_table_8_has_networks_of_about_as_many_parameters():
    found = table_of("timing", ("Transformer + REMUL", "GATr"))
    assert list(found.parameters) == [2_725_467, 2_650_674] and list(found.channels) == [168, 128]
