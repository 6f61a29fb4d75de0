"""An experiment as its notebook sees it: runs trained if wanted, results, tables and figures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from lib.experiments.prices import estimates
from lib.experiments.settings import plan
from lib.experiments.store import RESULTS, record_path
from lib.experiments.sweep import records, train_missing
from lib.experiments.timing import probe_missing
from lib.experiments.values import checked, refuse_unknown
from lib.files import ROOT
from lib.tasks.files.prepared import DataError
from lib.views.claims import of_notebook, styled
from lib.views.figures.bases import YOURS
from lib.views.tables import build, notebook_of, paper_layout, results_of, row_of, search_summary

BUILD = ROOT / "build"


class Experiment:
    """One experiment at one profile. At `smoke` what is missing is trained, into build/; at any other the records are shown.

    Parameters
    ----------
    profile : as in `lib.experiments.settings.plan`, or "best"; None takes EQUIVARIANCE_PROFILE from the environment, or else "best".
    folder : where results/ and figures/ are read and written; None: the project's, or build/smoke at `smoke`.
    row, knobs : settings of that row to be changed, None where one is not: what they make is trained, and stands beside the records as
        yours; its record and all that is drawn with it go to build/yours.
    seeds, scenarios : how many of the recorded ones that is trained on; or which, a list, or names with commas between them.

    Attributes
    ----------
    frame : one row a run, see `lib.views.tables.results_of`; yours last.

    Raises MissingRecordError where a record is missing, ConfigError for a knob that the row does not read or a value that it cannot have.
    """

    def __init__(
        self,
        name: str,
        profile: str | None = None,
        folder: str | Path | None = None,
        *,
        row: str = "",
        seeds: int | Sequence[int] = 1,
        scenarios: int | str | Sequence[str] = 1,
        **knobs: Any,
    ):
        self.name, self.profile = name, profile or os.environ.get("EQUIVARIANCE_PROFILE", "best")
        self.folder = Path(folder or (BUILD / "smoke" if self.profile == "smoke" else ROOT))
        self.results, self.built, self.yours = self.folder / "results", {}, None
        if self.profile == "smoke":
            runs = plan(name, "smoke")
            train_missing(name, runs, results=self.results)
            probe_missing(name, runs, self.results)
        self.frame = results_of(name, self.profile, self.results)
        turned = {knob: value for knob, value in knobs.items() if value is not None}
        if turned:
            self.yours = self.turn(row, seeds, scenarios, turned)
            self.frame = pd.concat([self.frame, self.yours], ignore_index=True)
            self.folder = BUILD / "yours"

    def turn(self, row: str, seeds: int | Sequence, scenarios: int | str | Sequence, knobs: Mapping[str, Any]) -> pd.DataFrame:
        """The runs of that row with other settings, trained unless they are there, as rows of `frame`."""
        part = self.frame[self.frame.model == row]
        for name, wanted in {"scenario": scenarios, "seed": seeds}.items():
            recorded = list(part[name].unique())
            wanted = wanted.split(",") if isinstance(wanted, str) else recorded[:wanted] if isinstance(wanted, int) else wanted
            refuse_unknown(dict.fromkeys(wanted), recorded, name, f" of {row}")
            part = part[part[name].isin(wanted)]
        bases = part.drop_duplicates(["scenario", "seed"]).run
        refuse_unknown(knobs, bases.iloc[0], "setting", f" of {row}, which are what a notebook can turn")
        runs = [checked({**run, **knobs}) for run in bases]
        results = BUILD / "yours" / "results"
        todo = [run for run in runs if not record_path(self.name, run, results).is_file()]
        if todo:
            minutes = sum(found for found in estimates(self.name, todo) if found is not None)
            turned = ", ".join(f"{name} = {value}" for name, value in knobs.items())
            print(f"{row} with {turned}: {len(todo)} to train, about {minutes:.1f} core-minutes")
            train_missing(self.name, todo, results=results, threads=max(1, joblib.cpu_count() // len(todo)))
        profile = self.frame.profile.iloc[0]
        return pd.DataFrame([row_of(row + YOURS, record, profile) for record in records(self.name, runs, results)])

    def artefact(self, name: str) -> Any:
        """A tidy table or a figure; its files are written, once."""
        if name not in self.built:
            places = self.folder / "figures", self.folder / "results" / "tables"
            self.built[name] = build(name, self.profile, self.results, *places, self.yours)
        return self.built[name]

    def numbers(self, name: str) -> pd.DataFrame:
        """The numbers behind a figure."""
        self.artefact(name)
        return pd.read_csv(self.folder / "figures" / f"{name}.csv")

    def tables(self, titles: Mapping[str, str]) -> list:
        """Those tables as the paper prints them, each captioned with its title, profile, data and the state of its records."""
        shown = []
        for name, title in titles.items():
            tidy = self.artefact(name)
            where = f"profile {tidy.profile[0]}, data {', '.join(tidy.data.unique())}, records {', '.join(tidy.state.unique())}"
            shown.append(paper_layout(tidy).style.set_caption(f"{title} ({where})"))
        return shown

    def hyperparameters(self, name: str, title: str) -> Any:
        """That table with the published settings beside the profile's."""
        tidy = self.artefact(name).rename(columns={"mean": "ours"})
        wide = tidy.pivot(index="metric", columns="model", values=["published", "ours"]).swaplevel(axis=1)
        columns = [(model, whose) for model in tidy.model.unique() for whose in ("published", "ours")]
        shown = wide.loc[tidy.metric.unique(), columns].rename_axis(index=None, columns=[None, None])
        return shown.style.format("{:,.7g}", na_rep="").set_caption(f"{title} (profile {self.frame.profile[0]})")

    def claims(self, rows: Iterable[tuple], *columns: str) -> Any:
        """Statements, their numbers and whether they hold (True, False, or "tie"), as a table; `columns` stand before them."""
        note = " — no claim is decided at smoke" if self.profile == "smoke" else ""
        frame = pd.DataFrame(list(rows), columns=[*columns, "statement", "value", "holds"])
        return frame.style.format({"value": "{:.4g}"}).set_caption(f"profile {self.frame.profile[0]}{note}")

    def ledger(self) -> Any:
        """The papers' statements that this notebook has the evidence for, with their verdicts; its artefacts come before it."""
        notebook = notebook_of(self.name)
        if self.profile == "smoke" or self.yours is not None:
            return f"statements are judged by the recorded numbers alone: results/claims.csv, notebook {notebook}"
        found = of_notebook(notebook, root=self.folder)
        counts = ", ".join(f"{count} {verdict}" for verdict, count in found.verdict.value_counts().items())
        return styled(found, f"{len(found)} statements: {counts}")

    def search(self, profile: str, best: int | None = None) -> Any:
        """The committed trials of a search profile, the `best` of each method."""
        trials = search_summary(self.name, profile, RESULTS)
        shown = trials if best is None else trials.groupby("method").head(best)
        return shown.style.format(lambda value: f"{value:.4g}" if isinstance(value, float) else value, na_rep="").set_caption(profile)

    def outline(self, names: Iterable[str]) -> str:
        """What each table holds, without its numbers: the same on every machine."""
        lines = []
        for name in names:
            tidy = self.artefact(name)
            complete = bool(tidy["mean"].notna().all())
            lines.append(f"{name} {list(tidy.metric.unique())} {sorted(tidy.model.unique())} all numbers: {complete}")
        return "\n".join(lines)


def ahead(errors: pd.Series, others: pd.Series) -> tuple[float, bool | str]:
    """The others' mean error over ours, and whether ours is less: "tie" where their difference is less than two standard errors of it.

    With a single seed of either there is no standard error, and the sign alone decides.
    """
    gap, error = others.mean() - errors.mean(), (errors.sem() ** 2 + others.sem() ** 2) ** 0.5
    return others.mean() / errors.mean(), "tie" if abs(gap) < 2 * error else bool(gap > 0)


@contextlib.contextmanager
def needs_data() -> Iterator[None]:
    """What shows the data themselves; where they are not at hand, one line that says how to get them stands in its place."""
    try:
        yield
    except DataError as error:
        print("left out:", *str(error).split())
