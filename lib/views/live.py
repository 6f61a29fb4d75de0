"""REMUL's beta on a slider: one run is trained while one watches, and its point is drawn among the recorded ones.

The curves grow at each look at validation; afterwards stand f(gx) and g f(x) side by side, and the point of error against E'.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor

from lib.draws import random_stream
from lib.experiments.evaluation import predictors
from lib.experiments.freshness import data_of
from lib.experiments.settings import labelled_plan
from lib.experiments.sweep import load_task, resolved
from lib.experiments.training import judged, trained
from lib.experiments.values import checked
from lib.protocol import Run
from lib.tasks import Task
from lib.views.figures.bases import plain_ticks
from lib.views.tables import results_of

LOOKS = 40  # at validation, for a curve that one can watch
TURNS = 3  # elements g that predictions are drawn for


class Choice(NamedTuple):
    """What one can train: an experiment's row and scenario, the metric that is its error, and what to call it."""

    experiment: str
    row: str
    scenario: str
    error: str
    units: str


CHOICES = {
    "four bodies, a Transformer": Choice("nbody", "REMUL, Haar", "10deg", "out_mse", "squared error, other directions"),
    "running, a perceptron": Choice("mocap_mlp", "MLP + REMUL", "run", "test_mse", "squared error (raw units²)"),
    "ethanol, a graph network": Choice("md17", "REMUL", "ethanol", "test_mse", "squared error (Å²)"),
    "currents of the sea, a CNN": Choice("flow", "REMUL", "ocean", "test_rmse", "error at later times (m/s)"),
}


def run_of(choice: Choice, profile: str, beta: float) -> Run:
    """The recorded run of that row with another beta, and more looks at validation. Raises ConfigError for a beta that cannot be."""
    runs = [run for label, run in labelled_plan(choice.experiment, profile) if label == choice.row]
    run = next((run for run in runs if run["scenario"] == choice.scenario), runs[0])
    return checked({**run, "lambda_equiv": beta, "evaluations": min(LOOKS, run["steps"])})


def curves(found: Mapping[str, list], run: Run) -> Figure:
    """The terms of the objective and the error on validation so far."""
    figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for name, label in {"task": "ℓ(f(x), y)", "equiv": "ℓ(f(gx), gy)", "val_loss": "on validation"}.items():
        if name in found:
            ax.plot(found["step"], found[name], marker=".", label=label)
    ax.set(xlim=(0, run["steps"]), yscale="log", xlabel="step", ylabel="loss", title=f"β = {run['lambda_equiv']:g}")
    ax.legend(frameon=False, fontsize=8)
    return figure


def trade_off(recorded: pd.DataFrame, yours: pd.DataFrame, choice: Choice) -> Figure:
    """Error against E', both smaller is better: recorded rows, that row's beta as a line, and your points as stars."""
    figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    recorded = recorded[(recorded.scenario == choice.scenario) & (recorded.E_prime > 1e-9)]
    dial = recorded[recorded.model == choice.row].assign(beta=lambda part: [run["lambda_equiv"] for run in part.run])
    others = recorded[~recorded.model.str.contains("REMUL|literal")].groupby("model", sort=False)[["E_prime", choice.error]].mean()
    for (name, row), colour in zip(others.iterrows(), sns.color_palette("colorblind", len(others)), strict=True):
        ax.scatter(row.E_prime, row[choice.error], s=22, color=colour, label=name)
    means = dial.groupby("beta")[["E_prime", choice.error]].mean()
    ax.plot(means.E_prime, means[choice.error], color="0.4", marker=".", label=f"{choice.row}, recorded β")
    for beta, row in means.iterrows():
        ax.annotate(f"{beta:g}", (row.E_prime, row[choice.error]), textcoords="offset points", xytext=(3, 4), fontsize=7)
    for row in yours.itertuples():
        ax.scatter(row.E_prime, getattr(row, choice.error), s=130, marker="*", color="tab:red", edgecolor="black", zorder=3)
        ax.annotate(
            f"yours, {row.beta:g}", (row.E_prime, getattr(row, choice.error)), textcoords="offset points", xytext=(6, -9), fontsize=8
        )
    ax.set(xscale="log", yscale="log", xlabel="E' over the group", ylabel=choice.units)
    for along in "xy":
        plain_ticks(ax, along)
    figure.legend(frameon=False, fontsize=7, loc="outside right upper")
    return figure


def turned(task: Task, predict: Callable[[Tensor], Tensor]) -> Figure:
    """f(gx) and g f(x) of one test sample for a few g: points and rings of vectors, speeds of films; the same where f is equivariant."""
    g = next(iter(task.groups.values()))(TURNS, random_stream(0, "turned"), task.generators.dtype)
    x = task.test[0][:1]
    with torch.no_grad():
        moved, expected = predict(task.rho_x(g[None], x).squeeze(0)), task.rho_y(g[None], predict(x)).squeeze(0)
    if moved.ndim == 5:  # films: the speed in the last frame
        figure, axes = plt.subplots(2, TURNS, figsize=(5, 3.4), layout="constrained", squeeze=False)
        most = expected[:, -1].norm(dim=1).max().item()
        for row, (name, films) in zip(axes, {"f(gx)": moved, "g f(x)": expected}.items(), strict=True):
            for ax, film in zip(row, films, strict=True):
                ax.imshow(film[-1].norm(dim=0).numpy(), origin="lower", vmin=0, vmax=most, cmap="viridis")
                ax.set(xticks=[], yticks=[])
            row[0].set_ylabel(name)
        return figure
    figure, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    for i, colour in zip(range(TURNS), sns.color_palette("colorblind"), strict=False):
        (a, b), (c, d) = (points.reshape(-1, task.size)[:, :2].T for points in (moved[i], expected[i]))
        ax.plot(torch.stack([a, c]), torch.stack([b, d]), color=colour, linewidth=0.6)
        ax.scatter(a, b, s=12, color=colour, label="f(gx)" if i == 0 else None)
        ax.scatter(c, d, s=34, facecolor="none", edgecolor=colour, label="g f(x)" if i == 0 else None)
    ax.set(xlabel="x", ylabel="y", aspect="equal", title="a colour is a g")
    ax.legend(frameon=False, fontsize=8)
    return figure


class Dial:
    """The panel: what to train, beta, a button, a bar, and three pictures.

    Parameters
    ----------
    profile : whose settings a run has and, but at `smoke`, whose records it stands among; None takes EQUIVARIANCE_PROFILE from the
        environment, or "best".
    """

    def __init__(self, profile: str | None = None):
        self.profile, self.yours = profile or os.environ.get("EQUIVARIANCE_PROFILE", "best"), {}
        self.what = widgets.Dropdown(options=list(CHOICES), description="train")
        self.beta = widgets.FloatLogSlider(value=1.0, base=10, min=-2, max=3, step=0.1, description="β", readout_format=".2g")
        self.button = widgets.Button(description="train", button_style="primary")
        self.bar = widgets.IntProgress(description="")
        self.growing, self.beside = (widgets.Output(layout={"width": "50%"}) for _ in range(2))
        self.button.on_click(lambda _: self.train())
        self.what.observe(lambda _: self.show(), names="value")
        controls = widgets.HBox([self.what, self.beta, self.button, self.bar])
        self.panel = widgets.VBox([controls, widgets.HBox([self.growing, self.beside])])
        self.show()

    @property
    def choice(self) -> Choice:
        return CHOICES[self.what.value]

    def train(self) -> pd.Series:
        """One run at the beta of the slider; its scores."""
        choice, beta = self.choice, float(f"{self.beta.value:.3g}")
        run = run_of(choice, resolved(choice.experiment, self.profile), beta)
        task, _ = load_task("cpu", **data_of(run))
        self.button.disabled, self.bar.max, self.bar.value = True, run["steps"], 0
        try:

            def advance(steps: int) -> None:
                self.bar.value += steps

            stack, _ = trained(task, [run], advance, watch=lambda found: picture(self.growing, curves(found[0], run)))
        finally:
            self.button.disabled = False
        trainable = stack.trainable(stack.best[0])
        scores = pd.Series({**judged(trainable, task, run)["metrics"], "beta": beta, "seed": run["seed"]})
        self.yours.setdefault(self.what.value, []).append(scores)
        picture(self.growing, curves(stack.curves[0], run), turned(task, predictors(trainable, task, run)["_plain"]))
        self.show()
        return scores

    def show(self) -> None:
        """The recorded points, and yours."""
        recorded = results_of(self.choice.experiment, "best" if self.profile == "smoke" else self.profile)
        picture(self.beside, trade_off(recorded, pd.DataFrame(self.yours.get(self.what.value, [])), self.choice))


def picture(where: widgets.Output, *figures: Figure) -> None:
    """The figures in the place of what was there."""
    with where, warnings.catch_warnings(action="ignore"):
        where.clear_output(wait=True)
        for figure in figures:
            display(figure)
            plt.close(figure)
