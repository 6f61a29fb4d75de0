"""Figures of REMUL's dial: scores against beta, the weight of the equivariance term, beside methods that have no such weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.figures import drawing
from lib.learner import Run

NOT_DRAWN = 1e-6  # an exactly equivariant network's error is named in its panel, not drawn


def dialled(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Every run's metrics: its panel, beta, its augmenter.

    Models that turn beta are in the panel of gradual or of constant weights, the others are baselines.
    """
    rows, betas = [], {model: {run.get("lambda_equiv") for run in part} for model, part in frame.groupby("model").run}
    for run in frame.itertuples():
        panel = ("gradual" if "gradual" in run.run else "constant") if len(betas[run.model]) > 1 else "baselines"
        place = {
            "panel": panel,
            "model": run.model,
            "beta": run.run.get("lambda_equiv"),
            "group": augmenter(run.run),
            "seed": run.seed,
        }
        rows += [{"scenario": run.scenario, **place, "metric": metric, "score": getattr(run, metric)} for metric in metrics]
    return pd.DataFrame(rows)


def at_best_beta(frame: pd.DataFrame, score: str = "val_mse") -> pd.DataFrame:
    """Of each model and scenario the runs at one beta, that of the least mean validation score: test data have no part in the choice."""
    beta = [run.get("lambda_equiv", 0.0) for run in frame.run]
    means = frame.assign(beta=beta).groupby(["model", "scenario", "beta"])[score].transform("mean")
    return frame[means == means.groupby([frame.model, frame.scenario]).transform("min")]


def augmenter(run: Run) -> str:
    """The group that a run draws from, and whether its gradients are clipped; none without a group."""
    return run["group"] + ("" if "clip" in run else ", unclipped") if "group" in run else ""


def against_beta(metrics: Mapping[str, str]) -> Callable[[pd.DataFrame], Figure]:
    """A drawing of metrics (rows; key in the record to axis label) for gradual and constant weights against beta, and for baselines."""

    @drawing(lambda frame: dialled(frame, list(metrics)))
    def draw(numbers: pd.DataFrame) -> Figure:
        panels = [panel for panel in ("gradual", "constant", "baselines") if panel in set(numbers.panel)]
        figure, axes = plt.subplots(len(metrics), len(panels), figsize=(2.9 * len(panels), 2.1 * len(metrics) + 0.9),
                                    squeeze=False, sharey="row", sharex="col", layout="constrained")  # fmt: skip
        groups = [group for group in numbers.group.fillna("").unique() if group]
        colours = dict(zip(["", *groups], sns.color_palette("colorblind", 1 + len(groups)), strict=True))
        for i, (metric, name) in enumerate(metrics.items()):
            for j, panel in enumerate(panels):
                part = numbers[(numbers.metric == metric) & (numbers.panel == panel)]
                (baselines if panel == "baselines" else curves)(axes[i, j], part.assign(group=part.group.fillna("")), colours)
                axes[i, j].set_yscale("log")
                axes[i, j].grid(axis="y", color="0.92")
            axes[i, 0].set_ylabel(name)
        for ax, panel in zip(axes[0], panels, strict=True):
            ax.set_title(panel if panel == "baselines" else f"REMUL, {panel} weights")
        for ax in axes[-1, : len(panels) - ("baselines" in panels)]:
            ax.set_xlabel("β")
        if groups:
            handles = [plt.Line2D([], [], color=colours[group], marker="o", markersize=3, label=group) for group in groups]
            figure.legend(handles=handles, title="augmenter", loc="outside right upper", frameon=False, fontsize=8, title_fontsize=8)
        return figure

    return draw


def curves(ax: plt.Axes, part: pd.DataFrame, colours: Mapping[str, tuple]) -> None:
    """A point a seed and the mean as a line, for each augmenter; the values of beta at equal distances, so that 0 has a place."""
    betas = sorted(part.beta.unique())
    for group, points in part.groupby("group", sort=False):
        at = points.beta.map(betas.index)
        mean = points.groupby("beta").score.mean()
        ax.plot(range(len(betas)), mean.reindex(betas), color=colours[group], linewidth=1.5)
        ax.scatter(at, points.score, s=10, color=colours[group], alpha=0.6, linewidth=0)
    ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas], fontsize=7)


def baselines(ax: plt.Axes, part: pd.DataFrame, colours: Mapping[str, tuple]) -> None:
    """A point a seed for each method; what is exact up to rounding is written instead."""
    models = list(part.model.unique())
    for x, model in enumerate(models):
        points = part[part.model == model]
        if points.score.max() < NOT_DRAWN:
            ax.text(x, 0.04, f"{points.score.mean():.0e}", transform=ax.get_xaxis_transform(), ha="center", fontsize=6, rotation=90)
        else:
            ax.scatter([x] * len(points), points.score, s=14, color=colours[points.group.iloc[0]], linewidth=0)
    ax.set_xticks(range(len(models)), models, fontsize=7, rotation=60, ha="right")
    ax.set_xlim(-0.6, len(models) - 0.4)
