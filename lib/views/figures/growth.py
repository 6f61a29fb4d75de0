"""The figure of how the time and the memory of a step grow."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing, plain_ticks

MIB = 2**20
SHOWN = {"seconds": "a step (ms)", "mebibytes": "memory (MiB)"}


def grown(frame: pd.DataFrame) -> pd.DataFrame:
    """The measured points, memory in MiB where it is more than one, and the exponent of each between the two largest sizes of a series."""
    frame = frame.assign(mebibytes=(frame.bytes / MIB).where(frame.bytes > MIB))
    frame = frame.drop(columns="bytes")
    lines = frame.groupby(["axis", "series"], sort=False)
    exponents = {f"{value}_exponent": {line: exponent(part.iloc[-2:], value) for line, part in lines} for value in SHOWN}
    return frame.join(pd.DataFrame(exponents), on=["axis", "series"])


def exponent(two: pd.DataFrame, value: str) -> float:
    """p with value ~ size^p through both points."""
    return float(np.diff(np.log(two[value]))[0] / np.diff(np.log(two["size"]))[0])


@drawing(grown)
def growth(numbers: pd.DataFrame) -> Figure:
    """Time above memory, a column for each thing that grows, both logarithmic; in the legend the exponent at the largest sizes."""
    axes_of = list(numbers.axis.unique())
    figure, axes = plt.subplots(2, len(axes_of), figsize=(2.15 * len(axes_of), 4.4), layout="constrained", sharex="col")
    for column, axis in enumerate(axes_of):
        part = numbers[numbers.axis == axis]
        colours = sns.color_palette("colorblind", part.series.nunique())
        for ax, (value, name) in zip(axes[:, column], SHOWN.items(), strict=True):
            for colour, (series, points) in zip(colours, part.groupby("series", sort=False), strict=True):
                label = f"{series}: {points[f'{value}_exponent'].iloc[0]:.1f}"
                shown = points[value] * (1e3 if value == "seconds" else 1)
                ax.plot(points["size"], shown, marker="o", markersize=3, color=colour, label=label)
            ax.set_xscale("log", base=2)
            ax.set(yscale="log")
            low, high = ax.get_ylim()
            ax.set_ylim(low, high * (high / low) ** (0.12 * len(colours)))  # room for the legend
            ax.grid(color="0.92")
            ax.legend(frameon=False, fontsize=6, title="exponent", title_fontsize=6, loc="upper left")
            plain_ticks(ax)
            if column == 0:
                ax.set_ylabel(name)
        axes[1, column].set_xlabel(axis)
        axes[1, column].set_xticks(part["size"].unique()[:: 2 if part["size"].nunique() > 5 else 1])
        axes[1, column].xaxis.set_major_formatter("{x:g}")
    return figure
