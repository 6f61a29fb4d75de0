"""Molecules against chemistry, MD17's split against its recipe, and both sources of trajectories."""

import collections
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import tasks
from lib.__main__ import main
from lib.experiments import sweep
from lib.experiments.settings import DATA, OPTIONAL
from lib.experiments.values import ConfigError, checked
from lib.files import ROOT
from lib.models.molecules import benzene, molecule
from lib.tasks import md17
from lib.tasks.files.sources import DataError, mirrored

# heavy atoms, bonds between them, and between which elements; ring sizes say the rest
CHEMISTRY = {
    "aspirin": (13, 13, {"CC": 8, "CO": 5}),  # C9H8O4: a ring, an ester, an acid
    "benzene": (6, 6, {"CC": 6}),
    "ethanol": (3, 2, {"CC": 1, "CO": 1}),
    "malonaldehyde": (5, 4, {"CC": 2, "CO": 2}),
    "naphthalene": (10, 11, {"CC": 11}),
    "salicylic": (10, 10, {"CC": 7, "CO": 3}),
    "toluene": (7, 7, {"CC": 7}),
    "uracil": (8, 8, {"CC": 2, "CN": 4, "CO": 2}),
}
# pairs two bonds apart, by hand: sum over atoms of degree (degree - 1) / 2, as no ring is smaller than six
SECOND = {"aspirin": 17, "benzene": 6, "ethanol": 1, "malonaldehyde": 3, "naphthalene": 14, "salicylic": 13, "toluene": 8, "uracil": 10}
COPIES = {  # mean square distance from start to 3000 frames later over all 4,500 samples
    "aspirin": 0.119, "ethanol": 0.045, "malonaldehyde": 0.193, "naphthalene": 0.0066, "salicylic": 0.0127, "toluene": 0.073,
    "uracil": 0.0048,
}  # fmt: skip
try:
    MIRROR, absent = mirrored(["md17_surrogate/md17sur_ethanol.npz"]).popitem()[1].parent, ""
except DataError as error:
    absent = str(error)
with_mirror = pytest.mark.skipif(bool(absent), reason=absent)
importing = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch-geometric, of what it imports


@pytest.fixture
def away(monkeypatch, tmp_path):
    """Neither downloaded trajectories nor a mirror."""
    monkeypatch.setattr(md17, "FOLDER", tmp_path / "md17")
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The surrogates, whatever was downloaded."""
    monkeypatch.setattr(md17, "FOLDER", tmp_path / "md17")


@pytest.fixture
def trajectory(away, monkeypatch):
    """A made-up ethanol of 24,000 frames where torch-geometric would leave it."""
    draws = np.random.default_rng(0)
    z = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1], np.uint8)
    place = np.array([[0, 0, 0], [1.5, 0, 0], [-0.5, 1.3, 0], *([[9, 9, float(i)] for i in range(6)])])
    r = place + np.cumsum(0.001 * draws.standard_normal((24_000, 9, 3)), 0)
    monkeypatch.setitem(md17.SCENARIOS, "ethanol", replace(md17.SCENARIOS["ethanol"], frames=24_000))
    path = away / "md17" / "ethanol" / "raw" / "md17_ethanol.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, z=z, R=r, E=np.zeros((24_000, 1)), F=np.zeros_like(r))
    return path, z, r


# ------------------------------------------------------------------------------------------------------------ molecules


def check_chemistry(graph, name):
    atoms, bonds, between = CHEMISTRY[name]
    symbol = {6: "C", 7: "N", 8: "O"}
    assert len(graph.z) == atoms and len(graph.bonds) == bonds
    assert collections.Counter("".join(sorted(symbol[int(graph.z[k])] for k in pair)) for pair in graph.bonds) == between
    neighbours = {i: {j for pair in graph.bonds for j in pair if i in pair and j != i} for i in range(atoms)}
    reached = {0}
    for _ in range(atoms):
        reached |= {j for i in reached for j in neighbours[i]}
    assert len(reached) == atoms  # one piece
    hops = {(i, j): 1 for i in neighbours for j in neighbours[i]}
    hops |= {(i, k): 2 for i in neighbours for j in neighbours[i] for k in neighbours[j] if k != i and (i, k) not in hops}
    found = {tuple(pair): int(hop) for pair, hop in zip(graph.edge_index.T.tolist(), graph.edge_attr[:, 2], strict=True)}
    assert found == hops and len(found) == graph.edge_index.shape[1]
    assert sum(hop == 2 for hop in hops.values()) == 2 * SECOND[name]
    assert torch.equal(graph.edge_attr[:, :2], graph.z[graph.edge_index].T.to(graph.edge_attr.dtype))
    return neighbours


@with_mirror
@pytest.mark.parametrize("name", [name for name in CHEMISTRY if name != "benzene"])
def test_graphs_are_the_known_molecules(stand_in, name):
    graph = tasks.load("md17", scenario=name, n_train=2, n_eval=2).graph
    neighbours = check_chemistry(graph, name)
    for i, z in enumerate(graph.z.tolist()):
        assert len(neighbours[i]) <= {6: 3, 7: 2, 8: 2}[z]
    flagged = {tuple(sorted(pair)) for pair in graph.edge_index[:, graph.edge_attr[:, 3] == 1].T.tolist()}
    assert flagged == {tuple(sorted(stick)) for stick in md17.SCENARIOS[name].sticks}
    assert len({atom for stick in flagged for atom in stick}) == 2 * len(flagged)  # no atom is in two sticks


def test_benzene_is_a_hexagon():
    ring = benzene()
    check_chemistry(ring, "benzene")
    sides = [(ring.pos[i] - ring.pos[j]).norm().item() for i, j in ring.bonds]
    assert sides == pytest.approx(6 * [1.39]) and ring.pos.mean(0).norm() < 1e-12
    molecule(ring.z, ring.pos, md17.SCENARIOS["benzene"].sticks)


def test_hydrogens_are_left_out_and_sticks_must_be_bonds(dtype):
    z, pos = torch.tensor([1, 6, 1, 8, 6]), torch.tensor([[0.9, 0, 0], [0, 0, 0], [0, 1, 0], [1.4, 0, 0], [2.8, 0, 0]], dtype=dtype)
    found = molecule(z, pos, [(1, 0)])
    assert found.z.tolist() == [6, 8, 6] and found.bonds == [(0, 1), (1, 2)] and found.edge_attr.dtype == dtype
    assert found.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert found.edge_attr.tolist() == [[6, 8, 1, 1], [6, 6, 2, 0], [8, 6, 1, 1], [8, 6, 1, 0], [6, 6, 2, 0], [6, 8, 1, 0]]
    for pair in ((0, 2), (0, 3), (-1, 0)):
        with pytest.raises(ValueError, match=r"is no bond of this molecule of 3 heavy atoms"):
            molecule(z, pos, [pair])


@importing
def test_a_molecule_as_a_graph_of_torch_geometric():
    from torch_geometric.data import Data

    ring = benzene()
    graph = ring.graph()
    assert isinstance(graph, Data) and graph.validate() and graph.is_undirected()
    assert graph.num_nodes == 6 and graph.num_edges == 24 and not graph.has_self_loops()
    assert torch.equal(graph.z, ring.z) and torch.equal(graph.pos, ring.pos) and torch.equal(graph.edge_attr, ring.edge_attr)


def test_a_task_moves_its_graph():
    task = tasks.load_tiny("md17", scenario="aspirin")
    moved = task.to("cpu", torch.float64).graph
    assert task.graph.edge_attr.dtype == torch.float32 and moved.edge_attr.dtype == moved.pos.dtype == torch.float64
    assert moved.z.dtype == moved.edge_index.dtype == torch.int64 and moved.bonds == [(0, 1), (1, 2), (2, 3), (3, 4)]


# ------------------------------------------------------------------------------------------------------------- surrogate


@with_mirror
@pytest.mark.parametrize("name", list(COPIES))
def test_what_copying_the_input_gives(stand_in, name):
    task = tasks.load("md17", scenario=name)
    assert task.data == "surrogate" and task.sha256 == md17.SCENARIOS[name].surrogate
    sets = [task.train, task.val, task.test]
    assert [len(y) for _, y in sets] == [500, 2000, 2000]
    squares = torch.cat([(x[..., 1:4] - y).square().flatten(1).mean(1) for x, y in sets])
    decimals = len(str(COPIES[name])) - 2
    assert squares.mean().item() == pytest.approx(COPIES[name], abs=0.5001 * 10**-decimals)
    for x, y in sets:
        assert x.dtype == y.dtype == torch.float32
        assert x[..., 1:4].mean(1).abs().max() < 1e-6 and y.mean(1).abs().max() > 1e-3  # the drift stays in the target
        assert torch.equal(x[..., 0], (task.graph.z / task.graph.z.max()).expand(len(x), -1))
        assert x[..., 4:].abs().max() < 0.1  # angstrom per half a femtosecond


@with_mirror
def test_every_simulation_of_a_stand_in_has_samples_in_every_part(stand_in):
    parts = md17.simulations("ethanol")
    assert {name: len(simulation) for name, simulation in parts.items()} == {"train": 500, "val": 2000, "test": 2000}
    assert all(simulation.unique().tolist() == list(range(16)) for simulation in parts.values())
    x = tasks.load("md17", scenario="ethanol").train[0][..., 1:4]
    spread = torch.stack([x[parts["train"] == i].var(0).sum() for i in range(16)])
    assert (spread < 0.8 * x.var(0).sum()).all(), "samples of one simulation are more alike"


@with_mirror
def test_fewer_samples_and_another_horizon(stand_in):
    task, whole, later = (tasks.load("md17", scenario="ethanol", **o) for o in ({"n_train": 10, "n_eval": 20}, {}, {"horizon": 5000}))
    assert torch.equal(task.train[0], whole.train[0][:10]) and torch.equal(task.test[1], whole.test[1][:20])
    assert torch.equal(task.graph.edge_attr, whole.graph.edge_attr)
    assert torch.equal(later.train[0], whole.train[0]) and not torch.equal(later.train[1], whole.train[1])
    for name, count in (("n_train", 501), ("n_train", 0), ("n_eval", 2001)):
        with pytest.raises(ValueError, match=f"{name} must be between 1 and {500 if name == 'n_train' else 2000}, got {count}"):
            tasks.load("md17", scenario="ethanol", **{name: count})


@with_mirror
def test_a_tampered_surrogate_is_refused(away, monkeypatch):
    content = bytearray((MIRROR / "md17sur_ethanol.npz").read_bytes())
    content[-1000] ^= 1
    (away / "md17_surrogate").mkdir()
    (away / "md17_surrogate" / "md17sur_ethanol.npz").write_bytes(content)
    monkeypatch.setenv("DATA_MIRROR", str(away))
    with pytest.raises(DataError, match=r"md17sur_ethanol.npz in DATA_MIRROR=.*expected sha256 e8fa48f2"):
        tasks.load("md17", scenario="ethanol")


@with_mirror
def test_a_mirror_by_a_relative_path_starts_at_the_project(away, monkeypatch):
    """From wherever it runs, as notebooks do in their own folder; and ~ is the home."""
    (away / "mirror").symlink_to(MIRROR.parent)
    monkeypatch.chdir(away)
    monkeypatch.setenv("HOME", str(away))
    for named in (str(away / "mirror"), Path(os.path.relpath(away, ROOT)) / "mirror", "~/mirror"):
        monkeypatch.setenv("DATA_MIRROR", str(named))
        assert tasks.load("md17", scenario="uracil", n_train=2, n_eval=2).data == "surrogate"


def test_a_mirror_without_the_stand_in_is_named_with_where_it_led(away, monkeypatch):
    way = r"md17_uracil.npz is missing: .*; or take its stand-in: DATA_MIRROR="
    monkeypatch.setenv("DATA_MIRROR", str(away))
    with pytest.raises(DataError, match=rf"{way}{away} leads to {away.resolve()}, which holds no md17_surrogate/md17sur_uracil.npz"):
        tasks.load("md17", scenario="uracil")
    monkeypatch.setenv("DATA_MIRROR", "no/such")
    with pytest.raises(DataError, match=rf"{way}no/such leads to {ROOT}/no/such, which is no folder and holds no md17_surrogate"):
        tasks.load("md17", scenario="uracil")


def test_what_is_missing_is_named_with_the_ways_to_get_it(away):
    with pytest.raises(DataError, match=r"md17_aspirin.npz is missing: .*`python -m lib data aspirin`.*DATA_MIRROR.*md17sur_aspirin"):
        tasks.load("md17", scenario="aspirin")
    with pytest.raises(DataError, match=r"md17_benzene2017.npz is missing: .*it has no stand-in"):
        tasks.load("md17", scenario="benzene")
    with pytest.raises(ValueError, match="horizon must be one of 3000, 5000 frames, got 4000"):
        tasks.load("md17", scenario="aspirin", horizon=4000)


def test_a_run_may_name_its_horizon():
    run = {"task": "md17", "scenario": "aspirin", "horizon": 5000}
    assert checked(run) == run
    assert "horizon" in DATA and "horizon" in OPTIONAL
    with pytest.raises(ConfigError, match="horizon must be a whole number of at least 1, got 0"):
        checked({**run, "horizon": 0})


# -------------------------------------------------------------------------------------------------------------- official


@pytest.mark.parametrize("frames", [20_002, 20_301, 133_770])
def test_the_split_is_its_published_recipe(frames):
    """By numpy's global generator and flags; 20,002 frames leave one to choose from, and parts of none."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(100)  # noqa: NPY002
    count = frames - 1 - 20_000
    free, expected = list(range(count)), []
    for share, kept in ((0.1, 500), (0.05, 2000), (0.05, 2000)):
        pool = np.random.choice(free, size=int(share * count), replace=False)  # noqa: NPY002
        taken = set(pool.tolist())
        free = [i for i in free if i not in taken]
        expected.append(10_000 + pool[:kept])
    np.random.set_state(state)  # noqa: NPY002
    found = md17.split(frames)
    assert list(found) == ["train", "val", "test"]
    for one, other in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    everything = np.concatenate(list(found.values()))
    assert len(np.unique(everything)) == len(everything)
    assert all(10_000 <= i < frames - 10_001 for i in everything)


def test_a_split_of_a_long_trajectory_has_the_sizes_of_the_tables():
    assert [len(first) for first in md17.split(211_762).values()] == [500, 2000, 2000]


def test_the_official_file_goes_first(trajectory):
    _, z, r = trajectory
    task = tasks.load("md17", scenario="ethanol", n_train=20, n_eval=30, horizon=5000)
    assert task.data == "official" and len(task.sha256) == 64 and task.graph.bonds == [(0, 1), (0, 2)]
    r = r[:, z > 1]
    for (x, y), first in zip((task.train, task.val, task.test), md17.split(len(r)).values(), strict=True):
        assert len(x) == (20 if x is task.train[0] else 30)
        for sample, target, t in zip(x.double().numpy(), y.double().numpy(), first, strict=False):
            centre = r[t].mean(0)
            np.testing.assert_allclose(sample[:, 0], [0.75, 0.75, 1.0])
            np.testing.assert_allclose(sample[:, 1:4], r[t] - centre, atol=1e-6)
            np.testing.assert_allclose(sample[:, 4:], r[t + 1] - r[t], atol=1e-6)
            np.testing.assert_allclose(target, r[t + 5000] - centre, atol=1e-6)


def test_a_file_of_another_trajectory_or_a_torn_one_is_refused(trajectory, monkeypatch):
    path, *_ = trajectory
    monkeypatch.setitem(md17.SCENARIOS, "ethanol", replace(md17.SCENARIOS["ethanol"], frames=555_092))
    with pytest.raises(DataError, match=r"expected 555092 frames of 9 atoms, found an array \(24000, 9, 3\).*download it again with"):
        tasks.load("md17", scenario="ethanol")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"md17_ethanol.npz cannot be read .*download it again with `python -m lib data ethanol`"):
        tasks.load("md17", scenario="ethanol")


def nameless(path, z, r):
    with open(path, "wb") as file:
        np.save(file, r)


def damaged(path, z, r):
    np.savez_compressed(path, z=z, R=r)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def holed(path, z, r):
    r[12_345, 1, 2] = np.nan
    np.savez(path, z=z, R=r)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path, z, r: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path, z, r: path.write_bytes(b"<html>not found</html>"), id="a page"),
        pytest.param(nameless, id="without names"),
        pytest.param(damaged, id="damaged"),
        pytest.param(holed, id="not finite"),
        pytest.param(lambda path, z, r: np.savez(path, z=z, r=r), id="another name"),
        pytest.param(lambda path, z, r: np.savez(path, z=np.array(["C"] * 9), R=r), id="text for numbers"),
        pytest.param(lambda path, z, r: np.savez(path, z=z[:, None], R=r), id="a column of atoms"),
        pytest.param(lambda path, z, r: np.savez(path, z=z[0], R=r), id="one atom"),
        pytest.param(lambda path, z, r: np.savez(path, z=z, R=r[..., :2]), id="in the plane"),
        pytest.param(lambda path, z, r: np.savez(path, z=z, R=r.astype(object)), id="objects"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_a_trajectory_is_said_with_the_way_out(trajectory, write):
    write(*trajectory)
    with pytest.raises(DataError, match=r"md17_ethanol.npz.*: delete it and download it again with `python -m lib data ethanol`"):
        tasks.load("md17", scenario="ethanol", n_train=20, n_eval=30)


def test_a_trajectory_of_other_atoms_is_refused(trajectory):
    path, _, r = trajectory
    np.savez(path, z=[1, 1, 1, 6, 1, 6, 1, 8, 1], R=r)
    with pytest.raises(DataError, match=r"the official file of ethanol holds other atoms: ValueError: .*replace it by that molecule's"):
        tasks.load("md17", scenario="ethanol", n_train=20, n_eval=30)


def test_a_trajectory_of_another_byte_order_is_the_same(trajectory):
    path, z, r = trajectory
    first = tasks.load("md17", scenario="ethanol", n_train=20, n_eval=30)
    np.savez(path, z=z.astype(">i4"), R=r.astype(">f8"))
    second = tasks.load("md17", scenario="ethanol", n_train=20, n_eval=30)
    for part in ("train", "val", "test"):
        assert all(torch.equal(one, other) for one, other in zip(getattr(first, part), getattr(second, part), strict=True))


@importing
@pytest.mark.parametrize("name", list(CHEMISTRY))
def test_trajectories_are_the_original_ones_of_torch_geometric(name):
    """The file's name is in its class, the number of frames in the table of its docstring."""
    from torch_geometric.datasets import MD17

    entry = md17.SCENARIOS[name]
    assert MD17.file_names[entry.name] == entry.file
    assert re.search(rf"\| DFT +\| :obj:`{entry.name}` +\| {entry.frames:,} +\|", MD17.__doc__)


@importing
def test_torch_geometric_looks_where_we_do(trajectory, capsys):
    """Its class finds the file, so nothing is downloaded."""
    path, *_ = trajectory
    from torch_geometric.datasets import MD17

    assert main(["data", "ethanol"]) == 0 and str(path) in capsys.readouterr().out
    with pytest.warns(UserWarning, match="pre_filter"):  # the class tells its own users that not every frame was kept
        assert len(MD17(str(md17.FOLDER), "ethanol")) == 1
    assert main(["data", "ethane"]) == 1 and "unknown data set 'ethane'" in capsys.readouterr().err


@importing
def test_a_closed_network_is_named(away, monkeypatch, capsys):
    import torch_geometric.datasets.md17 as theirs

    def closed(*_):
        raise ConnectionError("closed")

    monkeypatch.setattr(theirs, "download_url", closed)
    assert main(["data", "salicylic"]) == 1
    said = capsys.readouterr().err
    assert "salicylic: no download: ConnectionError: closed: put md17_salicylic.npz from elsewhere at" in said


@importing
@pytest.mark.parametrize("ends", [ConnectionError, KeyboardInterrupt])
def test_a_download_that_ends_early_leaves_nothing(away, monkeypatch, ends):
    import torch_geometric.datasets.md17 as theirs

    path = md17.SCENARIOS["ethanol"].path

    def half(*_):
        path.write_bytes(b"PK half of it")
        raise ends("cut")

    monkeypatch.setattr(theirs, "download_url", half)
    with pytest.raises(DataError if ends is ConnectionError else ends):
        md17.download("ethanol")
    assert path.parent.is_dir() and not path.is_file()


@importing
def test_a_file_that_was_there_before_is_left_and_named(trajectory):
    path, *_ = trajectory
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"md17_ethanol.npz is there and cannot be read: EOFError: .*: delete it, and download it again"):
        md17.download("ethanol")
    assert path.is_file()


def test_an_experiment_without_its_data_is_skipped_with_a_message(away, capsys):
    sweep.load_task.cache_clear()
    assert main(["train", "md17", "--profile", "smoke", "--backend", "serial"]) == 0
    message = capsys.readouterr().err
    assert "md17 is skipped" in message and "md17_ethanol.npz" in message and "python -m lib data ethanol" in message
