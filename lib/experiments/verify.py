"""Whether every record speaks for today's code and data: what nobody has replayed is replayed; then a line an experiment."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib

from lib.experiments import freshness
from lib.experiments.canary import FORM
from lib.experiments.freshness import Evidence, code_digest, evidence_of, recorded, state
from lib.experiments.prices import estimates
from lib.experiments.sections import experiments
from lib.experiments.settings import plan
from lib.experiments.store import RESULTS, read_record, record_path, write_record

PROFILES = ("quick", "paper")  # of which it is said what is missing; of searches and the like, what there is
LEFT = ("missing", "stale")


def verify(write: bool = False, sample: int = 0) -> bool:
    """Whether no record is stale, and of `sample` ones that the ledger vouches for none differs; the states are printed."""
    states, differing = replayed(write, sample)
    print("\n".join(overview(states)))
    return not differing and "stale" not in states.values()


def replayed(write: bool = False, sample: int = 0) -> tuple[dict[Path, str], list[Evidence]]:
    """The state of every record, once what is not in the ledger is replayed, and a sample of what is; and what of it differs.

    With `write` the ledger afterwards holds what agreed, and no more.
    """
    records = {path: read_record(path, "run", "digest", "canary") for path in recorded()}
    other = [r for r in records.values() if r["canary"].get("form") == FORM and r["digest"] != code_digest(r["run"])]
    evidence = {item.key + item.digest: item for record in other for item in evidence_of(record)}.values()
    known = [item for item in evidence if item.in_ledger()]
    new = [item for item in evidence if item not in known]
    again = random.sample(known, min(sample, len(known)))
    asked = [*((item, True) for item in new), *((item, False) for item in again)]
    verdicts = joblib.Parallel(-1)(joblib.delayed(replay)(*each) for each in asked)
    differing = [item for (item, _), verdict in zip(asked, verdicts, strict=True) if verdict is False]
    print(f"{len(new)} replayed that were not in the ledger, {len(again)} of the {len(known)} in it, {len(differing)} differ")
    for item in differing:
        print(f"  differs: {json.dumps(item.question)}")
    if write:
        freshness.read_ledger.cache_clear()  # another process may have written in the meantime
        agreed = [item for item in evidence if item not in differing and item.in_ledger()]
        agreed += [item for (item, _), verdict in zip(asked, verdicts, strict=True) if verdict]
        digests = sorted({item.digest for item in agreed})
        write_record(freshness.LEDGER, {digest: sorted({item.key for item in agreed if item.digest == digest}) for digest in digests})
        freshness.read_ledger.cache_clear()
    return {path: state(record, path.parent) for path, record in records.items()}, differing


def replay(evidence: Evidence, ledger: bool) -> bool | None:
    """For another process: `agrees`, by its own name."""
    return evidence.agrees(ledger)


def overview(states: Mapping[Path, str], results: Path = RESULTS) -> Iterator[str]:
    """By experiment the states of the runs of `quick`, of `paper`, and of all other records, with core-minutes of what is to be trained."""
    yield f"{'':26s} {'quick':34s} {'paper':48s} other records"
    for experiment in experiments():
        paths: dict[Path, Any] = {}
        cells = []
        for profile in PROFILES:
            runs = plan(experiment, profile)
            of_profile = {record_path(experiment, run, results): run for run in runs}
            paths |= of_profile
            found = {path: states.get(path, "missing") for path in of_profile}
            todo = [run for path, run in of_profile.items() if found[path] in LEFT]
            cells.append(counted(found.values()) + cost(experiment, todo, results))
        others = [name for path, name in states.items() if path.parent.name == experiment and path not in paths]
        yield f"{experiment:26s} {cells[0]:34s} {cells[1]:48s} {counted(others)}"


def counted(states: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(states).items()))


def cost(experiment: str, runs: list, results: Path) -> str:
    """How long these would take, where there is anything to train."""
    if not runs:
        return ""
    minutes = estimates(experiment, runs, results)
    unknown = minutes.count(None)
    return f" ({sum(m for m in minutes if m is not None):.0f} min" + (f", {unknown} unknown)" if unknown else ")")
