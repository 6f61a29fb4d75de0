"""Configurations: what is planned, and what is refused before anything starts."""

import pytest

from lib.plan import ConfigError, plan, profile_of
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
    ({"rows": [{"label": "x", "model": "gnn", "method": "semola"}]}, "unknown model 'gnn': choose one of cnn"),
    ({"betta": 1.0}, "unknown setting betta"),
    ({"steps": 0}, "steps must be a whole number"),
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
    by_method = {run["method"]: run for run in plan("rotated_mnist", "smoke")}
    assert "gamma" not in by_method["standard"]
    assert "lambda_aug" not in by_method["augmented"]
    assert {"gamma", "lambda_equiv"} <= by_method["augmented"].keys()
    assert {"lambda_aug", "lambda_ortho", "lambda_sparse", "similarity"} <= by_method["semola"].keys()


def test_changing_a_weight_changes_only_the_runs_that_read_it():
    before, after = plan("rotated_mnist", "quick"), plan("rotated_mnist", "quick", lambda_aug=0.2)
    assert [a["method"] for a, b in zip(before, after, strict=True) if a != b] == ["semola"] * 9
    assert [profile_of("rotated_mnist", run) for run in (before[0], after[-1])] == ["quick", None]


def test_every_method_gets_the_same_number_of_trials():
    for profile in ("search", "finalists"):
        counts = {}
        for run in plan("rotated_mnist", profile):
            counts[run["method"]] = counts.get(run["method"], 0) + 1
        assert len(set(counts.values())) == 1, counts


def test_records_of_different_runs_have_different_files():
    runs = [run for profile in ("smoke", "quick", "paper", "search") for run in plan("rotated_mnist", profile)]
    assert len({record_path("rotated_mnist", run) for run in runs}) == len(runs)
