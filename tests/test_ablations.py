"""Figures of runs that differ in one setting show the right runs and the right numbers."""

import numpy as np
import pandas as pd
import pytest

from lib.views.figures.ablations import against, elements_of, on_the_way, one_at_a_time
from lib.views.figures.perturbed import claims_of, perturbed

BASE = {"method": "semola", "gamma": 2.0, "copies": 2, "cardinality": 1, "seed": 0}


def frame_of(*changes: dict, **columns) -> pd.DataFrame:
    runs = [{**BASE, **change} for change in changes]
    scores = {"test_accuracy": [90.0 + i for i in range(len(runs))], "cosine": [1 - 0.1 * i for i in range(len(runs))]}
    return pd.DataFrame({"model": "SEMoLA", "run": runs, "seed": [run["seed"] for run in runs], **scores, **columns})


def test_a_knob_shows_the_runs_that_differ_in_it_alone():
    frame = frame_of({}, {"seed": 1}, {"gamma": 1.0}, {"copies": 4}, {"gamma": 1.0, "copies": 4})
    numbers = one_at_a_time(frame, ("gamma", "copies"), ("test_accuracy",))
    found = numbers[["knob", "value", "seed", "score"]].itertuples(index=False, name=None)
    assert sorted(found) == [
        ("copies", 2, 0, 90.0), ("copies", 2, 1, 91.0), ("copies", 4, 0, 93.0),
        ("gamma", 1.0, 0, 92.0), ("gamma", 2.0, 0, 90.0), ("gamma", 2.0, 1, 91.0),
    ]  # fmt: skip
    assert set(numbers[numbers.knob == "gamma"].reference) == {2.0}


def test_a_basis_found_in_other_data_is_no_other_setting_and_what_has_no_score_is_not_drawn():
    frame = frame_of({"n_train": 9, "basis": "of-9"}, {"n_train": 3, "basis": "of-3"}, {"n_train": 3}, {"n_train": 9})
    frame["model"], frame.loc[2, "test_accuracy"] = ["aug", "aug", "LieGAN", "LieGAN"], np.nan
    numbers = one_at_a_time(frame, ("n_train",), ("test_accuracy",))
    assert numbers[["model", "value", "score"]].to_numpy().tolist() == [["aug", 9, 90.0], ["aug", 3, 91.0], ["LieGAN", 9, 93.0]]


def test_each_model_has_a_reference_of_its_own():
    frame = frame_of({}, {"copies": 4}, {"method": "augmented", "gamma": 1.0}, {"method": "augmented", "gamma": 1.0, "copies": 4})
    frame["model"] = ["SEMoLA", "SEMoLA", "GT", "GT"]
    numbers = one_at_a_time(frame, ("copies",), ("test_accuracy",))
    assert numbers.groupby("model").value.apply(list).to_dict() == {"GT": [2, 4], "SEMoLA": [2, 4]}
    figure = against(("copies",), ("test_accuracy", "cosine"))
    drawn = figure(figure.numbers(frame))
    assert [len(axes.lines) for axes in drawn.axes] == [2, 2], "a line a model"


def test_elements_are_scored_one_by_one():
    turn, shear = np.pad([[0.0, -2.0], [2.0, 0.0]], (0, 1)), np.pad([[0.0, 1.0], [0.0, 0.0]], (0, 1))
    both = [turn.tolist(), shear.tolist()]
    others = {"cardinality": 2, "gamma": 1.0}, {"cardinality": 2, "seed": 1}  # neither is drawn
    frame = frame_of({}, {"cardinality": 2}, *others, basis=[[shear.tolist()], both, both, both]).assign(seed=[0, 0, 0, 1])
    numbers = elements_of(frame).drop_duplicates(["cardinality", "generator"])
    assert numbers.cosine.tolist() == pytest.approx([0.5**0.5, 1.0, 0.5**0.5])


def test_how_soon_is_a_row_a_look_whatever_the_generators_sign():
    curves = {"step": [10, 20], "cosine": [-0.5, 0.99], "val_loss": [2.0, 1.0]}
    rows = on_the_way(pd.DataFrame([{"model": "a", "seed": 3, "curves": curves}, {"model": "b", "seed": 4, "curves": curves}]))
    assert rows.to_numpy().tolist() == [["a", 3, 10, 0.5], ["a", 3, 20, 0.99], ["b", 4, 10, 0.5], ["b", 4, 20, 0.99]]


def test_a_claim_needs_validation_alone_and_a_find_the_truth():
    """Claimed at a ratio of validation errors of 0.4, found at an action score of 0.99."""
    runs = [{"n_train": 7000}, {"n_train": 7000}, {"n_train": 1750}, {"n_train": 1750}]
    scores = {"action_score": [0.99, 0.989, 0.5, 1.0], "val_mse": [0.4, 0.41, 0.3, 2.0], "val_mse_plain": [1.0] * 4, "residual": [0.1] * 4}
    frame = pd.DataFrame({"model": "SEMoLA_0", "scenario": "error_1", "seed": [0, 1, 0, 1], "run": runs, **scores})
    numbers = claims_of(frame)
    assert numbers.found.tolist() == [True, False, False, True]
    assert numbers.claimed.tolist() == [True, False, True, False]
    assert numbers.samples.tolist() == [7000, 7000, 1750, 1750]
    figure = perturbed(numbers)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1/2", "1/2"]
