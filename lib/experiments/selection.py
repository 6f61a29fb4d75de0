"""Beta, the weight of REMUL's equivariance term, as searches chose it: on validation, and on seeds that no table has."""

from __future__ import annotations

import json

import pandas as pd

from lib.experiments.settings import labelled_plan
from lib.experiments.sweep import records

SEARCHED = dict.fromkeys(("nbody", "mocap", "mocap_mlp", "md17", "flow"), "search_equal")  # experiments whose search turns beta


def chosen_betas(experiment: str) -> dict[tuple[str, str], float]:
    """By row and scenario the beta of the configuration with the least mean validation error, for the rows whose search turned it.

    Raises MissingRecordError where a trial has no record.
    """
    labels, runs = zip(*labelled_plan(experiment, SEARCHED[experiment]), strict=True)
    found = []
    for label, run, record in zip(labels, runs, records(experiment, runs), strict=True):
        if "lambda_equiv" in run:
            setting = json.dumps({**run, "seed": None}, sort_keys=True)
            error = next(value for name, value in record["metrics"].items() if name.startswith("val_"))
            found.append((label, run["scenario"], run["lambda_equiv"], setting, error))
    trials = pd.DataFrame(found, columns=["row", "scenario", "beta", "setting", "error"])
    means = trials.groupby(["row", "scenario", "beta", "setting"]).error.mean().reset_index()
    return {place: part.beta[part.error.idxmin()] for place, part in means.groupby(["row", "scenario"]) if part.beta.nunique() > 1}


def at_chosen_beta(experiment: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Of each model and scenario the runs at one beta: the chosen one, or the nearest to it that there is; all of those that turn none.

    Raises ValueError for a model that turns beta where no search did.
    """
    beta, chosen = pd.Series([run.get("lambda_equiv", 0.0) for run in frame.run], index=frame.index), chosen_betas(experiment)
    kept = []
    for place, part in beta.groupby([frame.model, frame.scenario], sort=False):
        if part.nunique() > 1 and place not in chosen:
            raise ValueError(f"{' in '.join(place)} has runs at several beta, and {SEARCHED[experiment]} tries none: add it there")
        nearest = min(part.unique(), key=lambda value, place=place: abs(value - chosen.get(place, value)))
        kept += list(part.index[part == nearest])
    return frame.loc[sorted(kept)]
