"""Is there a symmetry, of how many generators, and which of the groups on offer: told from errors on validation alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.diagnosis import THRESHOLD
from lib.views.figures.bases import drawing

OFFERED = {"axis": "so2", "SO(3)": "so3"}  # how a row names the group that it moves samples by, from the smaller to the larger


def error_ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Validation error of each row over the plain network's of the same scenario and seed, and the number of generators that it learned."""
    plain = frame[[run["method"] == "standard" for run in frame.run]].set_index(["scenario", "seed"]).val_mse
    others = frame[[run["method"] != "standard" for run in frame.run]]
    ratio = [run.val_mse / plain[run.scenario, run.seed] for run in others.itertuples()]
    counts = [len(basis) if isinstance(basis, list) else None for basis in others.basis]
    columns = {"scenario": others.scenario, "model": others.model, "generators": counts, "seed": others.seed, "ratio": ratio}
    return pd.DataFrame(columns).astype({"generators": "Int64"})


@drawing(error_ratios)
def ratios(numbers: pd.DataFrame) -> Figure:
    """The ratio of errors by what samples were moved by: a panel a scenario, a point a seed."""
    scenarios, rows = list(numbers.scenario.unique()), list(numbers.model.unique())
    ways = [row.split(",")[0].split(" C=")[0] for row in rows]
    colours = dict(zip(dict.fromkeys(ways), sns.color_palette("colorblind"), strict=False))
    figure, axes = plt.subplots(1, len(scenarios), figsize=(2.9 * len(scenarios), 3.2), sharey=True, squeeze=False, layout="constrained")
    for ax, scenario in zip(axes[0], scenarios, strict=True):
        for place, (row, way) in enumerate(zip(rows, ways, strict=True)):
            part = numbers[(numbers.scenario == scenario) & (numbers.model == row)]
            ax.scatter(place + 0.02 * (part.seed % 20 - 9.5), part.ratio, s=9, alpha=0.7, linewidth=0, color=colours[way])
        ax.axhline(THRESHOLD, color="0.4", linestyle=":", linewidth=1)
        ax.set(title=scenario, yscale="log")
        ax.set_xticks(range(len(rows)), rows, rotation=90, fontsize=7)
        ax.grid(axis="y", color="0.92")
    axes[0, 0].set_ylabel("validation error / plain network's")
    return figure


def choices(numbers: pd.DataFrame, way: str) -> pd.DataFrame:
    """By scenario and seed which group validation chooses among none, those on offer and what SEMoLA found, the rows of `way` being the
    groups' own: by the `least` error, and as the `largest` group on offer whose error is at most THRESHOLD times the plain network's.
    """
    wide = numbers.pivot(index=["scenario", "seed"], columns="model", values="ratio")
    ratio = pd.DataFrame({"none": 1.0, **{group: wide[f"{way}, {row}"] for row, group in OFFERED.items()}})
    largest = ratio.le(THRESHOLD).assign(none=True).iloc[:, ::-1].idxmax(axis=1)
    found = wide.filter(like="SEMoLA").min(axis=1)
    return pd.DataFrame({"least": ratio.assign(found=found).idxmin(axis=1), "largest": largest})
