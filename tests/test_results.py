"""What is committed: records are complete and not stale, and tables and figures follow from them."""

import functools
import shutil

import pandas as pd
import papermill
import pytest
import torch
import yaml

from lib.__main__ import main
from lib.experiments.sections import parameters
from lib.experiments.settings import plan
from lib.experiments.store import MissingRecordError, read_record, record_path, seconds_of
from lib.experiments.sweep import records
from lib.files import ROOT
from lib.losses import METHODS
from lib.tasks.files.prepared import DataError
from lib.views.catalogue import FIGURES, TABLES
from lib.views.costs import costs
from lib.views.figures.perturbed import CLAIMED, FOUND
from lib.views.tables import RESULTS, build, results_of, search_summary, write_csv

RECORDED = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["foreach"]
LABELS = {  # of the data
    "rotated_mnist": ("official",), "mocap": ("official", "rebuilt"), "md17": ("official", "surrogate"), "qm9": ("official",),
    "flow": ("surrogate", "simulated"), "orientation": ("official", "rebuilt", "surrogate", "simulated"),
}  # fmt: skip
DRAWN_TWICE = ("semola_fig2", "remul_fig1", "remul_fig4")  # a heat map, a surface in space, points and lines
UNDERWAY = {"paper", "half", "equivariant", "jetflow", "wider"}  # of which records are still made, or which wait for data that a user has
PROFILES = [(e, profile) for e in RECORDED for profile in parameters(e)["profiles"] if profile not in UNDERWAY | {"smoke"}]


@pytest.mark.parametrize(("experiment", "profile"), PROFILES)
def test_records_are_complete_and_not_stale(experiment, profile):
    """A run of `quick` is fresh or verified; one that chose a setting or explained something may be of earlier code."""
    found = records(experiment, plan(experiment, profile))
    states = {record["state"] for record in found}
    assert states <= ({"fresh", "verified"} if profile == "quick" else {"fresh", "verified", "earlier"})
    for record in found:
        assert record["data"] in LABELS.get(record["run"]["task"], ("simulated",))
        assert record["threads"] == 1
        if not METHODS[record["run"]["method"]].adversarial:
            assert record["metrics"]["E"] <= record["metrics"]["E_prime"] + 1e-6


@pytest.mark.parametrize("name", [name for name, spec in TABLES.items() if spec.experiment in RECORDED])
def test_tables_follow_from_the_records(name, tmp_path):
    build(name, tables=tmp_path)
    new, committed = (pd.read_csv(folder / f"{name}.csv") for folder in (tmp_path, RESULTS / "tables"))
    pd.testing.assert_frame_equal(new, committed, rtol=1e-6)
    assert list(committed.columns) == [
        "id",
        "model",
        "scenario",
        "metric",
        "unit",
        "mean",
        "std",
        "n",
        "published",
        "published_std",
        "profile",
        "data",
        "state",
    ]
    assert committed.profile.nunique() == 1, "two profiles in one comparison"


@pytest.mark.parametrize("name", [name for name, spec in FIGURES.items() if spec.experiment in RECORDED])
def test_figures_follow_from_the_records(name, tmp_path, monkeypatch):
    monkeypatch.setattr("seaborn.matrix._draw_figure", lambda figure: None)  # all of it at each heat map, to see whether labels overlap
    try:
        build(name, drawings=tmp_path)
    except DataError as error:
        pytest.skip(str(error))
    new, committed = (pd.read_csv(folder / f"{name}.csv") for folder in (tmp_path, ROOT / "figures"))
    pd.testing.assert_frame_equal(new, committed, rtol=1e-6)
    text = (tmp_path / f"{name}.svg").read_text()
    assert "<dc:date>" not in text
    if name in DRAWN_TWICE:
        assert build(name, drawings=tmp_path) and (tmp_path / f"{name}.svg").read_text() == text, "two drawings differ"


@pytest.mark.parametrize("experiment", RECORDED)
def test_every_record_is_of_a_run_that_a_profile_plans(experiment):
    planned = {record_path(experiment, run).name for profile in parameters(experiment)["profiles"] for run in plan(experiment, profile)}
    there = {path.name for path in (RESULTS / "runs" / experiment).glob("*.json") if not path.name.startswith("probe-")}
    assert there <= planned, "what nothing plans is in git's history: remove it"


def test_a_run_that_takes_its_basis_from_another_moved_the_data_by_it():
    """Its own record holds the basis that it averaged over, at the norm of its augmenter; the source's is as it was found."""
    compared = 0
    for experiment in RECORDED:
        for record in records(experiment, [run for run in plan(experiment, "quick") if "basis" in run]):
            if record["basis"] is not None:
                source = read_record(RESULTS / "runs" / experiment / f"{record['run']['basis']}.json")["basis"]
                ours, theirs = (torch.tensor(basis).flatten(1) for basis in (record["basis"], source))
                torch.testing.assert_close(torch.nn.functional.cosine_similarity(ours, theirs), torch.ones(len(ours)))
                compared += 1
    assert compared


def test_a_missing_record_stops_rendering_with_the_run_and_the_command(tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS / "runs" / "rotated_mnist", results / "runs" / "rotated_mnist")
    run = plan("rotated_mnist", "quick")[-1]
    path = record_path("rotated_mnist", run, results)
    path.unlink()
    with pytest.raises(MissingRecordError, match=rf"{path.stem}.*python -m lib train rotated_mnist --profile quick"):
        build("semola_tab2", "quick", results)
    options = {"profile": "quick", "folder": str(tmp_path)}
    with pytest.raises(papermill.PapermillExecutionError, match=path.stem):
        papermill.execute_notebook(
            str(ROOT / "notebooks" / "rotated_mnist.ipynb"), None, options, cwd=str(ROOT / "notebooks"), progress_bar=False
        )
    assert not path.exists()


def test_one_artefact_is_rebuilt_by_name_and_names_its_stage(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("lib.views.tables.build", functools.partial(build, tables=tmp_path))
    assert main(["show", "semola_tab2"]) == 0
    printed = capsys.readouterr().out
    assert "SEMoLA" in printed and "dvc repro rotated_mnist" in printed
    assert main(["show", "semola_tab99"]) == 2


def test_costs_follow_from_the_records_and_only_of_what_is_underway_any_is_missing(tmp_path):
    write_csv(costs(), tmp_path / "costs.csv")
    new, committed = (pd.read_csv(folder / "costs.csv") for folder in (tmp_path, RESULTS / "tables"))
    pd.testing.assert_frame_equal(new, committed, rtol=1e-6)
    assert set(committed[committed.missing > 0].profile) == UNDERWAY
    spent = committed.set_index(["experiment", "profile"]).loc["md17", "quick"]
    there = [read_record(record_path("md17", run)) for run in plan("md17", "quick")]
    assert spent.hours == pytest.approx(sum(map(seconds_of, there)) / 3600, rel=1e-5)
    assert spent.planned == spent.recorded == len(there) and spent.seeds == 1
    assert spent["last"] == max(record["date"] for record in there)[:10]


def test_what_the_claims_of_a_symmetry_rest_on():
    """The starts of two searches on other seeds, at a rate that falls to a tenth: none that found nothing is near the threshold."""
    tried = [run for name in ("search_equal", "finalists_decay") for run in plan("two_body", name)]
    tried = [run for run in tried if run["method"] == "semola" and run.get("lr_decay") == 0.1]
    found = [start for record in records("two_body", tried) for start in record.get("restarts") or [record["metrics"]]]
    ratios = {True: [], False: []}
    for start in found:
        ratios[start["action_score"] >= FOUND].append(start["val_mse"] / start["val_mse_plain"])
    assert len(found) == 44 and len(ratios[False]) == 13 and min(ratios[False]) > 0.91
    assert sum(ratio <= CLAIMED for ratio in ratios[True]) == 24


SEARCHES = [(e, p) for e, p in PROFILES if p.startswith(("search", "finalists", "closing"))]


@pytest.mark.parametrize(("experiment", "profile"), SEARCHES)
def test_every_trial_of_a_search_is_a_row_of_its_own(experiment, profile):
    section, summary = parameters(experiment), search_summary(experiment, profile)
    settings = {"rows": section["rows"], **section["settings"], **section["profiles"][profile]}
    own = {row["label"]: row["scenarios"] for row in settings["rows"] if "scenarios" in row}
    assert list(summary.n) == [len(own.get(label, settings["scenarios"])) * len(settings["seeds"]) for label in summary.method]


def test_claims_of_the_quick_records():
    """Discovery in both scenarios; SEMoLA within half a point of the true rotation at its settings, above the CNN and Augerino+."""
    frame = results_of("rotated_mnist", "quick")
    accuracy = frame.groupby(["scenario", "model"]).test_accuracy.mean()
    for scenario in ("in", "out"):
        assert frame[(frame.scenario == scenario) & (frame.model == "SEMoLA")].cosine.min() >= 0.99
        assert accuracy[scenario, "SEMoLA"] > max(accuracy[scenario, "CNN"], accuracy[scenario, "Augerino+"])
        assert abs(accuracy[scenario, "CNN + GT aug, as SEMoLA"] - accuracy[scenario, "SEMoLA"]) <= 0.5
    assert accuracy["out", "SEMoLA"] >= accuracy["out", "CNN"] + 20
