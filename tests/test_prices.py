"""Prices: operations and tensors counted by hand, and recorded experiments priced from others."""

import json
import shutil

import pytest

from lib.experiments import prices
from lib.experiments.prices import CORE, estimates, hours, memory, operations, work_of
from lib.experiments.settings import labelled_plan, plan
from lib.experiments.store import read_record, record_path, seconds_of
from lib.experiments.values import ConfigError

MLP = dict(labelled_plan("discrete_rotation", "quick"))["MLP"]


def test_operations_and_tensors_of_a_perceptron_are_those_counted_by_hand():
    """Four layers, n x w, twice w x w, and w x 1; a product and a sum for each weight; kept is what each layer reads."""
    n, w = 3, MLP["model_options"]["width"]
    work = work_of(MLP)
    weights = n * w + 2 * w * w + w
    assert work.operations == 2 * weights and work.parameters == 4 * (weights + 3 * w + 1)
    assert work.kept == 4 * (n + 3 * w)
    step = {**MLP, "steps": 1, "evaluations": 1, "n_eval": 0, "error_samples": 0}
    assert operations(step, work) == 3 * work.operations * MLP["batch_size"]
    assert memory(MLP, work) == 4 * work.parameters + work.kept * MLP["batch_size"]


def test_copies_count_and_a_discriminator_sees_three_batches():
    by_label = dict(labelled_plan("discrete_rotation", "quick"))
    both = {**by_label["SEMoLA"], "n_eval": 0, "error_samples": 0}
    assert operations(both, work_of(both)) == 3 * work_of(both).operations * both["steps"] * both["batch_size"] * (1 + both["copies"])
    run, work = by_label["LieGAN"], work_of(by_label["LieGAN"])
    width = run["model_options"]["width"]
    assert work.operations == 2 * (4 * width + width**2 + width), "of three entries of x and one of y"
    assert operations(run, work) == 3 * work.operations * run["steps"] * 3 * run["batch_size"]


def test_a_run_costs_what_it_computed_where_that_is_known():
    assert seconds_of({"device": "cpu", "wall_s": 9.0}) == 9.0 == seconds_of({"device": "cuda", "wall_s": 9.0, "core_s": 4.0})
    assert seconds_of({"device": "cpu", "wall_s": 9.0, "core_s": 4.0}) == 4.0


def priced(experiment: str, known: list, asked: list, folder) -> float:
    """What is asked, priced from what is known, over what it took."""
    (folder / "runs" / experiment).mkdir(parents=True)
    for run in known:
        shutil.copy(record_path(experiment, run), folder / "runs" / experiment)
    took = [seconds_of(read_record(record_path(experiment, run))) / 60 for run in asked]
    return sum(estimates(experiment, asked, folder)) / sum(took)


@pytest.mark.parametrize(("experiment", "profile"), [("mocap", "wide"), ("rotated_mnist", "fashion"), ("two_body", "perturbed")])
def test_recorded_profiles_are_priced_from_quick_within_thirty_per_cent(experiment, profile, tmp_path):
    """Twice the width and 32 times the steps, other images, and other data; docs/clusters.md names those that are priced too low."""
    assert priced(experiment, plan(experiment, "quick"), plan(experiment, profile), tmp_path) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("experiment", ["capacity_bodies", "capacity_orbits"])
def test_large_networks_are_priced_from_small_ones_within_thirty_per_cent(experiment, tmp_path):
    runs = sorted(plan(experiment, "quick"), key=lambda run: work_of(run).parameters)
    middle = work_of(runs[len(runs) // 2]).parameters
    small, large = ([run for run in runs if (work_of(run).parameters < middle) == below] for below in (True, False))
    assert priced(experiment, small, large, tmp_path) == pytest.approx(1, abs=0.3)


def test_what_a_larger_network_costs_besides_is_what_records_say():
    """`CORE`: additional operations of a step over its additional time, between the plain Transformers of four bodies."""
    found = {}
    for label, run in labelled_plan("capacity_bodies", "quick"):
        if label == "Transformer":
            record = read_record(record_path("capacity_bodies", run))
            found.setdefault(json.dumps(run["model_options"]), []).append((work_of(run).operations, record["train_s"] / run["steps"], run))
    sizes = sorted((ops, sum(t for _, t, _ in rows) / len(rows), run) for rows in found.values() for ops, _, run in rows[:1])
    (small, quick, run), (large, slow, _) = sizes[0], sizes[-1]
    assert 3 * run["batch_size"] * (large - small) / (slow - quick) == pytest.approx(CORE, rel=0.3)


def test_hours_by_workers_take_the_longest_first():
    assert hours([60.0] * 3, 3) == 1 and hours([60.0] * 3, 2) == 2
    with pytest.raises(ConfigError, match="--workers must be at least 1, got 0"):
        hours([60.0], 0)
    assert hours([30.0, 30.0, 60.0, 120.0], 2) == 2 and hours([], 4) == 0


def test_a_plan_says_what_it_needs(capsys, tmp_path):
    runs = plan("discrete_rotation", "quick")
    prices.print_plan("discrete_rotation", runs, 8, tmp_path)
    *_, needs, last = capsys.readouterr().out.splitlines()
    assert needs.startswith("about 0.0 h by 8 workers of 0.0") and "a GPU: " in needs and f"and {len(runs)} runs of unknown cost" in last
