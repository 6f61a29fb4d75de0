"""Tables from made-up results: published values beside ours, settings that all scenarios share, times."""

import dataclasses

import pandas as pd
import pytest

from lib.experiments import selection
from lib.experiments.store import RESULTS, write_record
from lib.files import ROOT, whole
from lib.tasks import scenarios
from lib.views import tables
from lib.views.catalogue import PERCEPTRONS, TABLES, TRANSFORMERS

MEASURED = {"remul_tab1": "mocap", "remul_tab1_mlp": "mocap", "remul_tab2": "md17"}


def published(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "paper" / "published" / f"{name}.csv")


def results(rows: list[str], names: tuple[str, ...], **settings) -> pd.DataFrame:
    """Two seeds of each row and scenario; what is called REMUL at two betas."""
    frame = []
    for model in rows:
        for scenario in names:
            for seed in (0, 1):
                for beta in (0.0, 1.0) if "REMUL" in model else (None,):
                    run = {"lambda_equiv": beta, **settings} if beta is not None else settings
                    found = {"test_mse": 3.0 if beta == 0 else 1.0 + seed, "val_mse": 2.0 if beta == 0 else 1.0}
                    found |= dict.fromkeys(("E", "E_prime", "E_vertical", "E_prime_vertical"), 0.5)
                    found |= {"train_s": 2.0 if beta else 1.0, "test_s": 0.1, "timing": "fresh"}
                    meta = {"profile": "quick", "data": "surrogate", "state": "fresh", "run": run}
                    frame.append({"model": model, "scenario": scenario, "seed": seed, **found, **meta})
    return pd.DataFrame(frame)


@pytest.mark.parametrize("name", MEASURED)
def test_every_published_value_has_its_place(name, monkeypatch):
    frame = results([*TABLES[name].rows, "REMUL, vertical"], scenarios(MEASURED[name]))
    monkeypatch.setattr(tables, "results_of", lambda *_, **__: frame)
    monkeypatch.setattr(selection, "chosen_betas", lambda _: dict.fromkeys(zip(frame.model, frame.scenario, strict=True), 1.0))
    tidy, paper = tables.table(name), published(name)
    beside = tidy.dropna(subset="published")
    assert len(beside) == len(paper) == len(TABLES[name].rows) * len(scenarios(MEASURED[name]))
    assert list(tidy.model.unique()) == list(TABLES[name].rows)
    assert set(beside.metric) == {"MSE"} and set(beside["mean"]) == {1.5}, "REMUL at the beta chosen"


def test_a_table_of_one_profile_is_of_its_committed_records_whatever_is_asked(monkeypatch, tmp_path):
    frame, asked = results(list(TRANSFORMERS), ("run",)), []
    monkeypatch.setattr(tables, "results_of", lambda *place: asked.append(place) or frame)
    tidy = tables.table("remul_tab1_long", "smoke", tmp_path)
    assert asked == [("mocap", "long", RESULTS)]
    beside, paper = tidy.dropna(subset="published").set_index("model").published, published("remul_tab1").query("scenario == 'run'")
    assert beside.to_dict() == paper.set_index("model").published.to_dict()


def test_published_values_are_the_papers_hundredths():
    first, perceptrons, molecules = (published(name).set_index(["model", "scenario"]) for name in MEASURED)
    of = lambda table, models, scenario: [round(100 * table.published[model, scenario], 4) for model in models]  # noqa: E731
    assert of(first, TRANSFORMERS, "walk") == [10.85, 10.06, 5.21, 5.3, 4.95]
    assert of(first, TRANSFORMERS, "run") == [42.13, 32.38, 20.78, 29.83, 18.5]
    assert of(perceptrons, PERCEPTRONS, "run") == [57.38, 34.18, 33.03, 39.56, 40.23, 32.57]
    names = scenarios("md17")
    assert [of(molecules, ["EGNN"], name)[0] for name in names] == [14.41, 62.40, 4.64, 13.64, 0.47, 1.02, 11.78, 0.64]
    assert [of(molecules, ["REMUL"], name)[0] for name in names] == [9.28, 25.95, 4.02, 13.59, 0.54, 0.99, 9.38, 0.67]
    assert molecules.published_std["GNN + aug", "benzene"] == 0.053


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("remul_tab7", {"task": "md17", "n_train": 500, "steps": 1000, "batch_size": 200, "lr": 5e-4}),
        ("remul_tab6_mlp", {"task": "mocap", "n_train": 200, "steps": 32000, "batch_size": 12, "lr": 3e-4}),
    ],
)
def test_settings_of_the_paper_are_shown_once_and_agree(name, settings, monkeypatch):
    networks = {"EGNN": "egnn", "GNN": "gnn", "EMLP": "tensor_emlp", "RPP": "rpp", "PER": "per", "MLP": "mlp"}
    names = scenarios(settings["task"])
    frame = results(list(TABLES[name].rows), names)
    options = {"MLP": {"width": 680, "activation": "swish"}}
    frame["run"] = [
        {**settings, "scenario": scenario, "model": networks[model], "model_options": options.get(model, {})}
        for model, scenario in zip(frame.model, frame.scenario, strict=True)
    ]
    monkeypatch.setattr(tables, "results_of", lambda *_, **__: frame)
    tidy = tables.table(name)
    assert set(tidy.scenario) == {"all"}
    beside = tidy.dropna(subset="published")
    assert len(beside) == len(published(name))
    assert list(beside["mean"]) == list(beside.published)
    frame.at[0, "run"] = {**frame.run[0], "lr": 1.0}
    assert set(tables.table(name).scenario) == set(names), "where a setting depends on the scenario, each stands for itself"


def test_training_time_is_that_of_both_terms_even_where_beta_0_is_best(monkeypatch):
    frame = results(list(TABLES["remul_tab2"].rows), ("aspirin",))
    frame.loc[[run.get("lambda_equiv") == 0 for run in frame.run], "val_mse"] = 0.5
    frame.loc[[run.get("lambda_equiv") == 0 for run in frame.run], "timing"] = "stale"
    monkeypatch.setattr(tables, "results_of", lambda *_, **__: frame)
    metrics = {"MSE": ("test_mse", "1"), "Train time": ("train_s", "s")}
    monkeypatch.setitem(TABLES, "remul_tab2", dataclasses.replace(TABLES["remul_tab2"], metrics=metrics))
    mse, time = tables.table("remul_tab2").query("model == 'REMUL'").itertuples()
    assert mse.mean == 3.0, "the best is 0"
    assert (time.mean, time.state) == (2.0, "fresh")


def test_training_time_is_that_of_both_terms(monkeypatch):
    frame = results(list(TABLES["md17_times"].rows), ("aspirin", "uracil"))
    monkeypatch.setattr(tables, "results_of", lambda *_, **__: frame)
    tidy = tables.table("md17_times")
    assert tidy[tidy.metric == "Train time"].groupby("model")["mean"].first().to_dict() == {
        "EGNN": 1.0,
        "GNN": 1.0,
        "GNN + aug": 1.0,
        "REMUL": 2.0,
    }
    assert set(tidy.n) == {1}, "one measurement, not one a seed"


def test_results_are_read_once_and_again_where_a_record_or_a_setting_changed(monkeypatch, tmp_path):
    reads = []
    monkeypatch.setattr(tables, "READ", {})
    monkeypatch.setattr(tables, "read_results", lambda *place: reads.append(place) or pd.DataFrame({"n": [len(reads)]}))
    monkeypatch.setattr(tables, "parameters", lambda _: settings)
    path, settings = tmp_path / "runs" / "timing" / "a.json", {"rows": []}
    ask = lambda profile="quick": tables.results_of("timing", profile, tmp_path).n[0]  # noqa: E731
    write_record(path, {"a": 1})
    first = tables.results_of("timing", "quick", tmp_path)
    first["n"] = 9
    assert (ask(), ask("smoke"), ask("paper"), ask("smoke")) == (1, 2, 3, 2), "what the caller changes is a copy"
    write_record(path, {"a": 2})
    assert (ask(), ask()) == (4, 4), "of the same name, length and perhaps time"
    settings["rows"].append({"label": "CNN"})
    assert (ask(), ask()) == (5, 5)
    path.unlink()
    assert ask() == 6
    assert reads[1] == ("timing", "smoke", tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "figure.svg").write_text("committed")
    with pytest.raises(RuntimeError), whole(tmp_path / "figure.svg") as partial:
        partial.write_text("half")
        raise RuntimeError("in the middle")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"figure.svg": "committed"}
    with whole(tmp_path / "new" / "figure.svg") as partial:
        partial.write_text("all")
        assert not (tmp_path / "new" / "figure.svg").exists()
    assert [file.read_text() for file in (tmp_path / "new").iterdir()] == ["all"]
