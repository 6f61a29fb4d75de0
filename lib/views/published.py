"""Published numbers beside ours, wherever their digits survive."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.experiments.settings import plan
from lib.files import ROOT
from lib.views.catalogue import TABLES
from lib.views.claims import THEIRS
from lib.views.evidence import band, read
from lib.views.figures.bases import plain_ticks
from lib.views.tables import save, write_csv

ASSIGNED = ("remul_tab1_assignments", "remul_tab1_assignments_wide", "remul_tab1_assignments_long")  # spread over assignments, not seeds


def beside(root: Path = ROOT) -> pd.DataFrame:
    """A row for each published result that a table has ours for, times apart: `ratio` is ours over it, `allowed` how far from 1 that may
    be (`lib.views.evidence.band`); `judged` are those of the paper's data, of its number of steps and of several seeds, `within` those of
    them that lie in the band."""
    found = []
    for name, spec in TABLES.items():
        if not spec.hyperparameters and name not in ASSIGNED:
            table = read(root / "results" / "tables" / f"{name}.csv")
            table = table[table.published.notna() & ~table.metric.str.contains("time")]
            if len(table):
                whole = steps(spec.experiment, table.profile.iloc[0]) >= steps(spec.experiment, "paper")
                found.append(table.assign(judged=whole & table.data.isin(THEIRS) & (table.n > 1)))
    frame = pd.concat(found, ignore_index=True)
    allowed = [band(*row) for row in frame[["published", "published_std", "std"]].astype(float).itertuples(index=False)]
    frame = frame.assign(ratio=frame["mean"] / frame.published, allowed=allowed / frame.published)
    return frame.assign(within=frame.judged & ((frame.ratio - 1).abs() <= frame.allowed)).drop(columns="state")


def steps(experiment: str, profile: str) -> int:
    """The most steps of any run."""
    return max(run["steps"] for run in plan(experiment, profile))


def drawn(frame: pd.DataFrame) -> Figure:
    """Ours over the published mean on a logarithmic axis, the allowed band where ours is judged: a line a number."""
    molecules = frame.id.str.startswith("remul_tab2")
    figure, axes = plt.subplots(1, 2, figsize=(9, 5.2), layout="constrained")
    colours = dict(zip(frame.profile.unique(), sns.color_palette("colorblind"), strict=False))
    for ax, (title, part) in zip(axes, {"motion, energies": frame[~molecules], "molecules": frame[molecules]}.items(), strict=True):
        names = part.scenario + ": " + part.model + part.metric.map(lambda metric: f", {metric}" if metric in ("E", "E'") else "")
        places = list(dict.fromkeys(names))[::-1]
        for y, row in zip(map(places.index, names), part.itertuples(), strict=True):
            if row.judged:
                ax.plot([max(1 - row.allowed, 0.1), 1 + row.allowed], [y, y], color="0.85", linewidth=5, solid_capstyle="butt", zorder=1)
            face = colours[row.profile] if row.judged else "none"
            shape = {"marker": "x"} if row.judged and not row.within else {"marker": "o", "facecolor": face}
            ax.scatter(row.ratio, y, s=16, color=colours[row.profile], linewidth=1.1, zorder=2, **shape)
        ax.axvline(1, color="0.5", linewidth=0.8, zorder=0)
        ax.set(title=title, xscale="log", xlabel="ours / published")
        ax.set_yticks(range(len(places)), places, fontsize=6)
        plain_ticks(ax, "x")
        ax.grid(axis="x", color="0.94")
    handles = [Line2D([], [], marker="s", linestyle="", color=colour, label=f"profile {name}") for name, colour in colours.items()]
    signs = {"within the band": ("o", "0.3"), "outside": ("x", "0.3"), "other data, fewer steps or one seed: not judged": ("o", "none")}
    handles += [
        Line2D([], [], marker=marker, markerfacecolor=face, color="0.3", linestyle="", label=label)
        for label, (marker, face) in signs.items()
    ]
    figure.legend(handles=handles, frameon=False, fontsize=7, ncol=4, loc="outside lower center")
    return figure


def write(folder: Path = ROOT / "figures") -> Figure:
    """The numbers and their figure, published.csv and published.svg, written there."""
    write_csv(beside(), folder / "published.csv")
    return save(drawn, folder / "published", "results/tables, notebook claims")
