"""An experiment as its notebook sees it: runs trained if wanted, results, tables and figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.data import DataError
from lib.files import ROOT
from lib.plan import plan
from lib.probe import probe_missing
from lib.records import RESULTS
from lib.report import build, paper_layout, results_of, search_summary
from lib.runs import resolved, train_missing


class Study:
    """One experiment at one profile: opening it trains what is missing, unless `train` is "never".

    Parameters
    ----------
    profile, train : as in `lib.plan.plan` and `lib.runs.train_missing`.
    results, figures : the folders of records and tables, and of drawings; relative ones start at notebooks/, wherever the kernel does.
    tweaks : settings in the place of those of params.yaml; None leaves one as it is.

    Attributes
    ----------
    frame : one row a run, see `lib.report.results_of`.

    Raises MissingRecordError where a record is missing and may not be trained.
    """

    def __init__(self, experiment: str, profile: str, train: str, results: str | Path, figures: str | Path, **tweaks: Any):
        self.experiment, self.profile = experiment, profile
        self.results, self.figures = ((ROOT / "notebooks" / folder).resolve() for folder in (results, figures))
        self.built: dict[str, Any] = {}
        self.tweaks = {name: value for name, value in tweaks.items() if value is not None}
        runs = plan(experiment, resolved(experiment, profile, self.results), **self.tweaks)
        if train != "never":
            train_missing(experiment, runs, results=self.results, which=train)
            probe_missing(experiment, runs, self.results)
        self.frame = results_of(experiment, profile, self.results, **self.tweaks)

    def artefact(self, name: str) -> Any:
        """A tidy table or a figure; its files are written, once."""
        if name not in self.built:
            self.built[name] = build(name, self.profile, self.results, self.figures, **self.tweaks)
        return self.built[name]

    def numbers(self, name: str) -> pd.DataFrame:
        """The numbers behind a figure."""
        self.artefact(name)
        return pd.read_csv(self.figures / f"{name}.csv")

    def tables(self, titles: Mapping[str, str]) -> list:
        """Those tables as the paper prints them, each captioned with its title, profile, data and the state of its records."""
        shown = []
        for name, title in titles.items():
            tidy = self.artefact(name)
            where = f"profile {tidy.profile[0]}, data {tidy.data[0]}, records {', '.join(tidy.state.unique())}"
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

    def search(self, profile: str, best: int | None = None) -> Any:
        """The committed trials of a search profile, the `best` of each method."""
        trials = search_summary(self.experiment, profile, RESULTS)
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
