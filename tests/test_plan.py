"""Configurations: what is planned, and what is refused before anything starts."""

import json

import pytest

from lib.plan import ConfigError, labelled_plan, plan, profile_of
from lib.records import record_path

CHANGES = [
    ({"lambda_equiv": -0.5}, r"lambda_equiv \(beta, .*must be at least 0, got -0.5"),
    ({"lambda_aug": float("nan")}, "lambda_aug must be at least 0, got nan"),
    ({"copies": 0}, r"copies \(K, the augmentations per sample\) must be a whole number of at least 1, got 0"),
    ({"copies": 1.5}, "copies"),
    ({"gamma": 0.0}, "gamma must be positive, got 0.0"),
    ({"lr": -1e-3}, "lr must be positive"),
    ({"scenarios": ["sideways"]}, "unknown scenario 'sideways': rotated_mnist has in, out, out30"),
    ({"target": "labels"}, "target must be one of label, prediction, got 'labels'"),
    ({"rows": [{"label": "x", "model": "cnn", "method": "semolla"}]}, "unknown method 'semolla': choose one of standard"),
    ({"rows": [{"label": "x", "model": "gan", "method": "semola"}]}, "unknown model 'gan': choose one of cnn"),
    ({"betta": 1.0}, "unknown setting betta"),
    ({"steps": 0}, "steps must be a whole number"),
    ({"warmup": 0}, r"warmup must be a share of the steps in \(0, 1\], or null for none, got 0"),
    ({"decay": 1.5}, r"decay must be a share of the steps in \(0, 1\], or null for none, got 1.5"),
    ({"decay": 0.2}, "decay starts where warmup ends and must be larger than 0.3, got 0.2"),
    (
        {"rows": [{"label": "x", "model": "cnn", "method": "augmented", "basis": "LieGAN"}]},
        "'x' takes its basis from 'LieGAN': choose one of x",
    ),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES, ids=[next(iter(changes)) for changes, _ in CHANGES])
def test_bad_values_are_refused_with_their_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan("rotated_mnist", "smoke", **changes)


@pytest.mark.parametrize(
    ("experiment", "profile", "message"),
    [
        ("rotated_mnits", "smoke", "unknown experiment 'rotated_mnits'"),
        ("rotated_mnist", "fast", "unknown profile 'fast': choose best or one of"),
    ],
)
def test_unknown_names_are_refused(experiment, profile, message):
    with pytest.raises(ConfigError, match=message):
        plan(experiment, profile)


def test_a_run_holds_only_what_its_method_reads():
    by_method = {run["method"]: run for run in plan("rotated_mnist", "smoke") if "basis" not in run}
    assert "gamma" not in by_method["standard"]
    assert "lambda_aug" not in by_method["augmented"]
    assert {"gamma", "lambda_equiv"} <= by_method["augmented"].keys()
    assert {"lambda_aug", "lambda_ortho", "lambda_sparse", "similarity"} <= by_method["semola"].keys()


def test_changing_a_weight_changes_only_the_runs_that_read_it():
    before, after = plan("rotated_mnist", "quick"), plan("rotated_mnist", "quick", lambda_aug=0.2)
    assert [a["method"] for a, b in zip(before, after, strict=True) if a != b] == ["semola"] * 6
    changed = next(run for run in after if run["method"] == "semola")
    assert [profile_of("rotated_mnist", run) for run in (before[0], changed)] == ["quick", None]


SEARCHES = [("rotated_mnist", name) for name in ("search", "search_baselines", "finalists", "search_warmup", "finalists_warmup")]


@pytest.mark.parametrize(
    ("experiment", "profile"), [*SEARCHES, ("two_body", "search"), ("discrete_rotation", "search"), ("partial_permutation", "search")]
)
def test_every_row_gets_the_same_number_of_trials(experiment, profile):
    labels = [label for label, _ in labelled_plan(experiment, profile)]
    assert len({labels.count(label) for label in labels}) == 1


def test_a_row_takes_its_basis_from_the_run_of_its_scenario_and_seed():
    planned = labelled_plan("two_body", "quick")
    found = {(label, run["scenario"], run["seed"]): run for label, run in planned}
    run = found["MLP + LieGAN_4 aug", "out", 2]
    assert run["basis"] == record_path("two_body", found["LieGAN_4", "out", 2]).stem
    places = [label for label, _ in planned]
    assert max(places.index(f"LieGAN_{k}") for k in (0, 2, 4)) < min(i for i, (_, run) in enumerate(planned) if "basis" in run)


def test_discovery_is_the_same_in_every_profile():
    """LieGAN keeps its authors' settings: only smoke shrinks it."""
    by_profile = {
        profile: {record_path("two_body", run) for run in plan("two_body", profile) if run["method"] == "liegan"}
        for profile in ("quick", "paper", "smoke")
    }
    assert by_profile["quick"] == by_profile["paper"]
    assert not by_profile["quick"] & by_profile["smoke"]


def test_records_of_different_runs_have_different_files():
    runs = [run for profile in ("smoke", "quick", "paper", "search") for run in plan("rotated_mnist", profile)]
    different = {json.dumps(run, sort_keys=True) for run in runs}
    assert len({record_path("rotated_mnist", run) for run in runs}) == len(different)


def test_a_row_with_scenarios_of_its_own_is_in_these_only():
    units = {(run["scenario"], run["model_options"]["unit"]) for label, run in labelled_plan("mocap", "quick") if label == "GATr"}
    assert units == {("walk", 3.0), ("run", 10.0)}
    others = {run["scenario"] for label, run in labelled_plan("mocap", "quick") if label != "GATr"}
    assert others == {"walk", "run"}


def test_a_number_of_validation_passes_is_a_number_of_passes():
    assert {run["evaluations"] for run in plan("mocap_mlp", "long")} == {400}
    assert not any("evaluations" in run for run in plan("mocap_mlp", "quick"))
    with pytest.raises(ConfigError, match="evaluations must be a whole number of at least 1, got 0"):
        plan("mocap_mlp", "long", evaluations=0)


def test_several_generators_start_apart_and_one_does_not_ask_for_it():
    starts = {label: run.get("start") for label, run in labelled_plan("mocap_discovery", "quick")}
    assert starts == {"SEMoLA_1": None, "SEMoLA_3": "unit"}
