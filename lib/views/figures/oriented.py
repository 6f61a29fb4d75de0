"""How many samples a classifier tells from moved ones."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.tasks.orientation import SOURCES
from lib.views.figures.bases import drawing


def told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each data set the test accuracy (%) of the network that is better on validation, and of the same one with labels at random: a
    number a seed; the most that can be told (`ceiling`)."""
    random = [bool(run.get("shuffled")) for run in frame.run]
    frame = frame.assign(random=random, network=[run["model"] for run in frame.run], accuracy=frame.test_accuracy)
    rows = []
    for scenario, part in frame.groupby("scenario", sort=False):
        best = part[~part.random].groupby("network").val_accuracy.mean().idxmax()
        order = SOURCES[scenario].order
        ceiling = 100 - 50 / order if order else 100.0  # one of a finite group's elements moves nothing
        rows.append(part[part.network == best][["scenario", "network", "random", "seed", "accuracy"]].assign(ceiling=ceiling))
    return pd.concat(rows, ignore_index=True)


@drawing(told_apart)
def oriented(numbers: pd.DataFrame) -> Figure:
    """A line a data set, a point a seed; beside it labels at random, and where a finite group sets it the most that can be told."""
    names, blue = list(numbers.scenario.unique()), sns.color_palette("colorblind")[0]
    figure, ax = plt.subplots(figsize=(6.4, 0.6 + 0.2 * len(names)), layout="constrained")
    for random, colour, marker, label in ((True, "0.55", "|", "labels at random"), (False, blue, "o", "as it is or moved")):
        part = numbers[numbers.random == random]
        ax.scatter(part.accuracy, part.scenario.map(names.index), s=22, color=colour, marker=marker, label=label, alpha=0.8, zorder=3)
    finite = numbers[numbers.ceiling < 100].drop_duplicates("scenario")
    ax.scatter(finite.ceiling, finite.scenario.map(names.index), s=60, color="0.3", marker="|", label="the most of a finite group")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="told apart on held-out samples (%)", xlim=(40, 102), ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="x", color="0.92")
    figure.legend(fontsize=7, frameon=False, loc="outside upper center", ncols=3)
    return figure
