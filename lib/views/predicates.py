"""Predicates over the numbers of a statement's evidence: each finds yes, no, a tie or a single seed, for each of its parts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lib.views.evidence import ALONE, NO, TIE, YES, Evidence, Number, apart, band


class Found(NamedTuple):
    """What a predicate finds: YES, NO, TIE or ALONE for each of its parts, the numbers that it looked at, and a word on them."""

    parts: Sequence[str]
    numbers: Sequence[Number]
    text: str = ""

    def __str__(self) -> str:
        return "; ".join([*map(str, self.numbers), *([self.text] if self.text else [])])


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
    return counted(parts, numbers, named["at_least"], ("ahead", "behind"))


def often(evidence: Evidence, named: Mapping[str, Any]) -> Found:
    """{at_least: or at_most: limit, times: count, column: values, ...}: so many of all combinations of the values keep the limit."""
    limits = {name: float(named[name]) for name in ("at_least", "at_most") if name in named}
    numbers = [evidence.number(" ".join(one.values()), **one) for one in combinations(named, *limits, "times")]
    return counted([bounded(number, **limits) for number in numbers], numbers, named["times"], (said(limits), "not"))


def agree(evidence: Evidence, named: Mapping[str, Any]) -> Found:
    """{id: [one, other], at_least: limit, times: count, column: values, ...}: on so many combinations both keep the limit, or neither."""
    parts, numbers = [], []
    for one in combinations(named, "id", "at_least", "times"):
        pair = [evidence.number(f"{' '.join(one.values())}, {name}", id=name, **one) for name in named["id"]]
        sides = [bounded(number, at_least=float(named["at_least"])) for number in pair]
        unsure = [side for side in sides if side not in (YES, NO)]
        parts.append(worst(unsure) if unsure else YES if len(set(sides)) == 1 else NO)
        numbers += pair
    return counted(parts, numbers, named["times"], (f"on one side of {named['at_least']:g}", "not"))


def combinations(named: Mapping[str, Any], *others: str) -> list[dict[str, str]]:
    """Of the values of each column that is named, but for the `others`, which are none."""
    columns = {column: values for column, values in named.items() if column not in others}
    return [dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values())]


def counted(parts: Sequence[str], numbers: Sequence[Number], times: int, words: tuple[str, str]) -> Found:
    """That so many of the parts hold, whatever the undecided ones are."""
    sure, behind = parts.count(YES), parts.count(NO)
    doubt = ALONE if ALONE in parts else TIE
    part = YES if sure >= times else NO if len(parts) - behind < times else doubt
    counts = f"{words[0]} on {sure} of {len(parts)}, undecided on {len(parts) - sure - behind}, {words[1]} on {behind}"
    return Found([part], numbers, f"{counts}; at least {times}")


def published(evidence: Evidence, _: Any) -> Found:
    """The published number is ours, within the band; that one seed is there decides nothing."""
    number, row = evidence.number(), evidence.frame.iloc[0]
    gap, limit = abs(row["mean"] - row.published), band(*(float(row[name]) for name in ("published", "published_std", "std")))
    share = abs(row.published)
    part = ALONE if number.n < 2 else YES if gap <= limit else NO
    return Found([part], [number], f"{gap / share:.0%} apart, {limit / share:.0%} allowed")


ALL = less, more, least, most, falls, rises, inside, least_at, ratio, at_least, at_most, equals, alike, wins, often, agree, published
PREDICATES: dict[str, Callable[[Evidence, Any], Found]] = {predicate.__name__: predicate for predicate in ALL}
