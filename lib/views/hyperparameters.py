"""Hyperparameters of runs, as tables show them: the numbers of their settings, and how many parameters their networks have."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lib.experiments.values import network_options, parameters_of
from lib.protocol import Run


def with_hyperparameters(frame: pd.DataFrame) -> pd.DataFrame:
    """Results with a column for each number among a run's settings and its network's options, for `parameters`, counted, and `epochs`."""
    rows = [{**run, **options_of(run), "parameters": parameters_of(run)} for run in frame.run]
    for row in rows:  # the papers' name for what each network calls its own way; GATr's are those of its scalars
        row["channels"] = row.get("channels", row.get("width", row.get("fields", row.get("s"))))
        row["epochs"] = row["steps"] / max(1, row["n_train"] // row["batch_size"])  # a last smaller batch is left out
        if row["model"] == "mlp":
            row["blocks"] = row["layers"] - 1  # the hidden ones, which are what EMLP, RPP and PER count
    numbers = [{name: value for name, value in row.items() if isinstance(value, int | float)} for row in rows]
    found = pd.DataFrame(numbers, index=frame.index)
    return frame.drop(columns=found.columns, errors="ignore").join(found)


def options_of(run: Run) -> dict[str, Any]:
    """The options of a run's network, with the defaults of those that it leaves out."""
    return network_options(run["model"]) | run.get("model_options", {})
