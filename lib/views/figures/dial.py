"""The dial of symmetry breaking: errors, the best weight of the penalty, and the relaxation of relaxed networks against its strength."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing

PLAIN = "CNN"
PANELS = {
    "error": "test error over the plain CNN's",
    "beta": "test error over the plain CNN's",
    "relaxation": "relaxation of RSteer's kernels",
}


def against_strength(frame: pd.DataFrame) -> pd.DataFrame:
    """A number a run and panel: its error over the CNN's mean at that strength; REMUL's at every beta, and the one that validation chose
    there (`chosen`, over all seeds) with the others' errors; the relaxation at the end of training."""
    frame = frame.assign(
        strength=[run["strength"] for run in frame.run],
        beta=[run.get("lambda_equiv") for run in frame.run],
        weight=[run["model_options"].get("relaxed_wd") for run in frame.run],
    )
    rows = []
    for strength, part in frame.groupby("strength"):
        plain = part[part.model == PLAIN].test_rmse.mean()
        means = part[part.beta.notna()].groupby("beta").val_rmse.mean()
        for run in part.itertuples():
            place = {"strength": strength, "model": run.model, "seed": run.seed}
            turned, chosen = pd.notna(run.beta), run.beta == means.idxmin()
            number = {**place, "beta": run.beta if turned else 0.0, "score": run.test_rmse / plain}
            if turned or run.model == PLAIN:
                rows.append({"panel": "beta", **number, "chosen": turned and chosen})
            if not turned or chosen:
                rows.append({"panel": "error", **number, "chosen": turned})
            if pd.notna(run.weight):
                rows.append({"panel": "relaxation", **number, "score": run.curves["penalty"][-1] / run.weight, "chosen": False})
    return pd.DataFrame(rows)


@drawing(against_strength)
def dial(numbers: pd.DataFrame) -> Figure:
    """Three panels; a point a seed, means as lines. Strengths and values of beta stand at equal distances."""
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
    strengths, models = sorted(numbers.strength.unique()), list(numbers.model.unique())
    colours = dict(zip(models, sns.color_palette("colorblind", len(models)), strict=True))
    for ax, panel in zip(axes[[0, 2]], ("error", "relaxation"), strict=True):
        for model, points in numbers[numbers.panel == panel].groupby("model", sort=False):
            label = f"{model}, β from validation" if points.chosen.any() else model
            curve(ax, points.strength.map(strengths.index), points.score, color=colours[model], label=label)
        ax.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
        ax.set_xlabel("strength s")
    part = numbers[numbers.panel == "beta"]
    betas, shades = sorted(part.beta.unique()), sns.color_palette("viridis", len(strengths))
    for shade, (strength, points) in zip(shades, part.groupby("strength"), strict=True):
        curve(axes[1], points.beta.map(betas.index), points.score, color=shade, label=f"s = {strength:g}")
        best = points[points.chosen]
        axes[1].scatter(
            best.beta.map(betas.index).iloc[:1], [best.score.mean()], s=90, facecolor="none", edgecolor=shade, linewidth=1.5, zorder=4
        )
    axes[1].set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    axes[1].set_xlabel("β of REMUL (ringed: chosen on validation)")
    for ax, panel in zip(axes, PANELS, strict=True):
        ax.set_ylabel(PANELS[panel])
        ax.grid(axis="y", color="0.92")
        ax.legend(fontsize=7, frameon=False)
    return figure


def curve(ax: plt.Axes, x: pd.Series, y: pd.Series, color: tuple, label: str) -> None:
    """A point a seed and the line of the means."""
    mean = y.groupby(x).mean()
    ax.plot(mean.index, mean, color=color, linewidth=1.5, label=label)
    ax.scatter(x, y, s=10, color=color, alpha=0.6, linewidth=0, zorder=3)
