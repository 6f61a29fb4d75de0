"""Figures of times, which are probed: what a step, a training and a test set cost."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing, plain_ticks

PARTS = {"forward_s": "forward", "backward_s": "backward", "inference_s": "inference"}


def parts(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds of the parts of a step, and of a prediction, by model and batch size."""
    rows = [
        {"model": run.model, "batch_size": run.run["batch_size"], "part": part, "seconds": getattr(run, part)}
        for run in frame.itertuples()
        for part in PARTS
    ]
    return pd.DataFrame(rows)


@drawing(parts)
def durations(numbers: pd.DataFrame) -> Figure:
    """Seconds against batch size: a panel for each part, a line for each model."""
    figure, axes = plt.subplots(1, len(PARTS), figsize=(3 * len(PARTS), 2.9), sharey=True, layout="constrained")
    models = list(numbers.model.unique())
    colours = dict(zip(models, sns.color_palette("colorblind", len(models)), strict=True))
    for ax, (part, name) in zip(axes, PARTS.items(), strict=True):
        for model, points in numbers[numbers.part == part].groupby("model", sort=False):
            ax.plot(points.batch_size, points.seconds, marker="o", markersize=3, color=colours[model], label=model)
        ax.set(title=name, xlabel="batch size", xscale="log", yscale="log")
        ax.set_xscale("log", base=2)
        ax.grid(color="0.92")
    axes[0].set_ylabel("time (s)")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


# ------------------------------------------------------------------------------------------------- of whole rows


TOTALS = {"train_s": "training", "test_s": "predicting the test set"}
MARKERS = "os^Dv<>P"


def at_work(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs whose times stand for their row: of a model that turns beta not those at 0, which compute no equivariance term."""
    idle = pd.Series([run.get("lambda_equiv") == 0 for run in frame.run], frame.index)
    return frame[~idle | idle.groupby([frame.model, frame.scenario]).transform("all")]


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds of a whole training and of predicting the test set, by scenario and model; each probe once, whatever the seeds."""
    rows = [
        {"scenario": run.scenario, "model": run.model, "part": part, "seconds": getattr(run, part)}
        for run in at_work(frame).itertuples()
        for part in TOTALS
    ]
    return pd.DataFrame(rows).dropna().drop_duplicates(ignore_index=True)


@drawing(totals)
def by_scenario(numbers: pd.DataFrame) -> Figure:
    """Seconds, a panel for training and one for testing: a place for each scenario, in it a column for each model."""
    scenarios, models = list(numbers.scenario.unique()), list(numbers.model.unique())
    figure, axes = plt.subplots(1, len(TOTALS), figsize=(0.55 * len(TOTALS) * len(scenarios) + 1, 3.2), layout="constrained")
    colours = sns.color_palette("colorblind", len(models))
    for ax, (part, name) in zip(axes, TOTALS.items(), strict=True):
        for i, (model, colour) in enumerate(zip(models, colours, strict=True)):
            points = numbers[(numbers.part == part) & (numbers.model == model)]
            at = points.scenario.map(scenarios.index) + 0.7 * ((i + 0.5) / len(models) - 0.5)
            ax.scatter(at, points.seconds, s=18, color=colour, marker=MARKERS[i % len(MARKERS)], linewidth=0, label=model)
        ax.set(title=name, yscale="log", xlim=(-0.5, len(scenarios) - 0.5))
        ax.set_xticks(range(len(scenarios)), scenarios, fontsize=7, rotation=60, ha="right", rotation_mode="anchor")
        for edge in range(1, len(scenarios)):
            ax.axvline(edge - 0.5, color="0.92", linewidth=0.8, zorder=0)
        ax.grid(axis="y", color="0.92")
        plain_ticks(ax)
    axes[0].set_ylabel("time (s)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside upper center", ncols=min(4, len(models)))
    return figure
