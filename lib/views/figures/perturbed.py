"""Discovery on data that no setting was chosen on: which seeds find a symmetry, and whether validation says so."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.views.figures.bases import drawing

FOUND = 0.99  # of the action score
CLAIMED = 0.4  # ours: the averaged predictor's validation error over the network's own; see `claims_of`
PANELS = {"missed": "1 - action score", "residual": "residual of the law"}
CONDITIONS = {
    "error_1": "error\n1e-3",
    "error_3": "error\n3e-3",
    "error_10": "error\n1e-2",
    "spliced_5": "spliced\n0.5 %",
    "spliced_20": "spliced\n2 %",
}


def claims_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Whether each run found a symmetry, and whether one would say so without knowing it: averaging over one makes a network's error on
    validation smaller, by a factor of `CLAIMED` and more.

    Ours, and set before the data of the figures were looked at: of the 44 starts of the searches `search_equal` and `finalists_decay` of
    two bodies whose rate falls to a tenth, the 13 that found none have ratios from 0.91 on, and 24 of the others at most 0.4.
    """
    error = next(name for name in frame if name.startswith("val_"))
    ratio = frame[error] / frame[f"{error}_plain"]
    return pd.DataFrame(
        {
            "model": frame.model,
            "scenario": frame.scenario,
            "samples": [run["n_train"] for run in frame.run],
            "seed": frame.seed,
            "missed": 1 - frame.action_score,
            "residual": frame.residual,
            "ratio": ratio,
            "found": frame.action_score >= FOUND,
            "claimed": ratio <= CLAIMED,
        }
    )


@drawing(claims_of)
def perturbed(numbers: pd.DataFrame) -> Figure:
    """A column a model, a point a seed, full where validation claims a symmetry; above, how many of the seeds found one."""
    models, samples = list(numbers.model.unique()), numbers.scenario.nunique() == 1
    what = numbers.samples if samples else numbers.scenario
    places, blue = list(what.unique()), sns.color_palette("colorblind")[0]
    shape = {"squeeze": False, "figsize": (3.1 * len(models), 4.2), "sharex": True, "sharey": "row", "layout": "constrained"}
    figure, axes = plt.subplots(len(PANELS), len(models), **shape)
    for (i, (key, label)), (j, model) in itertools.product(enumerate(PANELS.items()), enumerate(models)):
        ax, part = axes[i, j], numbers[numbers.model == model]
        x = what[part.index].map(places.index) + 0.12 * (part.seed - part.seed.mean())
        for claimed, name in ((True, "symmetry claimed on validation"), (False, "none claimed")):
            points = part.claimed == claimed
            face = blue if claimed else "none"
            ax.scatter(x[points], part[key][points], s=18, facecolor=face, edgecolor=blue, linewidth=0.9, label=name)
        ax.set(yscale="log", xlabel="training samples" if samples and i else "")
        ax.grid(axis="y", color="0.92")
        if i == 0:
            ax.axhline(1 - FOUND, color="0.4", linestyle=":", linewidth=1)
            ax.set_title(model)
            for place, found in part.groupby(what[part.index]).found:
                count, at = f"{found.sum()}/{len(found)}", (places.index(place), 0.97)
                ax.annotate(count, at, xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=7)
        if j == 0:
            ax.set_ylabel(label)
        ax.set_xticks(range(len(places)), [f"{place:,}" if samples else CONDITIONS[place] for place in places], fontsize=7)
    axes[0, 0].set_ylim(top=30)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    return figure
