"""What is held against augmentation, as figures: errors against parameters, copies seen and blocks; where equivariance is lost; the worst
case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from lib.protocol import Run
from lib.views.figures.bases import drawing, plain_ticks
from lib.views.ways import at_best_settings, blocks_of

COLOURS = sns.color_palette("colorblind")
WAYS = {  # colour and marker
    "none": ("0.35", "^"),
    "copies": (COLOURS[1], "v"),
    "augmentation": (COLOURS[1], "o"),
    "penalty": (COLOURS[0], "s"),
    "discovery": (COLOURS[2], "D"),
    "projection penalty": (COLOURS[4], "P"),
    "built in": (COLOURS[3], "X"),
}
NAMES = {
    "none": "none", "copies": "copies, made once", "augmentation": "augmentation", "penalty": "penalty (REMUL)", "discovery": "SEMoLA",
    "projection penalty": "projection penalty", "built in": "built in",
}  # fmt: skip
MEASURES = {
    "mean": ("o", "mean (E')"),
    "percentile_99": ("|", "99th percentile"),
    "worst": (">", "worst found"),
    "grid": ("x", "worst of a grid"),
}


def against(across: Callable[[Run], float], name: str, panels: Mapping[str, str]) -> Callable[[pd.DataFrame], Figure]:
    """A drawing of scores (columns) against `across`, a row a scenario: of each way a point a seed and a line through the means, or a line
    across the panel where it has no place. The beta and rate of each place are chosen on validation."""

    def scores(frame: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for run in at_best_settings(frame, across).itertuples():
            place = {"scenario": run.scenario, "way": run.way, "across": run.across, "seed": run.seed}
            found = {panel: getattr(run, panel, math.nan) for panel in panels}
            rows += [{**place, "panel": panel, "score": score} for panel, score in found.items() if not math.isnan(score)]
        return pd.DataFrame(rows)

    @drawing(scores)
    def draw(numbers: pd.DataFrame) -> Figure:
        scenarios = list(numbers.scenario.unique())
        shape = {"figsize": (3.1 * len(panels) + 0.4, 2.5 * len(scenarios) + 0.5), "squeeze": False, "layout": "constrained"}
        figure, axes = plt.subplots(len(scenarios), len(panels), **shape)
        for row, scenario in zip(axes, scenarios, strict=True):
            for ax, (panel, label) in zip(row, panels.items(), strict=True):
                part = numbers[(numbers.scenario == scenario) & (numbers.panel == panel)]
                lines(ax, part)
                if part.empty:
                    ax.set_visible(False)
                ax.set(xlabel=name if scenario == scenarios[-1] else "", ylabel=label)
            if len(scenarios) > 1:
                row[0].set_title(scenario, loc="left", fontsize=9)
        legend(figure, numbers)
        return figure

    return draw


PAPER = {"facecolor": "white", "linewidth": 0, "pad": 1}  # behind words that lines may cross
FLOOR = 1e-6  # below this share of the largest score a way is at the rounding of its precision: named, not drawn


def lines(ax: plt.Axes, part: pd.DataFrame) -> None:
    """A panel of `against`."""
    drawn = part[part.score > FLOOR * part.score.max()]
    for way in [way for way in WAYS if (drawn.way == way).any()]:
        (colour, marker), points = WAYS[way], drawn[drawn.way == way]
        if points.across.isna().all():
            ax.axhline(points.score.mean(), color=colour, linewidth=1.2, linestyle={"none": ":", "penalty": "-."}.get(way, "--"))
            continue
        means = points.groupby("across").score.mean()
        ax.plot(means.index, means, color=colour, linewidth=1.4)
        ax.scatter(points.across, points.score, s=14, color=colour, marker=marker, linewidth=0, alpha=0.75, zorder=3)
    rounding = sorted({NAMES[way] for way in part.way} - {NAMES[way] for way in drawn.way})
    if rounding:
        most = part[part.way.map(NAMES).isin(rounding)].score.max()
        note = f"{', '.join(rounding)}: below {most:.0e}"
        ax.text(0.97, 0.8, note, transform=ax.transAxes, ha="right", fontsize=6.5, color="0.3", bbox=PAPER, zorder=5)
    ax.set(xscale="log", yscale="log")
    plain_ticks(ax)
    values = sorted(drawn.across.dropna().unique())
    if len(values) <= 6:
        ax.set_xticks(values, [f"{value:g}" for value in values], fontsize=7)
        ax.minorticks_off()
    else:
        ax.xaxis.set_major_locator(LogLocator())
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.tick_params(axis="x", labelsize=7)
    ax.grid(axis="y", color="0.92")


def legend(figure: Figure, numbers: pd.DataFrame) -> None:
    """The ways that are there, above all panels."""
    there = [way for way in WAYS if (numbers.way == way).any()]
    free = {way for way in there if numbers[numbers.way == way].across.isna().all()} if "across" in numbers else set()
    styles = {"none": ":", "penalty": "-."}
    handles = [
        plt.Line2D([], [], color=WAYS[way][0], marker=None if way in free else WAYS[way][1], markersize=5, label=NAMES[way],
                   linestyle=styles.get(way, "--") if way in free else "-")
        for way in there
    ]  # fmt: skip
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper center", ncols=len(handles))


# ---------------------------------------------------------------------------------------------- where equivariance is lost


def by_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """What each layer adds to the Lie derivative at the output, and the whole, over the size of the prediction: of networks of each depth
    that have more than one block."""
    rows = []
    for run in at_best_settings(frame, blocks_of).itertuples():
        if run.across > 1 and run.way != "built in":
            parts = {k: getattr(run, f"lie_{k}") / run.test_size for k in range(1, int(run.across) + 2)}
            place = {"way": run.way, "blocks": run.across, "seed": run.seed}
            rows += [{**place, "layer": k, "score": part} for k, part in parts.items()]
            rows.append({**place, "layer": 0, "score": run.lie / run.test_size})
    return pd.DataFrame(rows)


@drawing(by_layer)
def layers(numbers: pd.DataFrame) -> Figure:
    """A panel a depth: each layer's part of the Lie derivative against its place, a point a seed, the mean as a line; dashed: the whole."""
    depths = sorted(numbers.blocks.unique())
    figure, axes = plt.subplots(1, len(depths), figsize=(2.5 * len(depths) + 0.5, 2.9), sharey=True, squeeze=False, layout="constrained")
    for ax, depth in zip(axes[0], depths, strict=True):
        part = numbers[numbers.blocks == depth]
        for way, points in part.groupby("way", sort=False):
            (colour, marker), whole = WAYS[way], points[points.layer == 0]
            points = points[points.layer > 0]
            means = points.groupby("layer").score.mean()
            ax.plot(means.index, means, color=colour, linewidth=1.2)
            ax.scatter(points.layer, points.score, s=8, color=colour, marker=marker, linewidth=0, alpha=0.7)
            ax.axhline(whole.score.mean(), color=colour, linewidth=1, linestyle="--")
        last = int(depth) + 1
        places = list(range(1, last + 1)) if last < 10 else [1, 5, 9, 13, 17]
        ax.set_xticks(places, [f"{place}" for place in places], fontsize=7)
        ax.set(title=f"{int(depth)} blocks", xlabel="layer", yscale="log")
    plain_ticks(axes[0, 0])
    axes[0, 0].set_ylabel("part of the Lie derivative\nover the prediction's size")
    legend(figure, numbers)
    return figure


# ---------------------------------------------------------------------------------------------------------- the worst case


def robust(where: Mapping[str, str]) -> Callable[[pd.DataFrame], Figure]:
    """A drawing of ||f(g x) - rho(g) f(x)|| over the size of f, a panel a test set (`where`: set to title): of each way, at the settings
    and the size of network with the least validation error, its mean, 99th percentile and worst case, a mark a seed."""

    def measured(frame: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for run in at_best_settings(frame, lambda run: 0.0).itertuples():
            for split in where:
                size = getattr(run, f"{split}_size")
                found = {name: getattr(run, f"{split}_{name}", math.nan) / size for name in MEASURES}
                place = {"panel": split, "way": run.way, "seed": run.seed}
                rows += [{**place, "measure": name, "score": score} for name, score in found.items() if not math.isnan(score)]
        return pd.DataFrame(rows)

    @drawing(measured)
    def draw(numbers: pd.DataFrame) -> Figure:
        ways = [way for way in WAYS if (numbers.way == way).any()][::-1]
        shape = {"figsize": (8.6, 0.9 + 0.42 * len(ways)), "sharey": True, "sharex": True, "layout": "constrained"}
        figure, axes = plt.subplots(1, len(where), **shape)
        for ax, (split, title) in zip(axes, where.items(), strict=True):
            part = numbers[numbers.panel == split]
            drawn = part[part.score > FLOOR * part.score.max()]
            for run in drawn.itertuples():
                marker, _ = MEASURES[run.measure]
                place = ways.index(run.way) - (0.22 if run.measure == "grid" else 0.0)
                ax.plot(run.score, place, marker, color=WAYS[run.way][0], markersize=8 if marker == "|" else 4, alpha=0.8)
            for way in set(part.way) - set(drawn.way):
                worst = f"worst found {part[part.way == way].score.max():.0e}"
                ax.text(0.5, ways.index(way), worst, transform=ax.get_yaxis_transform(), ha="center", va="center", fontsize=7, color="0.3")
            ax.set(xscale="log", title=title, xlabel="‖f(gx) − ρ(g)f(x)‖ over mean ‖f(x)‖")
            ax.set_yticks(range(len(ways)), [NAMES[way] for way in ways])
            ax.set_ylim(-0.6, len(ways) - 0.4)
            ax.grid(axis="x", color="0.92")
        there = [(marker, name) for key, (marker, name) in MEASURES.items() if (numbers.measure == key).any()]
        handles = [plt.Line2D([], [], color="0.3", linewidth=0, marker=marker, markersize=5, label=name) for marker, name in there]
        figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper center", ncols=len(handles))
        return figure

    return draw
