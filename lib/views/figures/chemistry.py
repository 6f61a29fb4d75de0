"""Figure of the molecules of MD17: their heavy atoms and bonds, flat and in space."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lib.views.figures.bases import COMMITTED, drawing

ELEMENTS = {6: "C", 7: "N", 8: "O"}
NAMES = {"C": "carbon", "N": "nitrogen", "O": "oxygen"}
COLOURS = {"C": "0.3", "N": "#56b4e9", "O": "#d55e00"}  # told apart in grey too; all but carbon carry their letter
RADIUS = 0.34  # of an atom's disc, angstrom
TURN, TILT, DISTANCE = math.radians(-30), math.radians(62), 14.0  # of the eye, from above; angstrom
WIDE = 4  # molecules side by side


def structures(frame: pd.DataFrame) -> pd.DataFrame:
    """Atoms and bonds of the results' molecules, and of benzene: one row an atom (element, x, y, z) or a bond (atom, other).

    x, y and z are coordinates along the principal axes, angstrom. Positions are those that the task reads the bonds from; benzene, whose
    trajectory need not be there, is a regular hexagon. Without a trajectory, they are those that the committed figure shows.

    Raises DataError where that shows other data than the results are of.
    """
    from lib import tasks
    from lib.models.molecules import benzene
    from lib.tasks.files.sources import DataError

    rows = []
    for molecule in tasks.scenarios("md17"):
        if molecule == "benzene":
            graph, data, pos = benzene(), "ideal", benzene().pos.numpy()
        elif molecule in set(frame.scenario):
            try:
                task = tasks.load("md17", scenario=molecule, n_train=1, n_eval=1)
            except DataError:
                shown = pd.read_csv(COMMITTED / "remul_fig11.csv").query("molecule == @molecule")
                if not set(shown.data) & set(frame[frame.scenario == molecule].data):
                    raise
                rows += shown.to_dict("records")
                continue
            graph, data, pos = task.graph, task.data, principal(task.graph.pos.double().numpy())
        else:
            continue
        about = {"molecule": molecule, "data": data}
        for atom, (z, place) in enumerate(zip(graph.z.tolist(), (pos.round(4) + 0.0).tolist(), strict=True)):  # no -0.0
            rows.append({**about, "kind": "atom", "atom": atom, "element": ELEMENTS[z], **dict(zip("xyz", place, strict=True))})
        rows += [{**about, "kind": "bond", "atom": i, "other": j} for i, j in graph.bonds]
    return pd.DataFrame(rows).astype({"other": "Int64"})


def principal(pos: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """The positions from their mean, along their principal axes, the widest first; turned, not mirrored.

    The farthest atom along each of the first two axes lies on its positive side: eigenvectors have no sign of their own.
    """
    pos = pos - pos.mean(0)
    x, y = np.linalg.eigh(pos.T @ pos)[1].T[:0:-1]
    x, y = (axis * np.sign((pos @ axis)[np.abs(pos @ axis).argmax()]) for axis in (x, y))
    return pos @ np.stack([x, y, np.cross(x, y)], 1)


def seen(pos: Float[np.ndarray, "*N 3"]) -> tuple[Float[np.ndarray, "*N 2"], Float[np.ndarray, "*N"]]:
    """Central projection of positions, from above the plane of the first two axes, and how many times as large things look there."""
    turn = np.array([[math.cos(TURN), -math.sin(TURN), 0], [math.sin(TURN), math.cos(TURN), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, math.cos(TILT), -math.sin(TILT)], [0, math.sin(TILT), math.cos(TILT)]])
    pos = pos @ (tilt.T @ turn).T  # the last axis now points at the eye
    scale = DISTANCE / (DISTANCE - pos[..., 2])
    return pos[..., :2] * scale[..., None], scale


@drawing(structures)
def molecules(numbers: pd.DataFrame) -> Figure:
    """Each molecule twice: on the plane of its two widest axes, and from the side over a grid on that plane. All are at one scale."""
    names = list(numbers.molecule.unique())
    wide = min(WIDE, len(names))
    blocks, reach = -(-len(names) // wide), 1.25 * numbers[["x", "y"]].abs().max().max() + RADIUS
    figure, axes = plt.subplots(2 * blocks, wide, figsize=(1.9 * wide, 2.75 * blocks + 0.4), squeeze=False,
                                height_ratios=[0.68, 0.62] * blocks, layout="constrained")  # fmt: skip
    for row, ax in ((row, ax) for row, part in enumerate(axes) for ax in part):
        half = (0.68, 0.62)[row % 2] * reach
        ax.set(xlim=(-reach, reach), ylim=(-half, half), aspect="equal")
        ax.axis("off")
    for i, name in enumerate(names):
        part = numbers[numbers.molecule == name]
        atoms = part[part.kind == "atom"]
        pos, bonds = atoms[["x", "y", "z"]].to_numpy(float), part[part.kind == "bond"][["atom", "other"]].to_numpy(int)
        flat, space = axes[i // wide * 2 : i // wide * 2 + 2, i % wide]
        ball_and_stick(flat, pos[:, :2], 1 + 0.01 * pos[:, 2], bonds, list(atoms.element))
        grid(space, pos)
        ball_and_stick(space, *seen(pos), bonds, list(atoms.element))
        flat.set_title(name + (" (ideal)" if part.data.iloc[0] == "ideal" else ""))
    corner = axes[0, 0]
    corner.plot([-0.95 * reach, -0.95 * reach + 1], [-0.64 * reach] * 2, color="0.2", linewidth=1.5)
    corner.text(-0.95 * reach + 0.5, -0.6 * reach, "1 Å", ha="center", fontsize=7)
    handles = [
        plt.Line2D([], [], linestyle="", marker="o", markersize=7, color=COLOURS[element], label=label)
        for element, label in NAMES.items()
        if element in set(numbers.element)
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper center", ncols=len(handles))
    return figure


def ball_and_stick(
    ax: plt.Axes, places: Float[np.ndarray, "N 2"], scale: Float[np.ndarray, " N"], bonds: np.ndarray, elements: list[str]
) -> None:
    """Bonds as lines and atoms as discs with their letters, the nearest (of the largest scale) on top."""
    for i, j in bonds:
        ax.add_line(plt.Line2D(*places[[i, j]].T, color="0.55", linewidth=2.2, zorder=scale[[i, j]].min()))
    for (x, y), size, element in zip(places, scale, elements, strict=True):
        ax.add_patch(Circle((x, y), RADIUS * size, facecolor=COLOURS[element], edgecolor="white", linewidth=0.5, zorder=size + 1e-4))
        if element != "C":
            ax.text(x, y, element, ha="center", va="center", fontsize=6, color="white", fontweight="bold", zorder=size + 2e-4)


def grid(ax: plt.Axes, pos: Float[np.ndarray, "N 3"]) -> None:
    """Lines an angstrom apart on the plane of the two widest axes under the molecule, and from each atom to it."""
    (x0, y0), (x1, y1) = np.floor(pos[:, :2].min(0) - RADIUS), np.ceil(pos[:, :2].max(0) + RADIUS)
    lines = [[(x, y0, 0), (x, y1, 0)] for x in np.arange(x0, x1 + 1)] + [[(x0, y, 0), (x1, y, 0)] for y in np.arange(y0, y1 + 1)]
    ax.add_collection(LineCollection(seen(np.array(lines))[0], color="0.85", linewidth=0.5, zorder=0, clip_on=False))
    feet = np.stack([pos, pos * [1, 1, 0]], 1)
    ax.add_collection(LineCollection(seen(feet)[0], color="0.4", linewidth=0.8, linestyle=":", zorder=0.1))
