"""What the records cost, and how many are missing: a line an experiment and profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lib.experiments.sections import experiments, parameters
from lib.experiments.settings import plan
from lib.experiments.store import RESULTS, read_record, record_path, seconds_of
from lib.files import ROOT
from lib.views.tables import write_csv


def costs(results: Path = RESULTS) -> pd.DataFrame:
    """By experiment and profile, but for `smoke`: the runs planned, recorded and missing; of the records their seeds, hours, first and last
    day, devices and machines.

    Hours are those of `seconds_of`. A record that two profiles share counts in both.
    """
    rows = [line for experiment in experiments() for line in costs_of(experiment, results)]
    return pd.DataFrame(rows)


def costs_of(experiment: str, results: Path) -> Iterator[dict[str, Any]]:
    for profile in parameters(experiment)["profiles"]:
        runs = {record_path(experiment, run, results): run for run in plan(experiment, profile)}
        found = {path: read_record(path, "wall_s", "date", "device", "machine") for path in runs}
        there = {path: record for path, record in found.items() if record is not None}
        if profile != "smoke":
            days = sorted(record["date"][:10] for record in there.values()) or [""]
            yield {
                "experiment": experiment,
                "profile": profile,
                "planned": len(runs),
                "recorded": len(there),
                "missing": len(runs) - len(there),
                "seeds": len({runs[path]["seed"] for path in there}),
                "hours": sum(map(seconds_of, there.values())) / 3600,
                "first": days[0],
                "last": days[-1],
                "device": "; ".join(sorted({record["device"] for record in there.values()})),
                "machine": "; ".join(sorted({record["machine"] for record in there.values()})),
            }


def write(path: Path = ROOT / "results" / "tables" / "costs.csv") -> pd.DataFrame:
    """The table, written there."""
    table = costs()
    write_csv(table, path)
    return table
