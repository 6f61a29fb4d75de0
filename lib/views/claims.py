"""The statements of both papers, one by one: each is a predicate over the tables and figures, and its verdict is computed.

`paper/claims.yaml` has them. A statement has an `id`, the place `where` the paper makes it, and what it `says`; then one of

- a predicate of `lib.views.predicates` with `in` (an artefact or several), `of` (columns and values), `value` (a column), `each` (a column
  and values on each of which it must hold), and, under `also`, further ones that must hold, too;
- `proved` or `refuted`: a test of this package that shows the statement, or its contrary, by computation;
- `undecided`: what is missing; `untestable`: why nothing here can test it.

`for` (a column and values) makes one statement of each value; `profile` names the one below which nothing is decided.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from lib.experiments.settings import plan
from lib.experiments.store import RESULTS
from lib.experiments.sweep import records, resolved
from lib.experiments.values import ConfigError, refuse_unknown
from lib.files import ROOT
from lib.views.catalogue import FIGURES, TABLES
from lib.views.evidence import ALONE, NO, YES, Evidence
from lib.views.predicates import PREDICATES, Found
from lib.views.tables import notebook_of, write_csv

CLAIMS, LEDGER = ROOT / "paper" / "claims.yaml", ROOT / "results" / "claims.csv"
CONTRADICTIONS = ROOT / "paper" / "contradictions.yaml"
COLOURS = {  # verdicts, and colours that a reader who is colour-blind tells apart
    "reproduced": "#a6cee3",
    "partly": "#dcecf5",
    "not reproduced": "#fdbf6f",
    "not decidable": "#eeeeee",
    "not testable here": "#ffffff",
}
STATED = {"proved": "reproduced", "refuted": "not reproduced", "undecided": "not decidable", "untestable": "not testable here"}
PART = {"in", "of", "value", "each", *PREDICATES}
KEYS = {"id", "where", "says", "for", "profile", "note", "also", *STATED, *PART}
THEIRS = {"official", "rebuilt"}  # labels of data on which a published digit can be met
COLUMNS = ["id", "paper", "where", "says", "verdict", "ours", "published", "n", "profile", "data", "evidence", "notebook", "note"]


def statements(path: Path = CLAIMS) -> Iterator[dict[str, Any]]:
    """Every statement, with its paper. Raises ConfigError for a key that there is not, an id twice, and for none or two ways to judge."""
    seen: set[str] = set()
    for paper, entries in yaml.safe_load(path.read_text()).items():
        for entry in entries:
            name = entry.get("id")
            refuse_unknown(entry, KEYS, "key", f" of {name}")
            for part in entry.get("also", []):
                refuse_unknown(part, PART, "key", f" of {name}, also")
            ways = [key for key in entry if key in PREDICATES or key in STATED]
            if len(ways) != 1:
                raise ConfigError(f"{name} needs one predicate, or one of {', '.join(STATED)}; it has {' and '.join(ways) or 'none'}")
            for column, value in [(column, value) for column, values in entry.get("for", {"": [""]}).items() for value in values]:
                one = {**entry, "paper": paper, "id": f"{name}-{slug(value)}" if column else name}
                if column:
                    one |= {"says": entry["says"].format(**{column: value}), "of": {**entry.get("of", {}), column: value}}
                    one["also"] = [{**part, "of": {column: value, **part.get("of", {})}} for part in entry.get("also", [])]
                if one["id"] in seen:
                    raise ConfigError(f"{path.name} has {one['id']} twice")
                seen.add(one["id"])
                yield one


def slug(value: Any) -> str:
    """A value as part of an id."""
    return re.sub(r"[^\w.']+", "-", str(value)).strip("-")


def verdict_of(parts: Sequence[str]) -> str:
    """All parts hold, some do, none does and one is contradicted, or nothing is decided."""
    if YES in parts:
        return "reproduced" if set(parts) == {YES} else "partly"
    return "not reproduced" if NO in parts else "not decidable"


def findings(part: Mapping[str, Any], root: Path = ROOT) -> Iterator[tuple[Evidence, Found]]:
    """What the predicate of a statement, or of one of its parts, finds; once for each value of `each`."""
    (name,) = (key for key in part if key in PREDICATES)
    for column, values in part.get("each", {"": [None]}).items():
        for value in values:
            evidence = Evidence(part["in"], {**part.get("of", {}), **({column: value} if column else {})}, part.get("value"), root)
            found = PREDICATES[name](evidence, part[name])
            yield evidence, found._replace(text=f"{value}: {found.text}".rstrip(": ")) if column else found


def judged(claim: Mapping[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """A statement with its verdict, our numbers and the published ones, n, profile, data, and where to look."""
    row = {**dict.fromkeys(COLUMNS, ""), **{key: claim[key] for key in ("id", "paper", "where", "says")}, "note": claim.get("note", "")}
    for way, verdict in STATED.items():
        if way in claim:
            told = {"evidence": claim[way], "ours": "by computation"} if way in ("proved", "refuted") else {"ours": claim[way]}
            return {**row, "verdict": verdict, **told}
    looked = [pair for part in (claim, *claim.get("also", [])) for pair in findings(part, root)]
    parts = [part for _, found in looked for part in found.parts]
    numbers = [number for _, found in looked for number in found.numbers]
    seeds = [number.n for number in numbers]
    origins = {name: origin(name) for evidence, _ in looked for name in evidence.names}
    profiles = {profile for profile, _, _ in origins.values()}
    data = {label for evidence, _ in looked for name in evidence.names for label in data_of(evidence, origins[name][1])}
    verdict = verdict_of(parts)
    if "published" in claim and not data <= THEIRS:
        verdict, row["note"] = "not decidable", "; ".join(filter(None, ("other data than the paper's", row["note"])))
    elif "profile" in claim and profiles != {claim["profile"]}:
        verdict, row["note"] = "not decidable", "; ".join(filter(None, (f"needs profile {claim['profile']}", row["note"])))
    elif verdict == "not decidable":
        row["note"] = "; ".join(filter(None, ("one seed" if ALONE in parts else "a tie", row["note"])))
    row |= {
        "verdict": verdict,
        "ours": " | ".join(str(found) for _, found in looked),
        "published": "; ".join(dict.fromkeys(f"{number.label} {number.published}".strip() for number in numbers if number.published)),
        "n": " to ".join(map(str, sorted({min(seeds), max(seeds)}))),
        "profile": joined(profiles),
        "data": joined(data),
        "evidence": joined(origins),
        "notebook": joined({notebook for _, _, notebook in origins.values()}),
    }
    return row


def joined(names: Any) -> str:
    return ", ".join(sorted(names))


def data_of(evidence: Evidence, labels: Mapping[str, str]) -> set[str]:
    """The data that the rows looked at are of."""
    scenarios = evidence.frame.get("scenario", pd.Series(dtype=str)).unique()
    return {labels[scenario] for scenario in scenarios if scenario in labels} or set(labels.values())


def origin(artefact: str) -> tuple[str, dict[str, str], str]:
    """The profile that an artefact shows, the data of each scenario, and its notebook. Raises MissingRecordError as `records` does."""
    spec = {**TABLES, **FIGURES}[artefact]
    return *recorded(spec.experiment, spec.profile or "best"), notebook_of(spec.experiment)


@functools.cache
def recorded(experiment: str, profile: str) -> tuple[str, dict[str, str]]:
    """The profile that is shown of an experiment, and the data of each scenario. Raises MissingRecordError as `records` does."""
    profile = resolved(experiment, profile, RESULTS)
    first = {run["scenario"]: run for run in plan(experiment, profile)}
    return profile, {
        run["scenario"]: record["data"] for run, record in zip(first.values(), records(experiment, list(first.values())), strict=True)
    }


def claims(path: Path = CLAIMS, root: Path = ROOT) -> pd.DataFrame:
    """Every statement with its verdict, in the papers' order."""
    return pd.DataFrame([judged(claim, root) for claim in statements(path)], columns=COLUMNS)


def of_notebook(notebook: str, path: Path = CLAIMS, root: Path = ROOT) -> pd.DataFrame:
    """The statements that this notebook alone has the evidence for."""
    ours = {name for name, spec in {**TABLES, **FIGURES}.items() if notebook_of(spec.experiment) == notebook}
    used = ((claim, artefacts_of(claim)) for claim in statements(path))
    return pd.DataFrame([judged(claim, root) for claim, artefacts in used if artefacts and artefacts <= ours], columns=COLUMNS)


def artefacts_of(claim: Mapping[str, Any]) -> set[str]:
    """The tables and figures that a statement is judged by."""
    named = (part["in"] for part in (claim, *claim.get("also", [])) if "in" in part)
    return {name for one in named for name in ([one] if isinstance(one, str) else one)}


def styled(ledger: pd.DataFrame, caption: str = "") -> Styler:
    """The statements as a notebook shows them, coloured by verdict."""
    columns = ["where", "says", "verdict", "ours", "published", "n", "profile", "note"]
    lines = {name: ledger[name].str.replace(" | ", "\n", regex=False) for name in ("ours", "published")}
    shown = in_words(ledger.assign(**lines)[["id", *columns]], ["says", "ours"]).set_caption(caption)
    return shown.map(lambda verdict: f"background-color: {COLOURS[verdict]}; color: black", subset=["verdict"])


def in_words(frame: pd.DataFrame, wide: Sequence[str]) -> Styler:
    """Sentences as a notebook shows them, by id."""
    shown = frame.set_index("id").style.set_properties(**{"text-align": "left", "vertical-align": "top", "white-space": "pre-line"})
    return shown.set_properties(subset=list(wide), **{"min-width": "18em"})


def counted(ledger: pd.DataFrame) -> pd.DataFrame:
    """How many statements of each paper have each verdict."""
    counts = pd.crosstab(ledger.paper, ledger.verdict).reindex(columns=list(COLOURS), fill_value=0)
    return counts.loc[ledger.paper.unique()].assign(statements=counts.sum(axis=1))


def contradictions(path: Path = CONTRADICTIONS) -> pd.DataFrame:
    """Where a paper says two things that cannot both hold: `one`, the `other`, and what is done `here`."""
    return pd.DataFrame(yaml.safe_load(path.read_text()))[["id", "paper", "one", "other", "here"]]


def write(path: Path = LEDGER) -> pd.DataFrame:
    """The ledger, written there."""
    ledger = claims()
    write_csv(ledger, path)
    return ledger
