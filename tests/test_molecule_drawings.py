"""The molecules' figure: coordinates along principal axes, bonds, and that everything is drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Circle
from test_md17 import with_mirror

from lib import tasks
from lib.groups import haar
from lib.models.molecules import benzene
from lib.tasks.files.prepared import DataError
from lib.views.figures import chemistry
from lib.views.figures.chemistry import molecules, principal, seen, structures


def distances(pos: np.ndarray) -> np.ndarray:
    return np.linalg.norm(pos[:, None] - pos[None], axis=-1)


@pytest.fixture
def made_up(monkeypatch):
    """Results of two molecules; both have the geometry of the made-up one, and no file is read."""
    monkeypatch.setattr(tasks, "load", lambda name, scenario, **_: tasks.load_tiny(name, scenario=scenario))
    return pd.DataFrame({"scenario": ["uracil", "aspirin", "uracil"]})


@pytest.mark.parametrize("seed", range(5))
def test_principal_axes_whatever_the_orientation(seed, generator):
    pos = np.random.default_rng(seed).normal(size=(7, 3)) * [3.0, 2.0, 1.0]
    pos -= pos.mean(0)
    found = principal(pos)
    spread = found.T @ found
    assert np.abs(spread - np.diag(np.diag(spread))).max() < 1e-12 and (np.diff(np.diag(spread)) < 0).all()
    np.testing.assert_allclose(distances(found), distances(pos), atol=1e-12)
    turned = principal(pos @ haar(3, (1,), generator)[0].double().numpy().T + [1.0, -2.0, 3.0])
    np.testing.assert_allclose(turned, found, atol=1e-5)
    volume = lambda p: np.linalg.det(p[1:4] - p[0])  # noqa: E731
    assert volume(found) == pytest.approx(volume(pos)), "turned, not mirrored"
    assert all(found[np.abs(found[:, k]).argmax(), k] > 0 for k in (0, 1))


def test_the_eye_is_above_and_near_things_look_larger():
    pos = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 2.0, 0.0]])
    places, scale = seen(pos)
    assert np.allclose(places[0], 0) and scale[0] == 1
    assert places[1, 1] > 0 and places[1, 0] == pytest.approx(0), "up is up"
    assert scale[1] > 1, "and nearer, as the eye is above"
    depth = chemistry.DISTANCE * (1 - 1 / scale)  # towards the eye; with it, the projection undone is a rotation
    back = np.column_stack([places / scale[:, None], depth])
    np.testing.assert_allclose(back @ back.T, pos @ pos.T, atol=1e-12)


def test_rows_are_atoms_and_bonds(made_up):
    numbers = structures(made_up)
    assert list(numbers.molecule.unique()) == ["aspirin", "benzene", "uracil"], "each once, in the task's order, with benzene"
    for name, part in numbers.groupby("molecule"):
        graph = benzene() if name == "benzene" else tasks.load_tiny("md17", scenario=name).graph
        atoms, bonds = part[part.kind == "atom"], part[part.kind == "bond"]
        np.testing.assert_allclose(distances(atoms[["x", "y", "z"]].to_numpy()), distances(graph.pos.numpy()), atol=3e-4)
        assert [chemistry.ELEMENTS[z] for z in graph.z.tolist()] == list(atoms.element)
        assert list(zip(bonds.atom, bonds.other, strict=True)) == graph.bonds
    ring = numbers[(numbers.molecule == "benzene") & (numbers.kind == "atom")]
    np.testing.assert_allclose(np.hypot(ring.x, ring.y), 1.39, atol=1e-4)
    assert set(ring.z) == {0.0} and set(ring.data) == {"ideal"}


def test_every_atom_and_bond_is_drawn_in_both_views(made_up, tmp_path):
    structures(made_up).to_csv(tmp_path / "molecules.csv", index=False)
    figure = molecules(pd.read_csv(tmp_path / "molecules.csv"))
    views = np.array(figure.axes).reshape(2, 3)
    assert [ax.get_title() for ax in views[0]] == ["aspirin", "benzene (ideal)", "uracil"]
    for ax in views.flat:
        discs, atoms = [patch for patch in ax.patches if isinstance(patch, Circle)], 6 if ax in views[:, 1] else 5
        sticks = [line for line in ax.lines if line.get_linewidth() > 2]
        assert len(discs) == atoms and len(sticks) == (6 if ax in views[:, 1] else 4)
        assert sorted(text.get_text() for text in ax.texts if text.get_text() != "1 Å") == ([] if ax in views[:, 1] else ["N", "O"])
        low, high = ax.get_xlim()
        assert all(low < disc.center[0] - disc.radius and disc.center[0] + disc.radius < high for disc in discs)
        assert high == views[0, 0].get_xlim()[1], "all at one scale"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["carbon", "nitrogen", "oxygen"]


def test_without_a_trajectory_the_committed_figure_shows_the_same_data_or_the_file_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr("lib.tasks.md17.FOLDER", tmp_path)
    committed = pd.read_csv(chemistry.COMMITTED / "remul_fig11.csv")
    of = committed[committed.molecule == "ethanol"].data.iloc[0]
    structures(pd.DataFrame({"scenario": ["ethanol"], "data": [of]})).to_csv(tmp_path / "molecules.csv", index=False)
    expected = committed[committed.molecule.isin(("benzene", "ethanol"))].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "molecules.csv"), expected)
    with pytest.raises(DataError, match=r"md17_ethanol.npz is missing"):
        structures(pd.DataFrame({"scenario": ["ethanol"], "data": ["of another kind"]}))


@with_mirror
def test_the_formulas_of_the_eight():
    scenarios = [name for name in tasks.scenarios("md17") if name != "benzene"]
    numbers = structures(pd.DataFrame({"scenario": scenarios}))
    atoms = numbers[numbers.kind == "atom"].groupby("molecule").element.apply(lambda e: "".join(sorted(e)))
    assert atoms.to_dict() == {
        "aspirin": "C" * 9 + "O" * 4,
        "benzene": "C" * 6,
        "ethanol": "CCO",
        "malonaldehyde": "CCCOO",
        "naphthalene": "C" * 10,
        "salicylic": "C" * 7 + "OOO",
        "toluene": "C" * 7,
        "uracil": "CCCCNNOO",
    }
    rings = {"aspirin": 1, "benzene": 1, "ethanol": 0, "malonaldehyde": 0, "naphthalene": 2, "salicylic": 1, "toluene": 1, "uracil": 1}
    kinds = numbers.groupby(["molecule", "kind"]).size().unstack()
    assert (kinds.bond - kinds.atom + 1).to_dict() == rings
