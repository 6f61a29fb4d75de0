"""Figures against beta: which numbers they take from the results, and that every one is drawn."""

import pandas as pd
import pytest

from lib.views.figures.against_beta import across_scenarios, against_beta, dialled


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


# ------------------------------------------------------------------------------------------------- across scenarios

BETAS = (0.0, 0.1, 10.0)


@pytest.fixture
def molecular():
    """Two seeds of three molecules; REMUL with two groups, a GNN, and an EGNN whose E is rounding alone."""
    rows = []
    for k, scenario in enumerate(("aspirin", "ethanol", "uracil")):
        for seed in (0, 1):
            for group in ("haar", "vertical"):
                for beta in BETAS:
                    run = {"method": "remul", "lambda_equiv": beta, "group": group}
                    rows.append((f"REMUL, {group}", scenario, seed, run, 1.0 + k + beta + seed, 0.1 / (1 + beta) + seed))
            rows.append(("GNN", scenario, seed, {"method": "standard"}, 5.0 + k + seed, 0.3))
            rows.append(("EGNN", scenario, seed, {"method": "standard"}, 9.0 + k + seed, 2e-8))
    return pd.DataFrame(rows, columns=["model", "scenario", "seed", "run", "test_mse", "E"])


def drawn(draw, frame):
    """The figure, and its panels as pairs (curves, strip of baselines) in the order of reading; unused ones left out."""
    figure = draw(draw.numbers(frame))
    axes = [ax for ax in figure.axes if ax.axison]
    return figure, list(zip(axes[::2], axes[1::2], strict=True))


def test_each_scenario_has_a_column_and_each_metric_a_row(molecular):
    figure, pairs = drawn(across_scenarios({"test_mse": "MSE (Å²)", "E": "E (Å)"}, ("ethanol", "aspirin", "benzene")), molecular)
    assert [ax.get_title(loc="left") for ax, _ in pairs] == ["ethanol", "aspirin", "", ""], "what there is, in the order asked for"
    assert [ax.get_ylabel() for ax, _ in pairs] == ["MSE (Å²)", "", "E (Å)", ""]
    assert [ax.get_xlabel() for ax, _ in pairs] == ["", "", "β", "β"]
    for ax, strip in pairs:
        assert ax.get_yscale() == "log" and strip.get_ylim() == ax.get_ylim()
    for ax, strip in pairs[2:]:
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.1", "10"]
        assert [label.get_text() for label in strip.get_xticklabels()] == ["GNN", "EGNN"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["haar", "vertical"]


def test_curves_are_means_of_the_seeds_and_baselines_stand_beside_them(molecular):
    _, ((ax, strip), (e, e_strip)) = drawn(across_scenarios({"test_mse": "MSE", "E": "E"}, ("uracil",)), molecular)
    for line in ax.lines[:2]:
        assert list(line.get_ydata()) == pytest.approx([3.0 + beta + 0.5 for beta in BETAS])
    assert [list(line.get_ydata()) for line in ax.lines[2:]] == [[7.5, 7.5], [11.5, 11.5]], "means of GNN and EGNN"
    assert [sum(len(points.get_offsets()) for points in part.collections) for part in (ax, strip)] == [12, 4]
    assert [list(line.get_ydata()) for line in e.lines[2:]] == [[0.3, 0.3]], "EGNN's E is written, not drawn"
    assert [text.get_text() for text in e_strip.texts] == ["2e-08"] and e.get_ylim()[0] > 1e-3


def test_augmenters_differ_in_colour_line_and_marker(molecular):
    _, ((ax, _),) = drawn(across_scenarios({"E": "E"}, ("uracil",)), molecular)
    first, second = ax.lines[:2]
    assert first.get_color() != second.get_color() and first.get_linestyle() != second.get_linestyle()
    shapes = [points.get_paths()[0].vertices.shape for points in ax.collections]
    assert shapes[0] != shapes[1]


def test_many_scenarios_go_on_in_further_rows(molecular):
    more = pd.concat([molecular.assign(scenario=molecular.scenario + tail) for tail in ("", " acid")])
    _, pairs = drawn(across_scenarios({"E": "E"}), more)
    corners = [ax.get_position().y0 for ax, _ in pairs]
    assert len(pairs) == 6 and len({round(y, 3) for y in corners[:4]}) == 1 and corners[4] < corners[0]
    assert [ax.get_title(loc="left") for ax, _ in pairs] == list(more.scenario.unique())
    assert {ax.get_xlabel() for ax, _ in pairs} == {"β"} and [ax.get_ylabel() for ax, _ in pairs] == ["E", "", "", "", "E", ""]


def test_gradual_weights_are_curves_of_their_own(molecular):
    gradual = molecular[molecular.model == "REMUL, haar"].assign(model="REMUL gradual")
    gradual["run"] = [{**run, "gradual": {}} for run in gradual.run]
    numbers = across_scenarios({"E": "E"}).numbers(pd.concat([molecular, gradual]))
    assert set(numbers.group) == {"haar", "vertical", "haar, gradual", ""}


def test_clipping_is_named_only_where_some_are_clipped(molecular, frame):
    assert set(dialled(molecular, ["E"]).group) == {"haar", "vertical", ""}
    bare = [{name: value for name, value in run.items() if name != "clip"} for run in frame.run]
    both = pd.concat([frame, frame.assign(run=bare, model=frame.model + ", unclipped")])
    assert set(dialled(both, ["E_prime"]).group) == {"10deg", "10deg, unclipped", ""}


def test_results_of_other_scenarios_are_refused(molecular):
    with pytest.raises(ValueError, match="no results of benzene, toluene: these are of aspirin, ethanol, uracil"):
        across_scenarios({"E": "E"}, ("benzene", "toluene")).numbers(molecular)


def test_what_is_exact_is_told_by_the_size_of_the_others(frame):
    """Rounding in large units is rounding, and a small error beside errors as small is drawn."""
    for unit, exact in ((100.0, True), (1e-6, True)):
        figure = against_beta({"E_prime": "E'"})(dialled(frame.assign(E_prime=unit * frame.E_prime), ["E_prime"]))
        assert bool(figure.axes[-1].texts) == exact
    close = frame.assign(E_prime=frame.E_prime.where(frame.model != "GATr", 1e-3) * 1e-6)
    assert not against_beta({"E_prime": "E'"})(dialled(close, ["E_prime"])).axes[-1].texts
