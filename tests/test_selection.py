"""Settings are chosen on seeds that no table uses, and what is compared was given as much, or is said not to have been."""

import functools
import json
import re
from collections import defaultdict

import pandas as pd
import pytest
import yaml

from lib.experiments import selection
from lib.experiments.settings import labelled_plan
from lib.experiments.store import read_record, record_path
from lib.experiments.training import FAR
from lib.files import ROOT
from lib.views.budgets import APART, OF_PAPER, REPLACED, STATED, budget, given, is_search

TEXT = (ROOT / "params.yaml").read_text()
SECTIONS = {name: section for name, section in yaml.safe_load(TEXT).items() if isinstance(section, dict)}
PROFILES = [(experiment, profile) for experiment, section in SECTIONS.items() for profile in section["profiles"]]
SEARCHES = [place for place in PROFILES if is_search(place[1])]
TABLES = {
    "smoke",
    "quick",
    "paper",
    "out30",
    "without_warmup",
    "long",
    "wide",
    "causes",
    "few",
    "wider",
    "starts",
    "draws",
    "gradual",
    "fashion",
}
TABLES |= {"assignments", "assignments_wide", "assignments_long", "inferred", "jetflow", "perturbed", "perturbed_samples"}
TABLES |= {"perturbed_trimmed", "half", "equivariant", "recorded"}
COMPARED = [experiment for experiment in SECTIONS if experiment != "timing"]  # whose networks have the paper's sizes, nothing chosen


@functools.cache
def seeds(experiment: str, profile: str) -> set[int]:
    """Every seed that a profile's runs start from, those of their restarts too."""
    return {run["seed"] + FAR * i for _, run in labelled_plan(experiment, profile) for i in range(run.get("restarts", 1))}


def test_every_profile_is_a_search_or_behind_a_table():
    assert {profile for _, profile in PROFILES if not is_search(profile)} == TABLES


def test_no_seed_of_a_table_is_used_in_a_search():
    """Of any experiment: some take the settings of others. A search that did is replaced."""
    of_tables = set().union(*(seeds(*place) for place in PROFILES if not is_search(place[1])))
    assert of_tables >= {0, 1, 2}
    shared = {place: seeds(*place) & of_tables for place in SEARCHES}
    assert {place for place, both in shared.items() if both} <= REPLACED.keys(), shared


def test_what_replaces_a_search_has_seeds_that_neither_it_nor_a_table_has():
    for (experiment, old), new in REPLACED.items():
        assert (experiment, old) in SEARCHES and (experiment, new) in SEARCHES and (experiment, new) not in REPLACED
        assert not seeds(experiment, old) & seeds(experiment, new), (experiment, old)


def origins() -> list[tuple[str, str, str]]:
    """(experiment, profile or "", comment): every comment of params.yaml, "" where it is not one of a profile."""
    found, experiment, profile = [], "", ""
    for line in TEXT.splitlines():
        if top := re.match(r"(\w+):", line):
            experiment, profile = top[1], ""
        elif inner := re.match(r"    (\w+):", line):
            profile = inner[1] if inner[1] in SECTIONS[experiment]["profiles"] else ""
        elif re.match(r"  \w+:", line):
            profile = ""
        if " # " in line:
            found.append((experiment, profile, line.split(" # ", 1)[1]))
    return found


def named(experiment: str, comment: str) -> list[tuple[str, str]]:
    """The profiles that a comment names: of its own experiment, or of another's as in: partial_permutation's `search`."""
    return [(other.removesuffix("'s ") or experiment, name) for other, name in re.findall(r"(\w+'s |)`(\w+)`", comment)]


def test_no_setting_in_use_comes_from_a_replaced_search():
    used = [(experiment, comment) for experiment, profile, comment in origins() if not is_search(profile)]
    assert any(named(experiment, comment) for experiment, comment in used)
    assert not [comment for experiment, comment in used if set(named(experiment, comment)) & REPLACED.keys()]


@functools.cache
def recorded(experiment: str, profile: str) -> dict[str, list[dict]]:
    """A search's records by label."""
    found = defaultdict(list)
    for label, run in labelled_plan(experiment, profile):
        found[label].append(read_record(record_path(experiment, run), "metrics"))
    return found


@functools.cache
def rows_of(experiment: str, profile: str = "quick") -> dict[str, list[dict]]:
    """The runs of a profile by label."""
    found = defaultdict(list)
    for label, run in labelled_plan(experiment, profile):
        found[label].append(run)
    return found


def validation(record: dict) -> float:
    """The error, or 100 less the accuracy, on validation: the least is best."""
    (name,) = (name for name in record["metrics"] if name in ("val_accuracy", "val_mse", "val_rmse", "val_mae"))
    return 100 - record["metrics"][name] if name == "val_accuracy" else record["metrics"][name]


def flat(run: dict) -> dict:
    """A run's settings and its network's, null where it has none."""
    return (
        {"warmup": None, "decay": None, "lr_decay": None, "clip": None, "basic_wd": None, "relaxed_wd": None, "unit": None}
        | run
        | run["model_options"]
    )


def varied(runs: list[dict]) -> list[str]:
    """The settings in which runs differ, their data and seeds apart."""
    names = set().union(*runs) - {"scenario", "seed", "model_options"}
    return sorted(name for name in names if len({repr(run[name]) for run in runs}) > 1)


def chosen(records: list[dict], sparsest: bool = False) -> dict:
    """What trials varied, in the one of least mean error; or, within half a point of it, of the sparsest basis with the least push.

    Of currents, whose data sets have different units, errors count relative to the least on each.
    """
    names, errors, least = varied([flat(record["run"]) for record in records]), defaultdict(list), defaultdict(lambda: 1.0)
    if "val_rmse" in records[0]["metrics"]:
        least |= {
            r["run"]["scenario"]: min(map(validation, (s for s in records if s["run"]["scenario"] == r["run"]["scenario"])))
            for r in records
        }
    for record in records:
        errors[tuple(flat(record["run"])[name] for name in names)].append(validation(record) / least[record["run"]["scenario"]])
    means = {values: sum(found) / len(found) for values, found in errors.items()}
    near = [dict(zip(names, values, strict=True)) for values in sorted(means, key=means.get) if means[values] <= min(means.values()) + 0.5]
    return min(near, key=lambda found: (-found["lambda_sparse"], found.get("lambda_aug"))) if sparsest else near[0]


SOURCES = {("discrete_rotation", "SEMoLA"): "partial_permutation"}  # where validation does not decide, as params.yaml says
DECIDING = [place for place in SEARCHES if place not in {*REPLACED, *APART} and place[1] in ("search", "search_equal", OF_PAPER)]


@pytest.mark.parametrize("experiment", ["rotated_mnist", "two_body", "discrete_rotation"])
def test_trials_stay_what_they_are_when_a_setting_is_chosen_from_them(experiment, monkeypatch):
    """Those of whatever stands among the settings with a search's name."""
    text = re.search(rf"^{experiment}:.*?^\w", TEXT, re.M | re.S)[0]
    names = set(re.findall(r"^    (\w+): [^#\n]*# .*from.*`search_equal`", text, re.M))
    trials, section = labelled_plan(experiment, "search_equal"), SECTIONS[experiment]
    assert "lambda_aug" in names
    for name in names & section["settings"].keys():
        changed = {**section, "settings": {**section["settings"], name: 0.123}}
        monkeypatch.setattr("lib.experiments.settings.parameters", lambda _, changed=changed: changed)
        assert labelled_plan(experiment, "search_equal") == trials, f"search_equal leaves {name} to the settings"


@pytest.mark.parametrize(("experiment", "profile"), DECIDING)
def test_the_settings_of_quick_and_paper_are_their_searchs_best(experiment, profile):
    """Over its scenarios together. What they vary (beta) is not looked at."""
    for label, planned in rows_of(experiment, "paper" if profile == OF_PAPER else "quick").items():
        runs = [flat(run) for run in planned]
        records = recorded(SOURCES.get((experiment, label), experiment), profile)
        if label in records:
            best = chosen(records[label], label == "SEMoLA" and experiment.startswith("rotated_mnist"))
            now = {name: runs[0][name] for name in best if name not in varied(runs)}
            assert now == {name: best[name] for name in now}, label


def test_beta_over_assignments_is_the_one_chosen_on_walking():
    records = recorded("mocap", "search_equal")
    best = chosen([r for r in records["REMUL"] if r["run"]["scenario"] == "walk"])["lambda_equiv"]
    for profile in ("assignments", "inferred", "assignments_wide", "assignments_long"):
        assert {run["lambda_equiv"] for label, run in labelled_plan("mocap", profile) if label == "REMUL"} == {best}


@pytest.mark.parametrize("experiment", selection.SEARCHED)
def test_beta_is_that_of_the_trial_with_the_least_error_on_validation(experiment):
    """In each scenario, whatever else the trials of a row vary."""
    records = recorded(experiment, selection.SEARCHED[experiment])
    found = selection.chosen_betas(experiment)
    assert found
    for (label, scenario), beta in found.items():
        tried = [r for r in records[label] if r["run"]["scenario"] == scenario]
        assert beta == min(tried, key=validation)["run"]["lambda_equiv"]
    turning = {label for label, runs in rows_of(experiment).items() if len({run.get("lambda_equiv") for run in runs}) > 1}
    assert {label for label, _ in found} >= turning, "of a row in a table no search chose beta"


def test_a_table_takes_the_runs_at_the_chosen_beta_or_at_the_nearest_it_has(monkeypatch):
    monkeypatch.setattr(selection, "chosen_betas", lambda _: {("REMUL", "walk"): 1.0, ("REMUL", "run"): 0.01})
    rows = [("REMUL", scenario, {"lambda_equiv": beta}) for scenario in ("walk", "run") for beta in (0.1, 1.0) for _ in range(2)]
    rows += [("GATr", "walk", {}), ("REMUL, vertical", "walk", {"lambda_equiv": 0.1})]
    frame = pd.DataFrame(rows, columns=["model", "scenario", "run"])
    kept = selection.at_chosen_beta("mocap", frame)
    assert kept.index.tolist() == [2, 3, 4, 5, 8, 9]
    with pytest.raises(ValueError, match="RPP in walk has runs at several beta"):
        selection.at_chosen_beta("mocap", frame.replace("REMUL, vertical", "RPP").replace("GATr", "RPP"))


given_to = functools.cache(budget)


@pytest.mark.parametrize(("experiment", "profile"), [*((name, "quick") for name in COMPARED), ("two_body", "paper")])
def test_compared_rows_were_given_as_much_or_it_is_said(experiment, profile):
    """Configurations, looks and starts: rows that nothing is said of agree in all, the others do not with them."""
    columns = ["configurations", "looks", "starts", "looks a run"]
    table = given_to(experiment, profile)
    assert set(STATED.get(experiment, {})) <= set(table.index)
    alike = table[table.stated == ""][columns].drop_duplicates()
    assert len(alike) == 1, alike
    for label in table.index[table.stated != ""]:
        assert tuple(table.loc[label, columns]) != tuple(alike.iloc[0]), f"{label} was given as much as the others: say nothing of it"


COUNTED = {  # by hand from params.yaml: configurations, runs, looks, then replaced configurations and runs
    ("partial_permutation", "Augerino+"): (2 * 2 * 2, 8 * 2, 16 * 11, 0, 0),
    ("partial_permutation", "LieGAN"): (0, 0, 0, 0, 0),
    ("partial_permutation", "MLP"): (4 * 2, 8 * 2, 16 * 11, 3 * 2, 6),
    ("partial_permutation", "MLP + GT aug"): (4 * 2, 8 * 2, 16 * 11, 3 * 2, 6),
    ("partial_permutation", "MLP + LieGAN aug"): (4 * 2, 8 * 2, 16 * 11, 3 * 2, 6),  # GT aug's settings
    ("partial_permutation", "SEMoLA"): (3 * 2 + 2, 8 * 2, 16 * 11, 2 * 3, 6),
    ("two_body", "SEMoLA_4"): (8, 8 * 2, 16 * 2 * 11, 12 + 4 + 12 + 3 + 4, 24 + 16 + 120 + 60 + 32),  # two starts a run
    ("two_body", "EMLP + GT"): (8, 8 * 2, 16 * 2 * 11, 12, 24),
    ("rotated_mnist", "SEMoLA"): (6, 12, 12 * 11, 12 + 3 + 6 + 12 + 4, 24 + 12 + 6 + 24 + 16),  # without those from 30 degrees
    ("rotated_mnist", "GCNN"): (6, 12, 12 * 11, 12, 12),
    ("nbody", "REMUL, Haar"): (15, 15, 15 * 11, 4, 4),  # those replaced are its own values of beta
    ("mocap", "REMUL"): (3 + 1, 4 * 2, 8 * 11, 2, 20),
    ("capacity_bodies", "GATr"): (4 + 4, 4 + 4, 8 * 11, 0, 0),  # rates of its own, and the clips that nbody had before
}


@pytest.mark.parametrize("experiment", sorted({experiment for experiment, _ in COUNTED}))
def test_budgets_are_those_counted_by_hand(experiment):
    table = given_to(experiment, "quick")
    columns = ["configurations", "runs", "looks", "replaced configurations", "replaced runs"]
    for (of, label), counted in COUNTED.items():
        if of == experiment:
            assert tuple(table.loc[label, columns]) == counted, label


def test_a_budget_names_the_tables_own_choices_starts_and_phases():
    table = given_to("two_body", "quick")
    assert table.loc["SEMoLA_0", ["starts", "looks a run", "warmup", "decay"]].tolist() == [2, 22, 0.2, 0.4]
    assert table.loc["LieGAN_2", ["starts", "looks a run", "searched as"]].tolist() == [1, 0, ""]
    assert budget("mocap_mlp", "paper").loc["MLP", "looks a run"] == 401


def test_only_what_has_a_record_is_recorded(tmp_path):
    everything, nothing = given_to("planted_symmetry", "quick"), budget("planted_symmetry", "quick", tmp_path)
    assert (everything.recorded == everything.runs).all() and (nothing.recorded == 0).all() and (nothing.runs == 9).all()


def cells(notebook: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]]


@pytest.mark.parametrize("experiment", COMPARED)
def test_the_experiments_notebook_shows_its_budget(experiment):
    shown = [cell for cell in cells(SECTIONS[experiment].get("notebook", experiment)) if re.search(r"given\(\w+\.profile", cell)]
    assert len(shown) == 1 and f'"{experiment}"' in shown[0]


def test_budgets_of_several_experiments_stand_in_one_table():
    html = given("quick", "mocap_discovery", "md17_discovery").to_html()
    assert all(html.count(word) == 1 for word in ("mocap_discovery", "md17_discovery"))


def test_what_was_picked_by_test_error_is_called_no_evidence():
    comments = [comment for _, profile, comment in origins() if profile == "assignments_long"]
    assert "no evidence" in comments[0]
    claim = next(cell for cell in cells("mocap") if "experiment.claims" in cell and "assignments_long" in cell)
    where = [line for line in claim.splitlines() if "the assignment with the least errors" in line or "picked by test error" in line]
    assert where and all("no evidence" in line for line in where)
