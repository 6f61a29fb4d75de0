"""Figures of runs that differ in one setting: scores against it, and the generators where more are learned than there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing

NAMES = {  # of settings and metrics, on axes
    "n_train": "training images",
    "copies": "K, augmentations per sample",
    "gamma": r"$\gamma$",
    "lambda_task": r"$\lambda_\mathrm{task}$",
    "lambda_equiv": r"$\lambda_\mathrm{equiv}$ (β)",
    "lambda_aug": r"$\lambda_\mathrm{aug}$",
    "lambda_sparse": r"$\lambda_\mathrm{sparse}$",
    "test_accuracy": "test accuracy (%)",
    "cosine": "|cosine| with the ground truth",
    "error_draws": "M, draws of g",
    "E": "E over all rotations",
    "E_prime": "E' over all rotations",
    "test_mse": "MSE in",
    "out_mse": "MSE out",
}


def one_at_a_time(frame: pd.DataFrame, knobs: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """For each knob the runs that differ in it alone from the first run of their model: value, seed and the metrics that they have.
    A basis that they take may be another, found with their seed, in their data; of fewer samples fewer steps, at as many epochs."""
    rows = []
    for model, part in frame.groupby("model", sort=False):
        base = part.run.iloc[0]
        for knob, run in itertools.product(knobs, part.itertuples()):
            apart = {knob, "seed", "scenario", "basis", *(["steps"] if knob == "n_train" else [])}
            if all(run.run.get(name) == value for name, value in base.items() if name not in apart):
                found = {"value": run.run[knob], "reference": base[knob], "seed": run.seed}
                rows += [{"model": model, "knob": knob, **found, "metric": metric, "score": getattr(run, metric)} for metric in metrics]
    return pd.DataFrame(rows).dropna(subset="score")


def against(knobs: Sequence[str], metrics: Sequence[str], unit: str = "") -> Callable[[pd.DataFrame], Figure]:
    """A drawing of metrics (rows) against knobs (columns): a point a seed, the mean as a line for each model; the tables' value dotted."""

    @drawing(lambda frame: one_at_a_time(frame, knobs, metrics))
    def draw(numbers: pd.DataFrame) -> Figure:
        figure, axes = plt.subplots(len(metrics), len(knobs), figsize=(max(4.6, 2.1 * len(knobs)), 2.2 * len(metrics) + 0.5),
                                    squeeze=False, sharey="row", layout="constrained")  # fmt: skip
        models = list(numbers.model.unique())
        colours = dict(zip(models, sns.color_palette("colorblind", len(models)), strict=True))
        dashes = dict(zip(models, itertools.cycle(["-"] if len(models) < 5 else ["-", "--", ":"])))  # two of six are nearly one colour
        for (i, metric), (j, knob) in itertools.product(enumerate(metrics), enumerate(knobs)):
            ax, part = axes[i, j], numbers[(numbers.knob == knob) & (numbers.metric == metric)]
            for model, points in part.groupby("model", sort=False):
                mean = points.groupby("value").score.mean()
                ax.plot(mean.index, mean, dashes[model], color=colours[model], label=model, linewidth=1.5)
                ax.scatter(points.value, points.score, s=10, color=colours[model], alpha=0.6, linewidth=0)
            if len(models) == 1:
                ax.axvline(part.reference.iloc[0], color="0.6", linestyle=":", linewidth=1, zorder=0)
            ax.set_xscale("log", base=10 if knob.startswith("lambda") or knob == "n_train" else 2)
            if not knob.startswith("lambda"):
                values = sorted(part.value.unique())
                ax.set_xticks(values, [f"{value:g}" for value in values], fontsize=7, rotation=0 if knob == "copies" else 35)
                ax.minorticks_off()
            ax.set_xlabel(NAMES[knob] if i == len(metrics) - 1 else "")
            ax.grid(axis="y", color="0.92")
        for ax, metric in zip(axes[:, 0], metrics, strict=True):
            ax.set_ylabel(NAMES[metric] + unit)
        if len(models) > 1:
            keys = axes[0, 0].get_legend_handles_labels()
            figure.legend(*keys, frameon=False, fontsize=8, loc="outside upper center", ncols=len(models) if len(models) < 5 else 3)
        return figure

    return draw


# --------------------------------------------------------------------------------------------------- how soon it is found


def on_the_way(frame: pd.DataFrame) -> pd.DataFrame:
    """|cosine| with the ground truth at each look at validation."""
    rows = [{"model": run.model, "seed": run.seed, **{k: run.curves[k] for k in ("step", "cosine")}} for run in frame.itertuples()]
    numbers = pd.DataFrame(rows).explode(["step", "cosine"], ignore_index=True)
    return numbers.assign(cosine=numbers.cosine.astype(float).abs())


@drawing(on_the_way)
def sooner(numbers: pd.DataFrame) -> Figure:
    """A panel a model: |cosine| against the step, a line a seed; the first model's mean dotted in each."""
    models = list(numbers.model.unique())
    figure, axes = plt.subplots(1, len(models), figsize=(1.75 * len(models), 2.3), sharex=True, sharey=True, layout="constrained")
    reference = numbers[numbers.model == models[0]].groupby("step").cosine.mean()
    for ax, model in zip(axes, models, strict=True):
        for _, line in numbers[numbers.model == model].groupby("seed"):
            ax.plot(line.step, line.cosine, color=sns.color_palette("colorblind")[0], linewidth=1, alpha=0.7)
        ax.plot(reference.index, reference, color="0.3", linestyle=":", linewidth=1.2)
        ax.set(title=model, xlabel="step")
        ax.grid(axis="y", color="0.92")
    axes[0].set_ylabel(NAMES["cosine"])
    return figure


# -------------------------------------------------------------------------------------- more generators than there are


def elements_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Entries of every generator of the first seed, by the number of generators, and each one's |cosine| with the ground truth."""
    base, truth, rows = frame.run.iloc[0], np.pad([[0.0, 1.0], [-1.0, 0.0]], (0, 1)), []  # a turn of the plane
    for run in frame[frame.seed == frame.seed.min()].itertuples():
        if any(run.run.get(name) != value for name, value in base.items() if name != "cardinality"):
            continue
        for c, generator in enumerate(np.array(run.basis)):
            cosine = abs((generator * truth).sum()) / np.linalg.norm(generator) / np.linalg.norm(truth)
            for (i, j), value in np.ndenumerate(generator):
                rows.append({"cardinality": len(run.basis), "generator": c, "row": i, "column": j, "value": value, "cosine": cosine})
    return pd.DataFrame(rows).sort_values("cardinality", kind="stable")


@drawing(elements_of)
def elements(numbers: pd.DataFrame) -> Figure:
    """A heat map of every generator, one row for each assumed number of them."""
    counts, limit = list(numbers.cardinality.unique()), numbers.value.abs().max()
    figure, axes = plt.subplots(
        len(counts), max(counts), figsize=(1.15 * max(counts), 1.35 * len(counts)), squeeze=False, layout="constrained"
    )
    for ax in axes.flat:
        ax.axis("off")
    for (count, c), part in numbers.groupby(["cardinality", "generator"]):
        ax = axes[counts.index(count), c]
        matrix = part.pivot(index="row", columns="column", values="value").to_numpy()
        ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"|cos| {part.cosine.iloc[0]:.2f}", fontsize=7)
        if c == 0:
            ax.text(-0.2, 0.5, f"C = {count}", transform=ax.transAxes, ha="right", va="center", fontsize=9)
    bar = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.6, aspect=30)
    bar.set_label("entry (norm √3)")
    return figure
