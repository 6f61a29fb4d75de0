"""Figures against beta and of times: which numbers they take from the results, and that every one is drawn."""

import pandas as pd
import pytest

from lib import dial, figures
from lib.dial import against_beta, dialled


@pytest.fixture
def frame():
    rows = []
    for seed in (0, 1):
        for beta in (0.0, 1.0, 10.0):
            for kind in ({}, {"gradual": {}}):
                run = {"method": "remul", "lambda_equiv": beta, "group": "10deg", "clip": 10.0, **kind}
                rows.append(("REMUL gradual" if kind else "REMUL", seed, run, 1.0 / (1 + beta)))
        rows.append(("Transformer", seed, {"method": "standard"}, 2.0))
        rows.append(("GATr", seed, {"method": "standard"}, 1e-7))
    frame = pd.DataFrame(rows, columns=["model", "seed", "run", "E_prime"])
    return frame.assign(scenario="10deg")


def test_runs_fall_into_panels(frame):
    numbers = dialled(frame, ["E_prime"])
    assert numbers.groupby("panel").size().to_dict() == {"gradual": 6, "constant": 6, "baselines": 4}
    point = numbers[(numbers.panel == "gradual") & (numbers.beta == 10.0) & (numbers.seed == 1)].iloc[0]
    assert point.score == pytest.approx(1 / 11) and point.group == "10deg"


def test_every_seed_is_a_point_and_what_is_exact_is_written(frame):
    draw = against_beta({"E_prime": "E'"})
    figure = draw(draw.numbers(frame))
    gradual, constant, baselines = figure.axes
    for ax in (gradual, constant):
        assert sum(len(points.get_offsets()) for points in ax.collections) == 6
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "10"]
        assert list(ax.lines[0].get_ydata()) == pytest.approx([1.0, 0.5, 1 / 11])
    assert sum(len(points.get_offsets()) for points in baselines.collections) == 2
    assert [text.get_text() for text in baselines.texts] == ["1e-07"]
    assert dial.NOT_DRAWN < 2.0


def test_durations_are_drawn_against_the_batch():
    rows = [("GATr", {"batch_size": b}, 0.1 * b, 0.2 * b, 0.05 * b) for b in (1, 4)]
    frame = pd.DataFrame(rows, columns=["model", "run", "forward_s", "backward_s", "inference_s"])
    figure = figures.durations(figures.durations.numbers(frame))
    assert [ax.get_title() for ax in figure.axes] == ["forward", "backward", "inference"]
    assert list(figure.axes[1].lines[0].get_ydata()) == pytest.approx([0.2, 0.8])


def test_beta_is_chosen_on_validation_alone(frame):
    errors = {0.0: (3.0, 5.0), 1.0: (4.0, 1.0), 10.0: (0.0, 9.0)}  # by seed; 1 has the least mean, 10 the least error
    frame["val_mse"] = [
        errors[run["lambda_equiv"]][seed] if "lambda_equiv" in run else 7.0 for run, seed in zip(frame.run, frame.seed, strict=True)
    ]
    chosen = dial.at_best_beta(frame.assign(test_mse=range(len(frame))))
    assert {run["lambda_equiv"] for run in chosen.run[chosen.model.str.startswith("REMUL")]} == {1.0}
    assert chosen.groupby("model").size().to_dict() == {"GATr": 2, "REMUL": 2, "REMUL gradual": 2, "Transformer": 2}
