"""beta as the price of a constraint: its path, whether the bound is met, and what comes of it beside constant weights."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.protocol import Run
from lib.views.figures.bases import drawing, plain_ticks

PATHS = {"beta": "β", "level": "equivariance term over ε"}
LOOKS = {  # marker and name
    "bounded": ("o", "β from ε"),
    "constant": ("s", "β constant"),
    "projection": ("D", "projection penalty"),
    "augmentation": ("v", "augmentation"),
    "standard": ("^", "plain"),
}


def priced(frame: pd.DataFrame) -> pd.DataFrame:
    """A number a look of every run with a bound, at `step`: beta, and the term's mean over the last steps over the bound; and a number a
    run: test error (`score`) against E' (`across`), with the bound, weight or penalty as `setting`."""
    rows = []
    for run in frame.itertuples():
        kind, setting = kind_of(run.run)
        place = {"scenario": run.scenario, "model": run.model, "seed": run.seed, "kind": kind, "setting": setting}
        if kind == "bounded":
            for path, over in (("beta", 1.0), ("level", setting)):
                points = zip(run.curves["step"], run.curves[path], strict=True)
                rows += [{**place, "panel": path, "across": step, "score": value / over} for step, value in points]
        rows.append({**place, "panel": "errors", "across": run.E_prime, "score": run.test_mse})
    return pd.DataFrame(rows)


def kind_of(run: Run) -> tuple[str, float]:
    """How a run came by its equivariance, and the bound, beta, or weight of a penalty on its layers."""
    if "dual" in run:
        return "bounded", run["dual"]["epsilon"]
    if "lambda_equiv" in run:
        return "constant", run["lambda_equiv"]
    if "weight" in run["model_options"]:
        return "projection", run["model_options"]["weight"]
    return run["method"], np.nan


@drawing(priced)
def bounded(numbers: pd.DataFrame) -> Figure:
    """A row a scenario: the paths of beta and of the term, a line a seed; every run's test error against E', joined by their means."""
    scenarios, bounds = list(numbers.scenario.unique()), sorted(numbers[numbers.kind == "bounded"].setting.unique())
    shape = {"squeeze": False, "figsize": (9.6, 0.5 + 2.5 * len(scenarios)), "layout": "constrained"}
    figure, axes = plt.subplots(len(scenarios), 3, **shape)
    shades = dict(zip(bounds, sns.color_palette("viridis", len(bounds)), strict=True))
    for row, scenario in zip(axes, scenarios, strict=True):
        part, lowest = numbers[numbers.scenario == scenario], scenario == scenarios[-1]
        for ax, (path, label) in zip(row, PATHS.items(), strict=False):
            for (epsilon, _), line in part[part.panel == path].groupby(["setting", "seed"]):
                ax.plot(line.across, line.score, color=shades[epsilon], linewidth=1.0, marker=".", markersize=3)
            ax.set(yscale="log", xlabel="step" if lowest else "", ylabel=label)
            plain_ticks(ax)
        row[1].axhspan(0.9, 1.1, color="0.88", zorder=0)
        row[0].set_title(scenario, loc="left", fontsize=8)
        errors(row[2], part[part.panel == "errors"], shades)
        row[2].set(xlabel="E' (raw units)" if lowest else "", ylabel="test MSE (raw units²)")
    handles = [plt.Line2D([], [], color=shade, label=f"ε = {epsilon:g}") for epsilon, shade in shades.items()]
    there = {kind: look for kind, look in LOOKS.items() if (numbers.kind == kind).any()}
    handles += [plt.Line2D([], [], color="0.4", linewidth=0, marker=marker, label=name) for marker, name in there.values()]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper center", ncols=len(handles))
    return figure


def errors(ax: plt.Axes, points: pd.DataFrame, shades: dict[float, tuple]) -> None:
    """Test error against E': a point a run, of the weights and of the bounds a line through the means, the weights beside it."""
    for kind, part in points.groupby("kind", sort=False):
        means = part.groupby("setting", dropna=False)[["across", "score"]].mean()
        if len(means) > 1:
            ax.plot(means.across, means.score, color="0.6", linewidth=1, linestyle="-" if kind == "bounded" else ":", zorder=1)
        colours = [shades.get(setting, "0.4") if kind == "bounded" else "0.4" for setting in part.setting]
        ax.scatter(part.across, part.score, s=16, c=colours, marker=LOOKS[kind][0], linewidth=0, alpha=0.8, zorder=2)
        if kind == "constant":
            for i, (setting, at) in enumerate(means.iterrows()):  # by turns below on the right and above on the left
                place = {"xytext": (-6, 4), "ha": "right", "va": "bottom"} if i % 2 else {"xytext": (6, -3), "va": "top"}
                ax.annotate(f"β = {setting:g}", at, textcoords="offset points", fontsize=6, color="0.3", **place)
    ax.set(xscale="log", yscale="log")
    plain_ticks(ax, "x")
    plain_ticks(ax)
