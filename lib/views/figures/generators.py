"""Generators found in space, where no ground truth is given: what they are, and a drawing."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing, heat_map

AXES = ("x", "y", "z")
MOSTLY = 0.8  # the share of its squared norm from which a generator is called by a part of it


def anatomy(generator: Float[np.ndarray, "3 3"]) -> dict[str, float]:
    """Shares of ||L||^2: the skew part (rotation), the trace (scaling), the rest (stretching), which add up to 1; the largest singular
    value's (rank_one); and that of the rotation about each axis.

    Raises ValueError for a generator that is zero.
    """
    norm = np.linalg.norm(generator)
    if not norm > 0:
        raise ValueError(f"a generator that is no symmetry at all has no parts: its norm is {norm}")
    unit = generator.astype(float) / norm
    skew, scale = (unit - unit.T) / 2, np.trace(unit) / math.sqrt(3)
    about = {f"about_{name}": 2 * skew[i - 1, i - 2] ** 2 for i, name in enumerate(AXES)}  # <L, R_i>^2 with R_i at norm one
    rotation, scaling = (skew**2).sum(), scale**2
    return {
        "rotation": rotation,
        "scaling": scaling,
        "stretching": 1 - rotation - scaling,
        "rank_one": np.linalg.norm(unit, 2) ** 2,
        **about,
    }


def name_of(generator: Float[np.ndarray, "3 3"]) -> str:
    """What at least 80 % of ||L||^2 are: a rotation, a scaling, a shear u v^T (along u, as far as x goes along v), or a mixture."""
    parts = anatomy(generator)
    if parts["rotation"] >= MOSTLY:
        axis = np.array([generator[i - 1, i - 2] - generator[i - 2, i - 1] for i in range(3)])
        return f"rotation about {direction(axis)}"
    if parts["scaling"] >= MOSTLY:
        return "scaling"
    if parts["rank_one"] >= MOSTLY:
        u, _, v = np.linalg.svd(generator)
        if abs(u[:, 0] @ v[0]) < 0.5:
            return f"shear along {direction(u[:, 0])} by {direction(v[0])}"
        return f"stretch along {direction(u[:, 0])}"
    return f"mixture, {parts['rotation']:.0%} rotation"


def direction(vector: Float[np.ndarray, "3"]) -> str:
    """The axis within 18 degrees, or the unit vector to one digit; a direction and its opposite are the same."""
    unit = vector / np.linalg.norm(vector)
    largest = np.abs(unit).argmax()
    if abs(unit[largest]) > 0.95:
        return AXES[largest]
    return "(" + ", ".join(f"{entry:.1f}" for entry in (unit * np.sign(unit[largest])).round(1) + 0.0) + ")"


def found_generators(frame: pd.DataFrame) -> pd.DataFrame:
    """Entries of every generator of every run at Frobenius norm sqrt 3, the largest positive, with its anatomy and its name."""
    rows = []
    for run in frame[frame.basis.notna()].itertuples():
        for c, generator in enumerate(np.array(run.basis)):
            generator = generator * np.sign(generator.flat[np.abs(generator).argmax()]) * math.sqrt(3) / np.linalg.norm(generator)
            what = {"scenario": run.scenario, "model": run.model, "seed": run.seed, "generator": c}
            what |= {"name": name_of(generator), "test_mse": run.test_mse, "test_mse_plain": run.test_mse_plain, **anatomy(generator)}
            rows += [{**what, "row": AXES[i], "column": AXES[j], "value": value} for (i, j), value in np.ndenumerate(generator)]
    return pd.DataFrame(rows)


@drawing(found_generators)
def generators(numbers: pd.DataFrame) -> Figure:
    """A row of heat maps for each scenario: of a single generator from every seed, of several those of the first seed."""
    several = numbers.groupby("model").generator.transform("max") > 0
    shown = numbers[~several | (numbers.seed == numbers.seed.min())]
    scenarios, models = list(shown.scenario.unique()), list(shown.model.unique())
    wide = max(len(part[["seed", "generator"]].drop_duplicates()) for _, part in shown.groupby(["scenario", "model"]))
    size = (1.7 * wide * len(models) + 0.8, 2.1 * len(scenarios))
    figure, axes = plt.subplots(len(scenarios), wide * len(models), figsize=size, squeeze=False, layout="constrained")
    limit = shown.value.abs().max()
    for ax in axes.flat:
        ax.set_axis_off()
    for (scenario, model), part in shown.groupby(["scenario", "model"], sort=False):
        places = axes[scenarios.index(scenario), wide * models.index(model) :]
        for ax, ((seed, _), one) in zip(places, part.groupby(["seed", "generator"]), strict=False):
            ax.set_axis_on()
            matrix = one.pivot(index="row", columns="column", values="value").round(2) + 0.0  # no -0.00
            heat_map(ax, matrix, limit, 8)
            ax.tick_params(length=0, labelsize=8, labelrotation=0)
            ax.set_title(f"seed {seed}\n{one['name'].iloc[0]}".replace(" by ", "\nby "), fontsize=7)
        places[0].set_ylabel(f"{scenario}, {model}", fontsize=9, labelpad=7)
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.9, aspect=12 * len(scenarios))
    bar.set_label("entry (norm √3)")
    return figure
