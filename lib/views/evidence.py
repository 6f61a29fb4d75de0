"""What tables and figures say of a statement: numbers with standard errors, and predicates over them.

Two numbers that differ by less than two standard errors tie, and a tie is no order. What one seed shows has no standard error and decides
nothing. Times are medians of repeated measurements, not of seeds, and no better than the machine is steady; the worst of several seeds, and
a count, are what they are.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Found(NamedTuple):
    """What a predicate finds: YES, NO, TIE or ALONE for each of its parts, the numbers that it looked at, and a word on them."""

    parts: Sequence[str]
    numbers: Sequence[Number]
    text: str = ""

    def __str__(self) -> str:
        return "; ".join([*map(str, self.numbers), *([self.text] if self.text else [])])


def apart(smaller: Number, larger: Number) -> str:
    """Whether the first is smaller, by two standard errors of the difference."""
    gap, error = larger.mean - smaller.mean, math.hypot(smaller.error, larger.error)
    if math.isnan(error):
        return ALONE
    return TIE if gap == 0 or abs(gap) < MARGIN * error else YES if gap > 0 else NO


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


# ------------------------------------------------------------------------------------------ predicates


def less(evidence: Evidence, named: Mapping[str, Sequence]) -> Found:
    """{column: values}: each is smaller than the next."""
    numbers = evidence.numbers(named)
    return Found([apart(one, other) for one, other in itertools.pairwise(numbers)], numbers)


def more(evidence: Evidence, named: Mapping[str, Sequence]) -> Found:
    """{column: values}: each is larger than the next."""
    numbers = evidence.numbers(named)
    return Found([apart(other, one) for one, other in itertools.pairwise(numbers)], numbers)


def least(evidence: Evidence, named: Mapping[str, Sequence]) -> Found:
    """{column: values}: the first is smaller than each other one."""
    first, *others = evidence.numbers(named)
    return Found([apart(first, other) for other in others], [first, *others])


def most(evidence: Evidence, named: Mapping[str, Sequence]) -> Found:
    """{column: values}: the first is larger than each other one."""
    first, *others = evidence.numbers(named)
    return Found([apart(other, first) for other in others], [first, *others])


def falls(evidence: Evidence, column: str) -> Found:
    """Along the column: the last is smaller than the first, and the rank correlation at most -0.9."""
    return follows(evidence.along(column), -1)


def rises(evidence: Evidence, column: str) -> Found:
    """Along the column: the last is larger than the first, and the rank correlation at least 0.9."""
    return follows(evidence.along(column), 1)


def follows(numbers: Sequence[Number], sign: int) -> Found:
    ends = apart(numbers[-1], numbers[0]) if sign < 0 else apart(numbers[0], numbers[-1])
    ranks = correlation([number.mean for number in numbers], [float(place) for place in range(len(numbers))])
    return Found([ends, *([YES if sign * ranks >= 0.9 else NO] if ends == YES else [])], numbers, f"rank correlation {ranks:.2f}")


def correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Spearman's."""
    return pd.Series(values).corr(pd.Series(others), method="spearman")


def inside(evidence: Evidence, column: str) -> Found:
    """The smallest along the column lies between its ends, and is smaller than either."""
    numbers = evidence.along(column)
    best = min(numbers, key=lambda number: number.mean)
    ends = [number for number in (numbers[0], numbers[-1]) if number is not best]
    parts = [apart(best, end) for end in ends]
    if len(ends) < 2:  # it is an end: contradicted where it is ahead of all that lies between
        between = [apart(best, number) for number in numbers[1:-1]]
        parts = [NO if set(between) == {YES} else ALONE if ALONE in between else TIE]
    return Found(parts, numbers, f"least at {best.label}")


def least_at(evidence: Evidence, named: Mapping[str, Sequence]) -> Found:
    """{column: values}: the smallest along the column is at one of the values, and smaller than at each other one."""
    ((column, values),) = named.items()
    numbers = evidence.along(column)
    inner = [number for number in numbers if number.label in {f"{column} {value:g}" for value in values}]
    outer = [number for number in numbers if number not in inner]
    best, other = (min(part, key=lambda number: number.mean) for part in (inner, outer))
    return Found([apart(best, other)], numbers)


def ratio(evidence: Evidence, named: Mapping[str, Any]) -> Found:
    """{column: [one, other], at_least: , at_most: }: one over other, whose error is taken to first order."""
    limits = {name: float(named[name]) for name in ("at_least", "at_most") if name in named}
    one, other = evidence.numbers({column: values for column, values in named.items() if column not in limits})
    quotient = one.mean / other.mean
    found = Number("ratio", quotient, abs(quotient) * math.hypot(one.error / one.mean, other.error / other.mean), min(one.n, other.n))
    return Found([bounded(found, **limits)], [one, other], f"{found}, {said(limits)}")


def at_least(evidence: Evidence, limit: float | int | Mapping[str, Any]) -> Found:
    """Each is at least so much: a number, or {limit: number, column: values}."""
    return limited(evidence, limit, "at_least")


def at_most(evidence: Evidence, limit: float | int | Mapping[str, Any]) -> Found:
    """Each is at most so much, likewise."""
    return limited(evidence, limit, "at_most")


def equals(evidence: Evidence, limit: float | int | Mapping[str, Any]) -> Found:
    """Each is so much, likewise."""
    return limited(evidence, limit, "at_least", "at_most")


def limited(evidence: Evidence, limit: float | int | Mapping[str, Any], *which: str) -> Found:
    named = limit if isinstance(limit, Mapping) else {"limit": limit}
    columns = {column: values for column, values in named.items() if column != "limit"}
    numbers = evidence.numbers(columns) if columns else [evidence.number()]
    limits = dict.fromkeys(which, float(named["limit"]))
    return Found([bounded(number, **limits) for number in numbers], numbers, said(limits) if len(which) < 2 else f"= {named['limit']:g}")


def bounded(number: Number, at_least: float | None = None, at_most: float | None = None) -> str:
    """Whether it keeps its bounds; to be at a bound is to keep it."""
    low = [] if at_least is None else [(Number("", at_least, 0.0, 1), number)]
    high = [] if at_most is None else [(number, Number("", at_most, 0.0, 1))]
    return worst(YES if one.mean == other.mean else apart(one, other) for one, other in low + high)


def worst(parts: Iterable[str]) -> str:
    """What several things say that must all hold."""
    found = set(parts)
    return next((part for part in (NO, ALONE, TIE) if part in found), YES)


def said(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {limit:g}" for name, limit in limits.items())


def alike(evidence: Evidence, named: Mapping[str, Any]) -> Found:
    """{over: column, column: [one, other], at_least: }: the rank correlation of the two over the values of a column."""
    over, limit = named["over"], named["at_least"]
    ((column, pair),) = ((column, values) for column, values in named.items() if column not in ("over", "at_least"))
    places = evidence.frame[over].dropna().unique()
    found = [[evidence.number(f"{place}: {value}", **{over: place, column: value}) for place in places] for value in pair]
    ranks = correlation(*([number.mean for number in numbers] for numbers in found))
    alone = any(math.isnan(number.error) for numbers in found for number in numbers)
    part = ALONE if alone else YES if ranks >= limit else NO
    return Found([part], [*found[0], *found[1]], f"rank correlation {ranks:.2f}, at least {limit:g}")


def wins(evidence: Evidence, named: Mapping[str, Any]) -> Found:
    """{over: column, among: {column: values}, at_least: count}: on so many values of `over` the first is smaller than each other one."""
    ((column, values),) = named["among"].items()
    parts, numbers = [], []
    for place in evidence.frame[named["over"]].unique():
        first, *others = (evidence.number(f"{place}: {value}", **{named["over"]: place, column: value}) for value in values)
        found = [apart(first, other) for other in others]
        parts.append(worst(found))
        numbers += [first, *others]
    sure, behind = parts.count(YES), parts.count(NO)
    doubt = ALONE if ALONE in parts else TIE
    part = YES if sure >= named["at_least"] else NO if len(parts) - behind < named["at_least"] else doubt
    counts = f"ahead on {sure} of {len(parts)}, undecided on {len(parts) - sure - behind}, behind on {behind}"
    return Found([part], numbers, f"{counts}; at least {named['at_least']}")


def band(published: float, published_std: float, std: float) -> float:
    """How far ours may lie from a published mean: two standard deviations of both together, or 15 % of it, whichever is more."""
    spreads = (0.0 if math.isnan(one) else one for one in (published_std, std))
    return max(MARGIN * math.hypot(*spreads), ALLOWED * abs(published))


def published(evidence: Evidence, _: Any) -> Found:
    """The published number is ours, within the band; that one seed is there decides nothing."""
    number, row = evidence.number(), evidence.frame.iloc[0]
    gap, limit = abs(row["mean"] - row.published), band(*(float(row[name]) for name in ("published", "published_std", "std")))
    share = abs(row.published)
    part = ALONE if number.n < 2 else YES if gap <= limit else NO
    return Found([part], [number], f"{gap / share:.0%} apart, {limit / share:.0%} allowed")


PREDICATES: dict[str, Callable[[Evidence, Any], Found]] = {
    predicate.__name__: predicate
    for predicate in (less, more, least, most, falls, rises, inside, least_at, ratio, at_least, at_most, equals, alike, wins, published)
}
