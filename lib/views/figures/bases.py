"""What figures show: each drawing says which numbers it needs from the results (`numbers`) and draws from those alone."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from lib.files import ROOT
from lib.tasks.files import prepared

YOURS = " (yours)"  # at the end of the label of what is not recorded, but was trained with a setting of your own
COMMITTED = ROOT / "figures"  # what a figure shows of data that are not at hand, it shows from here


def drawing(numbers: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable:
    """Decorator: attach to a drawing the function that takes its numbers from the results."""

    def attach(draw: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
        draw.numbers = numbers
        return draw

    return attach


def plain_ticks(ax: plt.Axes, along: str = "y") -> None:
    """Few ticks on the logarithmic y (or x) axis, written as plain numbers: powers of ten, 1-2-5, or at equal steps, as the range is."""
    axis, (low, high) = getattr(ax, f"{along}axis"), getattr(ax, f"get_{along}lim")()
    few = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]) if high < 8 * low else LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,))
    axis.set_major_locator(few)
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())
    ax.tick_params(axis=along, labelsize=7)


def heat_map(ax: plt.Axes, matrix: pd.DataFrame, limit: float, fontsize: float | None = None) -> None:
    """The entries as colours, white at 0, and as numbers where there is a size for them.

    Ours, where seaborn's `heatmap` would draw the whole figure for each, to see whether labels overlap: half a minute for fifty.
    """
    mesh = ax.pcolormesh(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, linewidths=0.5, edgecolor="white")
    ax.set(xticks=np.arange(matrix.shape[1]) + 0.5, yticks=np.arange(matrix.shape[0]) + 0.5, aspect="equal")
    ax.set(xticklabels=matrix.columns, yticklabels=matrix.index)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    mesh.update_scalarmappable()
    for ((i, j), value), colour in zip(np.ndenumerate(matrix), mesh.get_facecolors(), strict=True):
        if fontsize:
            dark = colour[:3] @ (0.2126, 0.7152, 0.0722) < 0.65
            ax.text(j + 0.5, i + 0.5, f"{value:.2f}", fontsize=fontsize, ha="center", va="center", color="w" if dark else ".15")


# -------------------------------------------------------------------------------------------------- a learned basis


def basis_entries(frame: pd.DataFrame) -> pd.DataFrame:
    """Entries of every basis of the first seed, at Frobenius norm sqrt n, the first signed like the ground truth."""
    found = frame[frame.basis.notna() & (frame.seed == frame.seed.min()) & ~frame.model.str.contains("LieGAN.* aug")]
    truths = frame[frame.model.str.endswith("GT aug")]
    rows = []
    for run in found.itertuples():
        basis = np.array(run.basis)
        shape, cosines = basis.shape[1], frame[(frame.model == run.model) & (frame.scenario == run.scenario)].cosine
        truth = np.array(truths.basis.iloc[0]) if len(truths) else basis
        basis = basis * (np.sign((basis[0] * truth[0]).sum()) or 1.0) * np.sqrt(shape) / np.linalg.norm(basis, axis=(1, 2), keepdims=True)
        note = " ".join(f"{c:.3f}" for c in cosines)
        for (c, i, j), value in np.ndenumerate(basis):
            entry = {"generator": c, "row": i, "column": j, "value": value, "cosines": note}
            rows.append({"scenario": run.scenario, "model": run.model, "seed": run.seed, **entry})
    return pd.DataFrame(rows)


@drawing(basis_entries)
def bases(numbers: pd.DataFrame) -> Figure:
    """A heat map of each basis: scenarios in rows, methods in columns; |cosine| of every seed above it."""
    numbers = numbers.assign(model=numbers.model.where(~numbers.model.str.endswith("GT aug"), "ground truth"))
    scenarios, models, n = numbers.scenario.unique(), numbers.model.unique(), numbers.row.max() + 1
    size = (1.9 * len(models) + 1.2, 1.95 * len(scenarios) + 0.5)
    figure, axes = plt.subplots(len(scenarios), len(models), figsize=size, squeeze=False, layout="constrained")
    limit = numbers.value.abs().max()
    for i, scenario in enumerate(scenarios):
        for j, model in enumerate(models):
            ax, part = axes[i, j], numbers[(numbers.scenario == scenario) & (numbers.model == model) & (numbers.generator == 0)]
            matrix = part.pivot(index="row", columns="column", values="value").round(2) + 0.0  # no -0.00
            heat_map(ax, matrix, limit, 8 if n <= 3 else 6 if n <= 5 else None)
            ax.set(xticks=[], yticks=[])
            cosines = part.cosines.iloc[0]
            ax.set_title(model if model == "ground truth" else f"{model}\n|cos| {cosines}", fontsize=8)
        axes[i, 0].set_ylabel(f"scenario {scenario}", fontsize=10)
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.9, aspect=30)
    bar.set_label(f"entry (norm √{n})")
    return figure


# ------------------------------------------------------------------------------------------ augmentations of digits


DIGITS, COPIES, PIXELS = 5, 7, 28


def first_images() -> pd.DataFrame:
    """The first test image of five digits, one row a pixel that is not white; without MNIST, those that the committed figure shows."""
    try:
        arrays, _ = prepared.read("mnist")
    except prepared.DataError:
        shown = pd.read_csv(COMMITTED / "semola_fig6.csv")
        return shown.loc[shown.ink.notna(), ["digit", "row", "column", "ink"]]
    rows = []
    for digit in range(DIGITS):
        image = arrays["test_x"][np.flatnonzero(arrays["test_y"] == digit)[0]]
        rows += [{"digit": digit, "row": i, "column": j, "ink": image[i, j]} for i, j in np.argwhere(image)]
    return pd.DataFrame(rows)


def augmentations(frame: pd.DataFrame) -> pd.DataFrame:
    """Group elements of SEMoLA's first seed for five digits, w evenly spaced over (-gamma, gamma); then the digits' pixels, 0 to 255."""
    from scipy.linalg import expm

    chosen = frame[frame.basis.notna() & (frame.model == "SEMoLA")].sort_values("seed").drop_duplicates("scenario")
    rows = []
    for run in chosen.itertuples():
        generator, gamma = np.array(run.basis)[0], run.run["gamma"]
        for digit in range(DIGITS):
            for w in np.linspace(-gamma, gamma, COPIES):
                g = expm(w * generator)
                entries = {f"g{i}{j}": g[i, j] for i in range(2) for j in range(3)}
                rows.append({"scenario": run.scenario, "digit": digit, "w": w, **entries})
    return pd.concat([pd.DataFrame(rows), first_images()], ignore_index=True).astype(dict.fromkeys(("row", "column", "ink"), "Int64"))


@drawing(augmentations)
def augmented_digits(numbers: pd.DataFrame) -> Figure:
    """Each digit and its augmentations by the learned group, over the whole range of w."""
    from scipy.ndimage import map_coordinates

    scenario, pixels = numbers.scenario.iloc[0], numbers[numbers.ink.notna()]
    numbers = numbers[numbers.scenario == scenario]
    figure, axes = plt.subplots(DIGITS, COPIES + 1, figsize=(0.85 * (COPIES + 1), 0.85 * DIGITS + 0.6), layout="constrained")
    axis = np.linspace(-1, 1, PIXELS)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    for digit, rows in zip(axes, numbers.groupby("digit"), strict=True):
        image, inked = np.zeros((PIXELS, PIXELS)), pixels[pixels.digit == rows[0]]
        image[inked.row.astype(int), inked.column.astype(int)] = inked.ink / 255
        digit[0].imshow(image, cmap="gray_r", vmin=0, vmax=1)
        for ax, g in zip(digit[1:], rows[1].itertuples(), strict=True):
            moved_x, moved_y = g.g00 * x + g.g01 * y + g.g02, g.g10 * x + g.g11 * y + g.g12
            moved = map_coordinates(image, [(moved_y + 1) * 13.5, (moved_x + 1) * 13.5], order=1)
            ax.imshow(np.round(moved, 4), cmap="gray_r", vmin=0, vmax=1)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("0.8")
    axes[0, 0].set_title("input")
    for ax, w in zip(axes[0, 1:], numbers.w.unique(), strict=True):
        ax.set_title(f"w = {w:.2f}")
    figure.suptitle(f"g = exp(w L), L learned by SEMoLA in scenario {scenario}", fontsize=10)
    return figure


# -------------------------------------------------------------------------------------------- augmentations of orbits


def orbit_augmentations(frame: pd.DataFrame) -> pd.DataFrame:
    """One test sample of the two-body task, its target, and both after group elements of SEMoLA's first seed."""
    from scipy.linalg import expm

    from lib import tasks

    rows = []
    for run in frame.sort_values("seed").drop_duplicates("scenario").itertuples():
        task = tasks.load("two_body", **{name: run.run[name] for name in ("scenario", "timesteps", "scaled")}, n_train=7000, n_eval=10)
        states = [pair[0, -1].double().numpy() for pair in task.test]
        scale = task.reported(task.test[0].new_ones(1, 1, 8)).flatten().numpy()
        generator, gamma = np.array(run.basis)[0], run.run["gamma"]
        for w in np.linspace(-gamma, gamma, COPIES):
            for part, state in zip(("input", "target"), states, strict=True):
                moved = scale * (expm(w * generator) @ state)
                entries = {name: moved[i] for i, name in enumerate(("q1x", "q1y", "p1x", "p1y", "q2x", "q2y", "p2x", "p2y"))}
                rows.append({"scenario": run.scenario, "part": part, "w": w, **entries})
    return pd.DataFrame(rows)


@drawing(orbit_augmentations)
def augmented_orbits(numbers: pd.DataFrame) -> Figure:
    """Positions (dots) and momenta (arrows) of both bodies for a sample and its augmentations, one colour for each w."""
    scenarios = numbers.scenario.unique()
    figure, axes = plt.subplots(1, len(scenarios), figsize=(3.6 * len(scenarios) + 0.8, 3.6), squeeze=False, layout="constrained")
    ws = numbers.w.unique()
    colours = dict(zip(ws, sns.color_palette("viridis", len(ws)), strict=True))
    for ax, scenario in zip(axes[0], scenarios, strict=True):
        for row in numbers[numbers.scenario == scenario].itertuples():
            for body, marker in ((1, "o"), (2, "s")):
                x, y, u, v = (getattr(row, f"{name}{body}{axis}") for name in "qp" for axis in "xy")
                filled = colours[row.w] if row.part == "input" else "none"
                ax.scatter(x, y, s=26, marker=marker, facecolor=filled, edgecolor=colours[row.w], linewidth=1.2, zorder=3)
                if row.part == "input":
                    ax.annotate("", (x + 2 * u, y + 2 * v), (x, y), arrowprops={"arrowstyle": "->", "color": colours[row.w]})
        ax.set(title=f"scenario {scenario}", xlabel="x (simulation units)", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    axes[0, 0].set_ylabel("y (simulation units)")
    scale = plt.cm.ScalarMappable(plt.Normalize(ws.min(), ws.max()), "viridis")
    figure.colorbar(scale, ax=axes, label="w", shrink=0.9)
    figure.suptitle("filled: input with momentum (twice its length), open: target; ● body 1, ■ body 2", fontsize=8)
    return figure


# ------------------------------------------------------------------------------------------ the loss around the weights


def heights(frame: pd.DataFrame) -> pd.DataFrame:
    """The first seed's loss surface of every model, and how rugged it is."""
    rows = []
    for run in frame[frame.seed == frame.seed.min()].itertuples():
        steps, grid = np.linspace(-1, 1, len(run.surface)), np.array(run.surface)
        note = {"minima": run.minima, "roughness": run.roughness}
        rows += [{"model": run.model, "a": steps[i], "b": steps[j], "loss": loss, **note} for (i, j), loss in np.ndenumerate(grid)]
    return pd.DataFrame(rows)


@drawing(heights)
def surfaces(numbers: pd.DataFrame) -> Figure:
    """Each model's loss, on a logarithmic scale of its own, as a surface over the two directions."""
    models = numbers.model.unique()
    figure, axes = plt.subplots(1, len(models), figsize=(3.4 * len(models), 3.6), subplot_kw={"projection": "3d"}, squeeze=False)
    for ax, model in zip(axes[0], models, strict=True):
        part = numbers[numbers.model == model]
        z = np.log10(part.pivot(index="a", columns="b", values="loss"))
        a, b = np.meshgrid(z.index, z.columns, indexing="ij")
        ax.plot_surface(a, b, z.to_numpy(), cmap="viridis", linewidth=0, rstride=1, cstride=1)
        ax.set_title(f"{model}\nminima {part.minima.iloc[0]:.0f}, roughness {part.roughness.iloc[0]:.0f}")
        ax.set(xlabel="direction 1", ylabel="direction 2", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        ax.set_zlabel("log₁₀ loss", labelpad=1)
        ax.tick_params(labelsize=6, pad=-1)
    figure.subplots_adjust(left=0.02, right=0.95, wspace=0.12)
    return figure


# --------------------------------------------------------------------------------------------- the method as a diagram


def settings(frame: pd.DataFrame) -> pd.DataFrame:
    """The hyperparameters that stand in the diagram."""
    run = frame[frame.model == "SEMoLA"].run.iloc[0]
    names = ("gamma", "copies", "lambda_task", "lambda_equiv", "lambda_aug", "lambda_ortho", "lambda_sparse")
    return pd.DataFrame([{"name": name, "value": run[name]} for name in names])


def tint(colour: tuple[float, float, float], share: float) -> tuple[float, ...]:
    """The colour mixed with white."""
    return tuple(1 - share * (1 - channel) for channel in colour)


@drawing(settings)
def method_diagram(numbers: pd.DataFrame) -> Figure:
    """SEMoLA's data flow: coefficients and basis make g, the network sees x and gx, five terms make the loss."""
    value = {name: f"{v:g}" for name, v in zip(numbers.name, numbers.value, strict=True)}
    figure, ax = plt.subplots(figsize=(8.4, 3.5), layout="constrained")
    ax.set(xlim=(0, 84), ylim=(0, 35))
    ax.axis("off")
    learned, plain, loss = sns.color_palette("colorblind")[1], "0.93", sns.color_palette("colorblind")[0]
    boxes = {
        "x": (1, 4, 11, 6, "sample\n$x,\\ y$", plain),
        "w": (1, 25, 17, 6, f"$w_{{ik}} \\sim U(-\\gamma, \\gamma)$\n$K$ = {value['copies']}, $\\gamma$ = {value['gamma']}", plain),
        "L": (1, 15, 17, 7, "learnable basis\n$\\hat L = \\sqrt{n}\\,L / \\|L\\|_F$", tint(learned, 0.35)),
        "g": (24, 20, 16, 7, "$g_{ik} = \\exp(\\sum_c w_{ikc} \\hat L_c)$", plain),
        "gx": (24, 10, 16, 6, "$g_{ik}\\,x_i$", plain),
        "f": (46, 5, 12, 10, "network $f$\n(unconstrained)", tint(learned, 0.35)),
        "task": (64, 3, 19, 5, f"{value['lambda_task']} · $\\ell(f(x), y)$", tint(loss, 0.2)),
        "equiv": (64, 11, 19, 5, f"{value['lambda_equiv']} · $\\ell(f(gx), \\rho(g)\\,y)$", tint(loss, 0.2)),
        "aug": (64, 19, 19, 5, f"{value['lambda_aug']} · $|\\overline{{\\cos}}(x, gx)|$", tint(loss, 0.2)),
        "R": (64, 27, 19, 5, f"{value['lambda_ortho']} · ortho + {value['lambda_sparse']} · $\\|\\hat L\\|_1$", tint(loss, 0.2)),
    }
    for left, bottom, width, height, text, colour in boxes.values():
        ax.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0.3", facecolor=colour, edgecolor="0.35", zorder=2))
        ax.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=8.5, zorder=3)
    joints = [
        ((18.5, 27.5), (23.5, 25)), ((18.5, 18.5), (23.5, 22)), ((32, 19.5), (32, 16.5)), ((12.5, 8.5), (23.5, 12)),
        ((40.5, 12.5), (45.5, 11.5)), ((12.5, 6), (45.5, 7.5)), ((58.5, 7.5), (63.5, 5.5)), ((58.5, 12), (63.5, 13.5)),
        ((40.5, 14.5), (63.5, 21)), ((18.5, 21), (63.5, 30)),
    ]  # fmt: skip
    for start, end in joints:
        bend = 0.25 if end == (63.5, 30) else 0.0
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.35", "connectionstyle": f"arc3,rad=-{bend}"}, zorder=0)
    ax.text(73.5, 34, "sum of five terms", ha="center", va="center", fontsize=9)
    ax.text(9.5, 34, "LieAugmenter", ha="center", va="center", fontsize=9)
    return figure
