"""Several generators at once: as they were found, and how near their span comes to each of those that were looked for."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.figure import Figure

from lib.groups import se
from lib.views.figures.bases import drawing

NAMES = ("rotation x → y", "rotation x → z", "rotation y → z", "shift x", "shift y", "shift z")  # of `se(3)`, in its order


def nearest(basis: Float[np.ndarray, "C n n"], wanted: Float[np.ndarray, "D n n"]) -> Float[np.ndarray, "D n n"]:
    """The combination of the basis that is nearest to each wanted generator: its projection on their span."""
    span = basis.reshape(len(basis), -1).T
    combined = span @ np.linalg.lstsq(span, wanted.reshape(len(wanted), -1).T, rcond=None)[0]
    return combined.T.reshape(wanted.shape)


def entries(frame: pd.DataFrame) -> pd.DataFrame:
    """Of the first seed's bases every generator at Frobenius norm 1, found and nearest to those of se(3); those themselves; the angles."""
    truth = se(3).double().numpy()
    truth = truth / np.linalg.norm(truth, axis=(1, 2), keepdims=True)
    rows = []
    for run in frame[frame.basis.notna() & (frame.seed == frame.seed.min()) & ~frame.model.str.endswith(" aug")].itertuples():
        basis = np.array(run.basis)
        if len(basis) != len(truth):
            continue  # a family to choose from, which spans all
        found = basis / np.linalg.norm(basis, axis=(1, 2), keepdims=True)
        shown = {"ground truth": truth, f"{run.model}, as found": found, f"{run.model}, nearest": nearest(found, truth)}
        note = f"angles: mean {run.mean_angle:.0f}°, largest {run.largest_angle:.0f}°"
        for title, generators in shown.items():
            place = {"scenario": run.scenario, "title": title, "note": note if title.endswith("nearest") else ""}
            rows += [{**place, "generator": c, "row": i, "column": j, "value": value} for (c, i, j), value in np.ndenumerate(generators)]
    return pd.DataFrame(rows).drop_duplicates(["scenario", "title", "generator", "row", "column"])


@drawing(entries)
def algebras(numbers: pd.DataFrame) -> Figure:
    """A row of heat maps for the ground truth and each basis, the combination nearest to each true generator below it."""
    places = [place for place, _ in numbers.fillna({"note": ""}).groupby(["scenario", "title", "note"], sort=False)]
    count = numbers.generator.max() + 1
    figure, axes = plt.subplots(
        len(places), count, figsize=(1.25 * count + 1.5, 1.4 * len(places) + 0.4), squeeze=False, layout="constrained"
    )
    for row, (scenario, title, note) in zip(axes, places, strict=True):
        part = numbers[(numbers.scenario == scenario) & (numbers.title == title)]
        for c, ax in enumerate(row):
            matrix = part[part.generator == c].pivot(index="row", columns="column", values="value").to_numpy().round(2) + 0.0  # no -0.00
            sns.heatmap(matrix, ax=ax, cmap="RdBu_r", vmin=-1, vmax=1, square=True, cbar=False, annot=True, fmt=".1f",
                        annot_kws={"fontsize": 6}, linewidths=0.5, xticklabels=False, yticklabels=False)  # fmt: skip
            ax.set(xlabel="", ylabel="")
            ax.set_title("" if title.endswith("as found") else NAMES[c], fontsize=7)
        row[0].set_ylabel(f"{scenario}: {title}".replace(", ", "\n", 1) + (f"\n{note}" if note else ""), fontsize=7)
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.8, aspect=30)
    bar.set_label("entry (norm 1)")
    return figure
