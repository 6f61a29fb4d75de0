"""Figures of times: what is drawn of the probes, and which runs' times stand for a row."""

import pandas as pd
import pytest

from lib.experiments.settings import labelled_plan
from lib.experiments.timing import probe_path
from lib.views.figures import durations


def test_durations_are_drawn_against_the_batch():
    rows = [("GATr", {"batch_size": b}, 0.1 * b, 0.2 * b, 0.05 * b) for b in (1, 4)]
    frame = pd.DataFrame(rows, columns=["model", "run", "forward_s", "backward_s", "inference_s"])
    figure = durations.durations(durations.durations.numbers(frame))
    assert [ax.get_title() for ax in figure.axes] == ["forward", "backward", "inference"]
    assert list(figure.axes[1].lines[0].get_ydata()) == pytest.approx([0.2, 0.8])


@pytest.fixture
def frame():
    """Two seeds on two molecules, which share a probe; REMUL's beta = 0 takes no rotated pass."""
    rows = []
    for scenario, base in (("aspirin", 2.0), ("ethanol", 1.0)):
        for seed in (0, 1):
            for beta, cost in ((0.0, 1.0), (1.0, 2.0), (10.0, 2.1)):
                rows.append(("REMUL", scenario, seed, {"lambda_equiv": beta}, cost * base, 0.1 * base))
            rows.append(("GNN", scenario, seed, {}, base, 0.1 * base))
    return pd.DataFrame(rows, columns=["model", "scenario", "seed", "run", "train_s", "test_s"])


def test_no_times_are_taken_from_beta_0_where_beta_turns(frame):
    assert [run.get("lambda_equiv") for run in durations.at_work(frame).run] == [1.0, 10.0, None] * 4
    only = frame[[run.get("lambda_equiv", 0.0) == 0 for run in frame.run]]
    pd.testing.assert_frame_equal(durations.at_work(only), only)


def test_each_probe_is_a_point_of_its_scenario_and_model(frame):
    numbers = durations.totals(frame)
    training = numbers[numbers.part == "train_s"].groupby(["model", "scenario"]).seconds.apply(list).to_dict()
    assert training == {
        ("REMUL", "aspirin"): [4.0, 4.2],
        ("GNN", "aspirin"): [2.0],
        ("REMUL", "ethanol"): [2.0, 2.1],
        ("GNN", "ethanol"): [1.0],
    }
    figure = durations.by_scenario(numbers)
    assert [ax.get_title() for ax in figure.axes] == ["training", "predicting the test set"]
    assert figure.axes[0].get_ylabel() == "time (s)" and {ax.get_yscale() for ax in figure.axes} == {"log"}
    remul, gnn = figure.axes[0].collections
    assert sorted(remul.get_offsets()[:, 1]) == pytest.approx([2.0, 2.1, 4.0, 4.2]) and list(gnn.get_offsets()[:, 1]) == [2.0, 1.0]
    assert [round(x) for x in gnn.get_offsets()[:, 0]] == [0, 1], "in the place of its scenario"
    assert not set(remul.get_offsets()[:, 0]) & set(gnn.get_offsets()[:, 0]), "beside each other"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["REMUL", "GNN"]


@pytest.mark.parametrize("weight", ["lambda_task", "lambda_equiv", "lambda_aug", "lambda_ortho", "lambda_sparse"])
def test_runs_share_a_probe_where_the_same_terms_are_computed(weight):
    run = dict(labelled_plan("two_body", "smoke"))["SEMoLA_0"]
    zero, one, more = (probe_path("two_body", {**run, weight: value}).name for value in (0.0, 1.0, 10.0))
    assert one == more != zero
    assert probe_path("two_body", {**run, weight: 0}).name == zero
