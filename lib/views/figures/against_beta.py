"""Figures of REMUL's dial: scores against beta, the weight of the equivariance term, beside methods that have no such weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.protocol import Run
from lib.views.figures.bases import YOURS, drawing, plain_ticks

NOT_DRAWN = 1e-5  # of the largest baseline: an exactly equivariant network's error, rounding, is named in its panel, not drawn
SIDE_BY_SIDE = 4  # scenarios in a row
STROKES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))  # lines and markers of augmenters, for print without colours
MINE = ", yours, seed "  # of a group, before the seed: others are several, and their line is a mean
POINT, STAR = {"s": 10, "alpha": 0.6, "linewidth": 0, "zorder": 3}, {"s": 110, "edgecolor": "black", "linewidth": 0.7, "zorder": 4}


class Look(NamedTuple):
    """How an augmenter's runs are drawn."""

    colour: tuple[float, ...]
    line: str = "-"
    marker: str = "o"


def dialled(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Every run's metrics: its panel, beta, its augmenter.

    Models that turn beta are in the panel of gradual or of constant weights, the others are baselines.
    """
    rows, betas = [], {model: {run.get("lambda_equiv") for run in part} for model, part in frame.groupby("model").run}
    clips = any("clip" in run for run in frame.run)
    for run in frame.itertuples():
        turned, yours = len(betas[run.model.removesuffix(YOURS)]) > 1, f"{MINE}{run.seed}" if run.model.endswith(YOURS) else ""
        panel = ("gradual" if "gradual" in run.run else "constant") if turned else "baselines"
        place = {
            "panel": panel,
            "model": run.model,
            "beta": run.run.get("lambda_equiv"),
            "group": augmenter(run.run, clips) + yours,
            "seed": run.seed,
        }
        rows += [{"scenario": run.scenario, **place, "metric": metric, "score": getattr(run, metric)} for metric in metrics]
    return pd.DataFrame(rows)


def augmenter(run: Run, clips: bool) -> str:
    """The group that a run draws from, and, where gradients of others are clipped, whether its own are not; none without a group."""
    return run["group"] + (", unclipped" if clips and "clip" not in run else "") if "group" in run else ""


def looks_of(numbers: pd.DataFrame, strokes: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look for each augmenter, the first for runs without one; the strokes are used in turn."""
    groups = [group for group in numbers.group.fillna("").unique() if group]
    colours = sns.color_palette("colorblind", 1 + len(groups))
    strokes = [("-", "o"), *itertools.islice(itertools.cycle(strokes), len(groups))]
    looks = {group: Look(colour, *stroke) for group, colour, stroke in zip(["", *groups], colours, strokes, strict=True)}
    return {group: look._replace(marker="*") if MINE in group else look for group, look in looks.items()}


def against_beta(metrics: Mapping[str, str]) -> Callable[[pd.DataFrame], Figure]:
    """A drawing of metrics (rows; key in the record to axis label) for gradual and constant weights against beta, and for baselines."""

    @drawing(lambda frame: dialled(frame, list(metrics)))
    def draw(numbers: pd.DataFrame) -> Figure:
        panels = [panel for panel in ("gradual", "constant", "baselines") if panel in set(numbers.panel)]
        figure, axes = plt.subplots(len(metrics), len(panels), figsize=(2.9 * len(panels), 2.1 * len(metrics) + 0.9),
                                    squeeze=False, sharey="row", sharex="col", layout="constrained")  # fmt: skip
        looks = looks_of(numbers, STROKES[:1])
        for i, (metric, name) in enumerate(metrics.items()):
            for j, panel in enumerate(panels):
                part = numbers[(numbers.metric == metric) & (numbers.panel == panel)]
                (baselines if panel == "baselines" else curves)(axes[i, j], part.assign(group=part.group.fillna("")), looks)
                axes[i, j].set_yscale("log")
                axes[i, j].grid(axis="y", color="0.92")
            axes[i, 0].set_ylabel(name)
        for ax, panel in zip(axes[0], panels, strict=True):
            ax.set_title(panel if panel == "baselines" else f"REMUL, {panel} weights")
        for ax in axes[-1, : len(panels) - ("baselines" in panels)]:
            ax.set_xlabel("β")
        legend(figure, looks, loc="outside right upper")
        return figure

    return draw


def across_scenarios(metrics: Mapping[str, str], scenarios: Sequence[str] = ()) -> Callable[[pd.DataFrame], Figure]:
    """A drawing of metrics (key in the record to axis label) against beta for each of these scenarios, or of all, with the baselines.

    Four scenarios stand side by side, their metrics one below the other. Next to each panel the baselines have a strip of their own, on
    the same scale; their means are thin lines through both. Every metric and scenario has its own logarithmic scale.

    Raises ValueError where the results are of none of these scenarios.
    """

    def numbers_of(frame: pd.DataFrame) -> pd.DataFrame:
        found = frame[frame.scenario.isin(scenarios)] if scenarios else frame
        if found.empty:
            raise ValueError(f"no results of {', '.join(scenarios)}: these are of {', '.join(frame.scenario.unique())}")
        found = dialled(found, list(metrics))
        return found.assign(group=found.group.mask(found.panel == "gradual", found.group + ", gradual"))

    @drawing(numbers_of)
    def draw(numbers: pd.DataFrame) -> Figure:
        numbers, looks = numbers.assign(group=numbers.group.fillna("")), looks_of(numbers, STROKES)
        found = [scenario for scenario in scenarios or numbers.scenario.unique() if scenario in set(numbers.scenario)]
        methods = numbers[numbers.panel == "baselines"].model.unique()
        n, wide = len(metrics), min(len(found), SIDE_BY_SIDE)
        blocks, names = -(-len(found) // wide), 0.06 * max(map(len, methods), default=0)  # inches that names take below a block
        high = n * blocks
        figure, axes = plt.subplots(high, 2 * wide, figsize=((1.9 + 0.2 * len(methods)) * wide, 1.5 * high + (0.3 + names) * blocks + 0.4),
                                    squeeze=False, width_ratios=[1.5, 0.1 + 0.17 * len(methods)] * wide, layout="constrained")  # fmt: skip
        figure.get_layout_engine().set(w_pad=0.02)
        for ax in axes[high - n :, 2 * (len(found) % wide or wide) :].flat:
            ax.axis("off")
        for (i, scenario), (j, (metric, name)) in itertools.product(enumerate(found), enumerate(metrics.items())):
            row, column = i // wide * n + j, i % wide
            ax, strip = axes[row, 2 * column : 2 * column + 2]
            beside_baselines(ax, strip, numbers[(numbers.scenario == scenario) & (numbers.metric == metric)], looks)
            ax.set_title(scenario if j == 0 else "", loc="left")
            ax.set_ylabel(name if column == 0 else "", fontsize=8)
            ax.set_xlabel("β" if j == n - 1 else "")
            for part in (ax, strip):
                part.tick_params(labelbottom=j == n - 1)
        legend(figure, looks, loc="outside upper right", ncols=len(looks))
        return figure

    return draw


def beside_baselines(ax: plt.Axes, strip: plt.Axes, part: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Curves against beta, and in the strip beside them, on the same scale, the baselines; each one's mean as a line through both."""
    others = part[part.panel == "baselines"]
    strip.sharey(ax)
    curves(ax, part[part.panel != "baselines"], looks)
    baselines(strip, others, looks, turned=90)
    ax.set_yscale("log")
    strip.tick_params(axis="y", labelleft=False)
    for x, (_, points) in enumerate(others.groupby("model", sort=False)):
        if points.score.max() >= NOT_DRAWN * others.score.max():
            mean = points.score.mean()
            ax.axhline(mean, color="0.75", linewidth=0.6, zorder=0)
            strip.plot([-0.6, x], [mean, mean], color="0.75", linewidth=0.6, zorder=0)
    plain_ticks(ax)


def curves(ax: plt.Axes, part: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """A point a seed and the mean as a line, for each augmenter; the values of beta at equal distances, so that 0 has a place."""
    betas = sorted(part.beta.unique())
    for group, points in part.groupby("group", sort=False):
        at, (colour, line, marker) = points.beta.map(betas.index), looks[group]
        mean = points.groupby("beta").score.mean()
        ax.plot([betas.index(beta) for beta in mean.index], mean, color=colour, linestyle=line, linewidth=1.5)
        ax.scatter(at, points.score, color=colour, marker=marker, **(STAR if marker == "*" else POINT))
    ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas], fontsize=7)


def baselines(ax: plt.Axes, part: pd.DataFrame, looks: Mapping[str, Look], turned: float = 60) -> None:
    """A point a seed for each method, whose name is turned by so many degrees; what is exact up to rounding is written instead."""
    models = list(part.model.unique())
    for x, model in enumerate(models):
        points = part[part.model == model]
        if points.score.max() < NOT_DRAWN * part.score.max():
            ax.text(x, 0.04, f"{points.score.mean():.0e}", transform=ax.get_xaxis_transform(), ha="center", fontsize=6, rotation=90)
        else:
            colour, _, marker = looks[points.group.iloc[0]]
            ax.scatter([x] * len(points), points.score, s=14, color=colour, marker=marker, linewidth=0)
    ax.set_xticks(range(len(models)), models, fontsize=7, rotation=turned, ha="center" if turned == 90 else "right")
    ax.set_xlim(-0.6, len(models) - 0.4)


def legend(figure: Figure, looks: Mapping[str, Look], **place: str | int) -> None:
    """The augmenters, where there are any."""
    handles = [
        plt.Line2D([], [], color=colour, linestyle=line, marker=marker, markersize=9 if marker == "*" else 3, label=group)
        for group, (colour, line, marker) in looks.items()
        if group
    ]
    if handles:
        figure.legend(handles=handles, title="augmenter", frameon=False, fontsize=8, title_fontsize=8, **place)
