"""The numbers that tables and figures have of a statement, with their standard errors.

Two numbers that differ by less than two standard errors tie, and a tie is no order. What one seed shows has no standard error and decides
nothing. Times are medians of repeated measurements, not of seeds, and no better than the machine is steady; the worst of several seeds, and
a count, are what they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lib.experiments.values import ConfigError, refuse_unknown
from lib.files import ROOT
from lib.views.catalogue import FIGURES, TABLES

YES, NO, TIE, ALONE = "yes", "no", "tie", "one seed"
MARGIN = 2.0  # standard errors, or standard deviations beside a published one
ALLOWED = 0.15  # of a published mean, where that is more
TIMED = 0.25  # ours: the relative standard error of a time. Ratios of two, measured at five times, differed by a factor of two to three


class Number(NamedTuple):
    """A mean, its standard error (of a time `TIMED` of it; 0 of what is no mean of seeds; nan of a single seed), the seeds, and what was
    published."""

    label: str
    mean: float
    error: float
    n: int
    published: str = ""

    def __str__(self) -> str:
        return f"{self.label} {self.mean:.4g}".strip() + (f" ± {self.error:.2g}" if self.error > 0 else "")


def apart(smaller: Number, larger: Number) -> str:
    """Whether the first is smaller, by two standard errors of the difference."""
    gap, error = larger.mean - smaller.mean, math.hypot(smaller.error, larger.error)
    if math.isnan(error):
        return ALONE
    return TIE if gap == 0 or abs(gap) < MARGIN * error else YES if gap > 0 else NO


def band(published: float, published_std: float, std: float) -> float:
    """How far ours may lie from a published mean: two standard deviations of both together, or 15 % of it, whichever is more."""
    spreads = (0.0 if math.isnan(one) else one for one in (published_std, std))
    return max(MARGIN * math.hypot(*spreads), ALLOWED * abs(published))


class Evidence:
    """The rows of an artefact that a statement is about.

    Parameters
    ----------
    names : a table's or figure's id, or several, whose rows their column `id` tells apart.
    of : columns, and the value or values that their rows have there; None for an empty cell.
    value : the column of the numbers; of tables `mean`, of figures `score` where none is given.

    Raises ConfigError for an artefact, a column or a value that is not there; `number` does for rows that are more than one number.
    """

    def __init__(self, names: str | Sequence[str], of: Mapping[str, Any], value: str | None = None, root: Path = ROOT):
        self.names = [names] if isinstance(names, str) else list(names)
        refuse_unknown(dict.fromkeys(self.names), {**TABLES, **FIGURES}, "artefact", " of a statement")
        paths = {name: root / ("results/tables" if name in TABLES else "figures") / f"{name}.csv" for name in self.names}
        frame = pd.concat([read(path).assign(id=name) for name, path in paths.items()], ignore_index=True)
        self.name, self.of, self.value = " and ".join(self.names), of, value or ("mean" if "mean" in frame else "score")
        refuse_unknown({**of, self.value: None}, frame.columns, "column", f" of {self.name}")
        self.frame = self.where(frame, of)

    def where(self, frame: pd.DataFrame, of: Mapping[str, Any]) -> pd.DataFrame:
        for column, value in of.items():
            values = value if isinstance(value, list) else [value]
            present = frame[column].unique()
            absent = [one for one in values if one is not None and one not in present]
            if absent:
                raise ConfigError(f"{self.name} has no {column} {absent[0]!r} with {self.of | of}: there are {sorted(map(str, present))}")
            frame = frame[frame[column].isin(values) | (frame[column].isna() & (None in values))]
        if not len(frame):
            raise ConfigError(f"{self.name} has no row with {self.of | of}")
        return frame

    def number(self, label: str = "", **of: Any) -> Number:
        """That one number: of a table its row, of a figure the mean over its seeds."""
        rows = self.where(self.frame, of)
        scores = rows[self.value].astype(float)
        single = "seed" not in rows
        if len(rows) > 1 and (single or rows.seed.duplicated().any()):
            raise ConfigError(f"{self.name} has several rows{'' if single else ' of one seed'} with {self.of | of}: name one more column")
        if not single:
            return Number(label, scores.mean(), scores.sem() if len(scores) > 1 else math.nan, len(scores))
        row = rows.iloc[0]
        if "n" not in row:  # of one training, but for times
            return Number(label, scores.iloc[0], TIMED * scores.iloc[0] if self.value == "seconds" else math.nan, 1)
        seeds = 1 if pd.isna(row.n) else int(row.n)
        exact = self.value != "mean" or (seeds > 1 and pd.isna(row["std"]))
        error = TIMED * scores.iloc[0] if row.unit == "s" else 0.0 if exact else row["std"] / math.sqrt(seeds)
        spread = "" if pd.isna(row.published_std) else f" ± {row.published_std:.2g}"
        said = "" if pd.isna(row.published) else f"{row.published:.4g}{spread}"
        return Number(label, scores.iloc[0], error, seeds, said)

    def numbers(self, named: Mapping[str, Sequence]) -> list[Number]:
        """One for each value of the only column that is named."""
        ((column, values),) = named.items()
        return [self.number(value if isinstance(value, str) else f"{column} {value:g}", **{column: value}) for value in values]

    def along(self, column: str) -> list[Number]:
        """One for each value of that column that there is, from the least to the largest."""
        values = sorted(self.frame[column].dropna().unique().tolist())
        if len(values) < 2:
            raise ConfigError(f"{self.name} has {len(values)} values of {column} with {dict(self.of)}: nothing to follow")
        return self.numbers({column: values})


@functools.cache
def read_once(path: Path, changed: int) -> pd.DataFrame:
    return pd.read_csv(path)


def read(path: Path) -> pd.DataFrame:
    """A table, read once as long as it does not change."""
    return read_once(path, path.stat().st_mtime_ns)
