"""How runs come by their equivariance, and at which settings the ways are compared: those with the least error on validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from lib.protocol import Run

EXACT = ("gatr", "emlp", "tensor_emlp")


def way_of(run: Run) -> str:
    """How a run comes by its equivariance."""
    options = run["model_options"]
    if run["model"] in EXACT or options.get("centred"):
        return "built in"
    if options.get("weight"):
        return "projection penalty"
    found = {"remul": "penalty", "semola": "discovery", "augmentation": "augmentation"}.get(run["method"], "none")
    return "copies" if run.get("seen") else found


def at_best_settings(frame: pd.DataFrame, across: Callable[[Run], float]) -> pd.DataFrame:
    """The runs with their `way` and place `across`, of each scenario, way and place those of the setting whose mean validation error of
    f(x) is least over the seeds: rates and beta are chosen so."""
    error = next(name for name in frame.columns if name.startswith("val_") and name.endswith("_plain"))
    setting = [json.dumps({**run, "seed": None}, sort_keys=True) for run in frame.run]
    frame = frame.assign(way=frame.run.map(way_of), across=frame.run.map(across), setting=setting)
    means = frame.groupby(["scenario", "way", "across", "setting"], dropna=False)[error].mean().reset_index()
    best = means.loc[means.groupby(["scenario", "way", "across"], dropna=False)[error].idxmin(), "setting"]
    return frame[frame.setting.isin(best)]


def blocks_of(run: Run) -> int:
    """The number of blocks of a run's network."""
    return run["model_options"]["blocks"]


def seen_by(run: Run) -> float:
    """How many copies of each sample there are, made once; none where copies are drawn anew in every step, or there are none."""
    return float(run.get("seen") or math.nan)


def needed(curve: pd.Series, level: float) -> float:
    """The size at which a curve of errors (index: sizes) first comes down to that level, on logarithmic axes; infinite without."""
    for (small, before), (large, after) in zip(curve.items(), list(curve.items())[1:], strict=False):
        if before <= level:
            return small
        if after <= level:
            share = np.log(before / level) / np.log(before / after)
            return float(small * (large / small) ** share)
    return math.inf


def verdict(holds: Iterable[bool | str]) -> str:
    """What several findings, each True, False or "tie", say together of what they are evidence for."""
    found = [one is True or one is np.True_ for one in holds]
    return "holds" if all(found) else "holds in part" if any(found) else "does not hold"
