"""Several generators at once: as they were found, and how near their span comes to each of those that were looked for."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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
    """A row of generators for the ground truth and each basis, the combination nearest to each true generator below it."""
    numbers = numbers.fillna({"note": ""})
    rows, n, count = list(numbers.groupby(["scenario", "title", "note"], sort=False)), numbers.row.max() + 1, numbers.generator.max() + 1
    figure, axes = plt.subplots(len(rows), figsize=(1.2 * count + 2.2, 1.15 * len(rows) + 0.3), squeeze=False)
    figure.subplots_adjust(left=0.2, right=0.9, top=0.97, bottom=0.02, hspace=0.25)
    for ax, ((scenario, title, note), part) in zip(axes.flat, rows, strict=True):
        strip = np.full((n, (n + 1) * count - 1), np.nan)  # generators side by side, a gap between two
        place = part.row.to_numpy(), (part.column + (n + 1) * part.generator).to_numpy()
        strip[place] = part.value
        image = ax.imshow(strip, cmap="RdBu_r", vmin=-1, vmax=1)
        for i, j in zip(*np.nonzero(np.abs(np.nan_to_num(strip)) >= 0.05), strict=True):
            dark = abs(strip[i, j]) > 0.6
            ax.text(j, i, f"{strip[i, j]:.1f}", fontsize=6, ha="center", va="center", color="white" if dark else "black")
        if not title.endswith("as found"):
            for c, name in enumerate(NAMES):
                ax.text((n + 1) * c + (n - 1) / 2, -0.7, name, fontsize=7, ha="center", va="bottom")
        label = f"{scenario}: {title}" + (f"\n{note}" if note else "")
        ax.text(-1.2, (n - 1) / 2, label, fontsize=7, ha="right", va="center")
        ax.axis("off")
    bar = figure.colorbar(image, cax=figure.add_axes((0.92, 0.3, 0.012, 0.4)))
    bar.set_label("entry (norm 1)", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return figure
