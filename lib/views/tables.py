"""Tables and figures from records; nothing is trained here.

A table is tidy, one number a row: id, model, scenario, metric, unit, mean, std, n, published, published_std, profile, data, state.
A figure is an SVG drawn from the CSV beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.experiments.sections import parameters
from lib.experiments.selection import at_chosen_beta
from lib.experiments.settings import ConfigError, labelled_plan
from lib.experiments.store import RESULTS, record_path
from lib.experiments.sweep import records, resolved
from lib.experiments.timing import probes
from lib.files import ROOT, whole
from lib.losses import METHODS
from lib.views.catalogue import FIGURES, TABLES, Drawing, Table
from lib.views.figures.bases import YOURS
from lib.views.figures.durations import at_work
from lib.views.hyperparameters import with_hyperparameters

COLUMNS = ["id", "model", "scenario", "metric", "unit", "mean", "std", "n", "published", "published_std", "profile", "data", "state"]
STATES = ("fresh", "verified", "code only", "earlier", "earlier code", "stale")  # the worst of a row's records stands in the table
READ: dict[tuple, pd.DataFrame] = {}  # results that this process has read, by all that they depend on
STYLE = {"svg.hashsalt": "learned-equivariance", "svg.fonttype": "path", "font.size": 9, "axes.titlesize": 9, "figure.dpi": 120}


def results_of(experiment: str, profile: str = "best", results: Path = RESULTS) -> pd.DataFrame:
    """One row a run: label, scenario, seed, every metric, basis, curves, profile, data and state; times from the probes.

    They are read once, and again where a record or params.yaml has changed.
    """
    place = experiment, profile, Path(results)
    known = *place, repr(parameters(experiment)), contents(Path(results) / "runs" / experiment)
    if known not in READ:
        READ[known] = read_results(*place)
    return READ[known].copy()


def contents(folder: Path) -> tuple:
    """What tells a folder's files from others of the same names: none that is written anew has the same number, size and time."""
    files = sorted(folder.glob("*.json"))
    return tuple((file.name, status.st_ino, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()])


def read_results(experiment: str, profile: str, results: Path) -> pd.DataFrame:
    """`results_of`, from the files."""
    profile = resolved(experiment, profile, results)
    labels, runs = zip(*labelled_plan(experiment, profile), strict=True)
    rows, discovery = [], {}
    for label, record, timing in zip(labels, records(experiment, runs, results), probes(experiment, runs, results), strict=True):
        run = record["run"]
        times = {}
        if "step_s" in timing:
            times["train_s"] = timing["step_s"]["median"] * run["steps"] * run.get("restarts", 1) + discovery.get(run.get("basis"), 0.0)
            discovery[record_path(experiment, run, results).stem] = times["train_s"]
        times |= {name: timing[name]["median"] for name in ("forward_s", "backward_s", "inference_s") if name in timing}
        for suffix in ("", "_plain"):
            if f"predict_s{suffix}" in timing:
                times[f"test_s{suffix}"] = timing[f"predict_s{suffix}"]["median"] * run["n_eval"]
        rows.append(row_of(label, record, profile) | times | {"timing": timing["state"]})
    order = {row["label"]: i for i, row in enumerate(parameters(experiment)["rows"])}
    return pd.DataFrame(rows).sort_values("model", key=lambda labels: labels.map(order), kind="stable", ignore_index=True)


def row_of(label: str, record: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """What a record says, as a row of `results_of`, without times."""
    run = record["run"]
    kept = {name: record.get(name) for name in ("basis", "curves", "surface", "restarts", "data", "state")}
    kept["spent_s"] = record.get("train_s")  # in the sweep, beside other work: no probe
    return {"model": label, "scenario": run["scenario"], "seed": run["seed"], **kept, "profile": profile, **record["metrics"], "run": run}


def table(name: str, profile: str = "best", results: Path = RESULTS, yours: pd.DataFrame | None = None) -> pd.DataFrame:
    """The tidy table of that id: mean and standard deviation over the seeds, beside the published value where there is one.

    A key "min ..." is the worst seed's value. `yours` are rows beside those of the records.
    """
    spec = TABLES[name]
    profile, results, yours = shown(spec, profile, results, yours)
    frame = chosen(pd.concat([results_of(spec.experiment, profile, results), yours], ignore_index=True), spec.rows)
    working = at_work(frame)  # before beta is chosen: it may be 0
    if spec.one_beta:
        frame = at_chosen_beta(spec.experiment, frame)
    if spec.hyperparameters:
        frame = everywhere(with_hyperparameters(frame), [key for key, _ in spec.metrics.values()])
    if spec.discovered:
        frame = frame[[METHODS[run["method"]].basis == "learnable" for run in frame.run]]
    floor = frame[frame.model == spec.floor].assign(model=f"interpolation floor ({spec.floor})")
    rows = []
    for metric, (key, unit) in spec.metrics.items():
        worst, key = key.startswith("min "), key.removeprefix("min ")
        timed = key.startswith(("train_s", "test_s"))
        parts = [(working if timed else frame, key)] + ([(floor, f"floor_{key}")] if f"floor_{key}" in floor else [])
        for part, column in parts:
            for (model, scenario), group in part.dropna(subset=column).groupby(["model", "scenario"], sort=False):
                value = group[column].iloc[:1] if timed else group[column]  # a probe is one measurement, not one a seed
                state = max(group["timing" if timed else "state"], key=STATES.index)
                last = {"profile": group["profile"].iloc[0], "data": group["data"].iloc[0], "state": state}
                spread = math.nan if worst or spec.hyperparameters else value.std()
                number = {"mean": value.min() if worst else value.mean(), "std": spread, "n": len(value)}
                rows.append({"id": name, "model": model, "scenario": scenario, "metric": metric, "unit": unit, **number, **last})
    tidy = pd.DataFrame(rows)
    published = ROOT / "paper" / "published" / f"{spec.published or name}.csv"
    if published.is_file():
        tidy = tidy.merge(pd.read_csv(published), how="left", on=["model", "scenario", "metric"])
    tidy = tidy.reindex(columns=COLUMNS)
    return tidy.assign(**{c: tidy[c].map(six_digits) for c in ("mean", "std", "published", "published_std")})


def shown(spec: Table | Drawing, profile: str, results: Path, yours: pd.DataFrame | None) -> tuple[str, Path, pd.DataFrame | None]:
    """What an artefact shows of what is asked for: one with a profile of its own that profile's committed records, and no one's runs."""
    return (spec.profile, RESULTS, None) if spec.profile else (profile, results, yours)


def notebook_of(experiment: str) -> str:
    """The notebook, and the stage of that name, that renders an experiment."""
    return parameters(experiment).get("notebook", experiment)


def chosen(frame: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """The rows of these labels, in their order, and yours of them; all without any."""
    labels = [name for label in labels for name in (label, label + YOURS)]
    return pd.concat([frame[frame.model == label] for label in labels], ignore_index=True) if labels else frame


def everywhere(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The frame with the scenario "all" where there are several and no model's settings of these names depend on them."""
    alike = frame.scenario.nunique() > 1 and (frame.groupby("model")[list(keys)].nunique(dropna=False) == 1).all(axis=None)
    return frame.assign(scenario="all") if alike else frame


def search_summary(experiment: str, profile: str = "search", results: Path = RESULTS) -> pd.DataFrame:
    """Every trial of a search, best first for its method, over its scenarios and seeds, with the settings that it varied.

    `validation` is the mean accuracy (or error; of currents, whose data sets have different units, over each one's least) on validation
    samples, all that trials are ranked by; `lag` the most by which the averaged predictor fell behind f(x) there, in points (or as a ratio
    of errors): a generator that is no symmetry shows in it, without the ground truth. The cosines and the test score are for the reader.
    Raises MissingRecordError where a trial has no record.
    """
    labels, runs = zip(*labelled_plan(experiment, profile), strict=True)
    names = ["lr", "lr_decay", "clip", "batch_size", "gamma", "warmup", "decay", "copies", "similarity", "target", "lambda_equiv"]
    names += ["lambda_aug", "lambda_ortho", "lambda_sparse", "lambda_width", "basic_wd", "relaxed_wd", "weight", "unit", "width", "pairs"]
    names += ["centred", "steps", "evaluations"]
    rows = []
    for label, record in zip(labels, records(experiment, runs, results), strict=True):
        run, scores = record["run"], record["metrics"]
        key = next(name for name in scores if name.startswith("val_"))
        tried = {name: (run | run["model_options"]).get(name, "") for name in names}
        accuracy = key == "val_accuracy"
        lag = scores[f"{key}_plain"] - scores[key] if accuracy else scores[key] / scores[f"{key}_plain"]
        found = {"validation": scores[key], "lag": lag, "cosine": scores.get("cosine"), "action": scores.get("action_score")}
        rows.append({"method": label, "scenario": run["scenario"], **tried, **found, "test": scores[key.replace("val_", "test_")]})
    frame = pd.DataFrame(rows)
    if key == "val_rmse":
        frame[["validation", "test"]] /= frame.groupby("scenario")[["validation", "test"]].transform("min")
    varied = [name for name in names if frame.groupby("method")[name].nunique().max() > 1]
    grouped = frame.groupby(["method", *varied], sort=False)
    summary = grouped.agg(
        validation=("validation", "mean"),
        lag=("lag", "max"),
        cosine=("cosine", "mean"),
        worst_cosine=("cosine", "min"),
        worst_action=("action", "min"),
        test=("test", "mean"),
        n=("lag", "size"),
    )
    summary = summary.reset_index().sort_values(["method", "validation"], ascending=[True, not accuracy], ignore_index=True)
    columns = ["method", "validation", "lag", "cosine", "worst_cosine", "worst_action", "test", "n", *varied]
    return summary[columns].dropna(axis="columns", how="all")


def six_digits(value: float) -> float:
    """The value rounded to six significant digits."""
    return float(f"{value:.6g}")


def short(number: float, digits: int = 4) -> str:
    """A number to so many significant digits, whole where it is larger, halves away from zero; `paper/main.typ` does the same."""
    up = number * (1 + 1e-12)  # a half that stands in a table, 0.99935, may lie below it in binary
    return f"{up:.0f}" if abs(number) >= 10**digits else f"{up:.{digits}g}"


def paper_layout(tidy: pd.DataFrame) -> pd.DataFrame:
    """Rows are models, columns scenarios and metrics, cells mean ± standard deviation: as the paper prints its tables."""

    def cell(row: pd.Series) -> str:
        return short(row["mean"]) + ("" if pd.isna(row["std"]) else f" ± {short(row['std'], 2)}")

    units = tidy.metric + tidy.unit.map(lambda unit: "" if unit == "1" else f" ({unit})")
    wide = tidy.assign(cell=tidy.apply(cell, axis=1), metric=units)
    order = [wide[c].unique() for c in ("model", "scenario", "metric")]
    wide = wide.pivot(index="model", columns=["scenario", "metric"], values="cell")
    columns = [(s, m) for s in order[1] for m in order[2] if (s, m) in wide.columns]
    return wide.loc[order[0], columns].fillna("")


def build(
    name: str,
    profile: str = "best",
    results: Path = RESULTS,
    drawings: Path = ROOT / "figures",
    tables: Path | None = None,
    yours: pd.DataFrame | None = None,
) -> Any:
    """Build one artefact and write its files; returns the tidy table, or the figure.

    Parameters
    ----------
    yours : rows beside those of the records, labelled with a row's name and `YOURS`.
    drawings, tables : the folders of what is written; a table's is <results>/tables where none is given.

    Raises
    ------
    ConfigError : an unknown id.  MissingRecordError : a record is missing; the message names the run and the command.
    DataError : a figure shows data that are not at hand, nor in the figure that is committed.
    """
    if name in TABLES:
        tidy = table(name, profile, results, yours)
        write_csv(tidy, Path(tables or Path(results) / "tables") / f"{name}.csv")
        return tidy
    if name not in FIGURES:
        raise ConfigError(f"unknown artefact {name!r}: choose one of {', '.join((*TABLES, *FIGURES))}")
    spec = FIGURES[name]
    if spec.measured:
        frame = pd.read_csv(RESULTS / spec.measured)
        source = f"results/{spec.measured}, {frame.device[0]}"
    else:
        profile, results, yours = shown(spec, profile, results, yours)
        frame = chosen(pd.concat([results_of(spec.experiment, profile, results), yours], ignore_index=True), spec.rows)
        source = f"profile {frame['profile'].iloc[0]}, data {', '.join(frame['data'].unique())}"
    write_csv(spec.draw.numbers(frame), Path(drawings) / f"{name}.csv")
    return save(spec.draw, Path(drawings) / name, f"{source}, notebook {notebook_of(spec.experiment)}")


def save(draw: Callable[[pd.DataFrame], Figure], path: Path, source: str) -> Figure:
    """The figure that is drawn from the CSV of that path, written beside it as SVG, with its source in small print."""
    with plt.rc_context({**sns.axes_style("white"), **STYLE}):
        figure = draw(pd.read_csv(f"{path}.csv"))
        figure.text(1.0, -0.01, source, ha="right", va="top", fontsize=6, color="0.4")
        with whole(path.with_name(f"{path.name}.svg")) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return figure


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """The frame as a CSV file, floats to six significant digits, whole or not at all."""
    with whole(path) as partial:
        frame.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")


def show(name: str, profile: str = "best") -> str:
    """Build one artefact; a table as text, and what makes it. Raises as `build` does."""
    built, lines = build(name, profile), []
    if isinstance(built, pd.DataFrame):
        origin = f"profile {', '.join(built.profile.unique())}; data {', '.join(built.data.unique())}; {', '.join(built.state.unique())}"
        lines = [paper_layout(built).to_string(), "", origin]
    notebook = notebook_of({**TABLES, **FIGURES}[name].experiment)
    return "\n".join([*lines, f"{name} is made by the stage `dvc repro {notebook}` (notebooks/{notebook}.ipynb)"])
