"""How ways are compared: at the settings that validation chooses, by the size that an error takes, by what several findings say."""

import math

import pandas as pd
import pytest

from lib.experiments.settings import plan
from lib.views.catalogue import FIGURES
from lib.views.figures.drawbacks import WAYS, lines
from lib.views.ways import at_best_settings, blocks_of, needed, seen_by, verdict, way_of

EXPERIMENTS = ("capacity_bodies", "capacity_orbits", "coverage_bodies", "coverage_pulls", "depth_bodies", "depth_pulls")


def frame_of(experiment):
    """A row a run of `quick`, with a validation error that grows with beta and the rate."""
    runs = plan(experiment, "quick")
    errors = [run["lr"] + 1e-3 * run.get("lambda_equiv", 0.0) + 1e-6 * run["seed"] for run in runs]
    place = {"scenario": [run["scenario"] for run in runs], "seed": [run["seed"] for run in runs]}
    return pd.DataFrame({**place, "val_mse_plain": errors, "run": runs})


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_way_has_one_setting_a_place_and_all_its_seeds(experiment):
    across = {"coverage": seen_by, "depth": blocks_of, "capacity": lambda run: float(max(run["model_options"].values()))}[
        experiment.split("_")[0]
    ]
    best = at_best_settings(frame_of(experiment), across)
    assert (best.groupby(["scenario", "way", "across"], dropna=False).seed.apply(sorted).map(tuple) == (0, 1, 2)).all()
    assert set(best.way) <= set(WAYS)
    assert {"none", "augmentation", "penalty", "built in"} <= set(best.way)
    betas = {run["lambda_equiv"] for run, way in zip(best.run, best.way, strict=True) if way == "penalty"}
    assert betas == {min(run["lambda_equiv"] for run in plan(experiment, "quick") if way_of(run) == "penalty")}


def test_every_way_is_told_by_its_run():
    found = {way_of(run) for experiment in EXPERIMENTS for run in plan(experiment, "quick")}
    assert found == set(WAYS)


@pytest.mark.parametrize(
    ("errors", "level", "size"),
    [
        ([4.0, 2.0, 1.0], 2.0, 100.0),
        ([4.0, 1.0, 1.0], 2.0, 10**1.5),  # half of the way on both logarithmic axes
        ([1.0, 4.0, 0.5], 2.0, 10.0),  # the first time counts
        ([4.0, 3.0, 2.5], 2.0, math.inf),
        ([4.0, 3.0, 2.0], 2.0, 1000.0),
    ],
)
def test_the_size_that_an_error_takes(errors, level, size):
    assert needed(pd.Series(errors, index=[10.0, 100.0, 1000.0]), level) == pytest.approx(size)


def test_findings_add_up_to_a_verdict_and_a_tie_is_no_finding():
    assert verdict([True, True]) == "holds"
    assert verdict([True, "tie"]) == verdict([False, True]) == "holds in part"
    assert verdict(["tie", False]) == "does not hold"


def test_what_is_at_the_rounding_of_its_precision_is_named_and_not_drawn():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    scores = {"way": ["none", "none", "built in", "built in"], "across": [1, 2, 1, 2], "score": [1.0, 2.0, 1e-13, 2e-13]}
    lines(ax, pd.DataFrame(scores))
    assert [text.get_text() for text in ax.texts] == ["built in: below 2e-13"] and len(ax.lines) == 1
    plt.close()


def test_each_section_has_its_figures():
    drawn = {spec.experiment for spec in FIGURES.values()}
    assert set(EXPERIMENTS) <= drawn
