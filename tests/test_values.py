"""Values of a run: equal numbers are one run, what is no number is refused with its name, and options are those that a network takes."""

import functools
import json

import numpy as np
import pytest
import yaml

from lib.experiments.settings import ConfigError, labelled_plan, plan
from lib.experiments.values import checked, finite, network_options

EXPERIMENTS = (
    "rotated_mnist",
    "two_body",
    "discrete_rotation",
    "nbody",
    "loss_surface",
    "mocap",
    "mocap_mlp",
    "md17",
    "qm9",
    "flow_dial",
    "coverage_bodies",
)
NUMBERS = (
    "assignment", "batch_size", "cardinality", "clip", "copies", "decay", "error_draws", "error_samples", "evaluations", "gamma",
    "heavy", "horizon", "lambda_aug", "lambda_equiv", "lambda_ortho", "lambda_sparse", "lambda_task", "lambda_width", "lr", "lr_decay",
    "lr_discriminator", "n_eval", "n_train", "restarts", "seed", "seen", "sigma", "steps", "strength", "surface", "test_copies",
    "timesteps", "trimmed", "warmup", "worst_samples", "worst_steps",
)  # fmt: skip
NO_NUMBERS = [
    True,
    False,
    np.True_,
    [0.1, 1.0],
    np.array([1.0]),
    {},
    "0,5",
    "many",
    "",
    "nan",
    float("nan"),
    float("inf"),
    -np.inf,
    10**400,
]


def text(run):
    return json.dumps(run, sort_keys=True)


@functools.cache
def with_each_name() -> dict:
    """Of each name a run that has it."""
    planned = [
        run for experiment in EXPERIMENTS for profile in ("quick", "paper") for _, run in labelled_plan(experiment, profile, seeds=[0])
    ]
    others = {"assignment": plan("mocap", "assignments")[0], "centred": plan("mocap_mlp", "recorded")[-1]}
    others["trimmed"] = plan("two_body", "perturbed_trimmed")[0]
    return {name: run for run in planned for name in run} | others


def test_every_number_of_a_run_is_looked_at():
    found = with_each_name().items()
    assert sorted(name for name, run in found if isinstance(run[name], int | float) and not isinstance(run[name], bool)) == [*NUMBERS]


@pytest.mark.parametrize("name", NUMBERS)
def test_equal_numbers_are_one_run(name):
    run = with_each_name()[name]
    value = run[name]
    assert text(checked(run)) == text(run)
    spelt = [str(value), f"{value:.17e}", yaml.safe_load(f"{value:e}".replace(".000000", "")), float(value), np.float64(value)]
    spelt += [int(value), np.int64(value), np.uint8(value)] if value == int(value) and value < 256 else [np.float32(value)]
    for other in spelt:
        assert text(checked({**run, name: other})) == text(run), other


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused_with_name_and_value(name):
    for value in [*NO_NUMBERS, None]:
        with pytest.raises(ConfigError, match=rf"(?s)^{name}.* must be .*got ") as error:
            checked({**with_each_name()[name], name: value})
        assert repr(value) in str(error.value)


def test_a_whole_number_is_the_recorded_one_and_nothing_is_planned_anew():
    recorded = plan("discrete_rotation", "quick")
    for same in ({"lambda_equiv": 1}, {"lambda_equiv": "1"}, {"copies": 4.0}, {"seeds": np.arange(3)}, {"seeds": (0.0, "1", np.int8(2))}):
        assert text(plan("discrete_rotation", "quick", **same)) == text(recorded)
    assert text(plan("discrete_rotation", "quick", lambda_sparse=-0.0)) == text(plan("discrete_rotation", "quick", lambda_sparse=0))


def test_a_number_of_numpy_is_what_it_prints():
    assert [finite(value) for value in (np.float32(0.1), np.float16(0.1), np.int64(3), np.str_("1e-3"))] == [0.1, 0.1, 3, 1e-3]
    assert isinstance(finite("12"), int) and finite(2**62 + 1) == 2**62 + 1


@pytest.mark.parametrize("seeds", [3, "012", [], (), None, [None], [0.5], [True], np.array(3), np.zeros((2, 2)), {0: 1}])
def test_seeds_are_a_list_of_whole_numbers(seeds):
    with pytest.raises(ConfigError, match=r"seeds? must be a"):
        plan("discrete_rotation", "smoke", seeds=seeds)


@pytest.mark.parametrize("scenarios", ["in", [], 1, None])
def test_scenarios_are_a_list(scenarios):
    with pytest.raises(ConfigError, match="scenarios must be a list of at least one value"):
        plan("rotated_mnist", "smoke", scenarios=scenarios)


@pytest.mark.parametrize(
    ("experiment", "changes", "message"),
    [
        ("discrete_rotation", {"norm": "sqrtdim"}, "norm must be sqrt_dim, a positive number, or null for none, got 'sqrtdim'"),
        ("discrete_rotation", {"norm": 0}, "norm must be .* got 0$"),
        ("discrete_rotation", {"target": ["label"]}, r"target must be one of label, prediction, got \['label'\]"),
        ("two_body", {"scaled": 1}, "scaled must be one of True, False, got 1"),
        ("two_body", {"scaled": "yes"}, "scaled must be one of True, False, got 'yes'"),
        ("nbody", {"group": "so2"}, "group must be one of haar, 10deg, got 'so2'"),
        ("discrete_rotation", {"liegan": {"sigm": 1.0}}, r"unknown setting sigm of liegan.*: did you mean sigma\?"),
        ("discrete_rotation", {"networks": {"mlp": {"width": 1.5}, "vector": {}}}, "option width of network mlp.* whole number .*got 1.5"),
        ("discrete_rotation", {"networks": {"mlp": {"width": True}, "vector": {}}}, "option width .*got True"),
        ("discrete_rotation", {"networks": {"mlp": [1]}}, r"must be a mapping of names to values, got \[1\]"),
        ("mocap_mlp", {"networks": {"mlp": {"activation": 1}}}, "option activation of network mlp.* must be text, as 'relu' is, got 1"),
        ("rotated_mnist", {"networks": {"cnn": {"widths": 8}}}, "option widths of network cnn.* must be a list of at least one .*got 8"),
        ("nbody", {"gradual": {"eta": "fast"}}, "option eta of gradual weights must be at least 0, got 'fast'"),
        ("nbody", {"gradual": True}, "options of gradual weights must be a mapping of names to values, got True"),
        ("nbody", {"gradual": {"relative": 0}}, "option relative of gradual weights must be one of True, False, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(experiment, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(experiment, "paper", **changes)


def test_choices_keep_their_form():
    run, normed = with_each_name()["centred"], with_each_name()["norm"]
    assert checked({**run, "centred": np.False_})["centred"] is False
    with pytest.raises(ConfigError, match="centred must be one of True, False, got 0"):
        checked({**run, "centred": 0})
    assert checked({**normed, "norm": 1})["norm"] == 1.0 and checked({**normed, "norm": None})["norm"] is None
    for bad in (np.zeros(2), [None]):
        with pytest.raises(ConfigError, match="norm must be sqrt_dim"):
            checked({**normed, "norm": bad})


def test_options_have_the_form_of_their_defaults():
    run = with_each_name()["model_options"] | {
        "model": "transformer",
        "model_options": {"width": "96", "blocks": np.int64(4), "heads": 4.0},
    }
    assert text(checked(run)["model_options"]) == text({"width": 96, "blocks": 4, "heads": 4})
    run |= {"model": "cnn", "model_options": {"widths": (np.int64(8), 16.0, "32", 32)}}
    assert text(checked(run)["model_options"]) == text({"widths": [8, 16, 32, 32]})
    run |= {"model": "gatr", "model_options": {"unit": 3}}
    assert text(checked(run)["model_options"]) == text({"unit": 3.0})
    assert network_options("vector") == {"width": 512}


def test_the_grid_of_an_integer_draw_has_a_whole_reach():
    run = next(run for run in plan("discrete_rotation", "quick") if run["method"] == "liegan")
    assert run["draw"] == "integers" and text(checked({**run, "sigma": 10.0})) == text(run)
    with pytest.raises(ConfigError, match=r"sigma must be a whole number of at least 1, got 0.5"):
        checked({**run, "sigma": 0.5})


def test_a_mask_or_an_option_that_the_task_does_not_have_is_named():
    row = {"label": "x", "model": "mlp", "method": "semola", "mask": "mask_9"}
    with pytest.raises(ConfigError, match="mask must be one of mask_0, mask_2, mask_4, got 'mask_9'"):
        plan("two_body", "smoke", rows=[row])
    with pytest.raises(ConfigError, match="mask must be one of none, as there are none here, got 'mask_9'"):
        plan("discrete_rotation", "smoke", rows=[row])
    with pytest.raises(ConfigError, match="unknown option timesteps of task discrete_rotation: choose from n_eval, n_train, scenario"):
        plan("discrete_rotation", "smoke", rows=[{**row, "mask": None, "timesteps": 3}])


def test_where_the_worst_case_is_looked_for_and_how_long_go_together():
    run = {name: value for name, value in with_each_name()["worst_steps"].items() if name != "worst_steps"}
    with pytest.raises(ConfigError, match="worst_samples and worst_steps go together"):
        checked(run)
