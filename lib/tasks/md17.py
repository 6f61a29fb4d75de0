"""MD17: where the heavy atoms of a molecule are a few thousand frames later, an SO(3)-equivariant prediction task.

A token is an atom: atomic number over the molecule's largest, position (angstrom), velocity (angstrom per frame of 0.5 fs); the target is
its position `horizon` frames later. Both are relative to the plain mean of the input positions, so translations are dealt with.

    python -m lib data aspirin        downloads a trajectory of MD17 into `md17/`, through torch-geometric

Where a trajectory is not there, its surrogate is taken from DATA_MIRROR: 4,500 samples of molecular dynamics at 500 K on the force fields
that MD17's authors published, from 16 short simulations, each with samples in every part, where MD17 has a single long one. It is not MD17
and says so, in `Task.data`; benzene has none.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.draws import random_stream
from lib.files import ROOT
from lib.models.molecules import Molecule, molecule
from lib.tasks import Task
from lib.tasks.bodies import prediction_of_positions
from lib.tasks.files.sources import DataError, check, mirrored, reading

FOLDER = ROOT / "md17"  # not in `data/`, which data.dvc pins; torch-geometric's root
HORIZONS = (3000, 5000)  # frames; GMN's erratum: its tables, which REMUL copies, are of 3000, not of 5000 as both papers say
MARGIN = 10_000  # frames left out at either end of a trajectory
PARTS = {"train": (0.1, 500), "val": (0.05, 2000), "test": (0.05, 2000)}  # share of the frames that a part draws, and what it keeps


@dataclass(frozen=True)
class Trajectory:
    """Torch-geometric's name for it, the file, its number of frames; GMN's sticks; sha256 of the surrogate, empty where there is none."""

    name: str
    file: str
    frames: int
    sticks: Sequence[tuple[int, int]]
    surrogate: str = ""

    @property
    def path(self) -> Path:
        """Where torch-geometric leaves the file."""
        return FOLDER / self.name / "raw" / self.file


# The original trajectories, not the revised ones. That of benzene is elsewhere called benzene_old.
SCENARIOS = {
    "aspirin": Trajectory(
        "aspirin", "md17_aspirin.npz", 211_762, [(0, 2), (1, 3), (5, 6), (7, 10), (11, 12)],
        "b3a9ce93b92efdd26397e66fba2483e5130c0b3831891a0aba60513b70e89b5f",
    ),
    "benzene": Trajectory("benzene", "md17_benzene2017.npz", 627_983, [(0, 1), (2, 3), (4, 5)]),
    "ethanol": Trajectory(
        "ethanol", "md17_ethanol.npz", 555_092, [(0, 1)],
        "e8fa48f293dd0594cb389a6faa3a537d6fbfb1e4dfabea845ed4f39534542e66",
    ),
    "malonaldehyde": Trajectory(
        "malonaldehyde", "md17_malonaldehyde.npz", 993_237, [(1, 2)],
        "a1a675c2a088a4ef98eb238a0e57ff9b5fd90bd5d05745ce62ca7282a5385612",
    ),
    "naphthalene": Trajectory(
        "naphthalene", "md17_naphthalene.npz", 326_250, [(0, 1), (2, 3), (4, 9), (5, 6), (7, 8)],
        "de0d8a4fdf15991310c48b416856081b761cbfa91c5559d9e9e1d898f8e8f803",
    ),
    "salicylic": Trajectory(
        "salicylic acid", "md17_salicylic.npz", 320_231, [(0, 9), (1, 2), (4, 5), (6, 7)],
        "86de42a778932a84a46a0b49494d942b0a14ecf4dadeb852a0fcb8d56e73d434",
    ),
    "toluene": Trajectory(
        "toluene", "md17_toluene.npz", 442_790, [(2, 3), (5, 6), (0, 1)],
        "fdf34abc605e338084ce42abc0285925352575047f7fed6af2cc2106669e3cff",
    ),
    "uracil": Trajectory(
        "uracil", "md17_uracil.npz", 133_770, [(0, 1), (3, 4)],
        "38a6604f928f8d8dbb6922548a834ebb334887f3b64eb79eb135e4fd4578c2c3",
    ),
}  # fmt: skip


class Samples(NamedTuple):
    """Numbers of all atoms, the positions that the bonds are read from, and of each part (positions, velocities, positions later)."""

    z: np.ndarray
    frame: np.ndarray
    parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    data: str
    sha256: str


def load(scenario: str, n_train: int = 500, n_eval: int = 2000, horizon: int = 3000) -> Task:
    """Predict (atoms, 3) from (atoms, 7), heavy atoms only; the error is in square angstrom.

    Parameters
    ----------
    n_train, n_eval : samples to train on, and of validation and of test.
    horizon : 3000 or 5000 frames.

    Raises
    ------
    ValueError : an unknown scenario or horizon; more samples than there are.
    DataError : neither the trajectory nor its surrogate is there, or a file's content is not what it should be.

    Source: REMUL sec. 6.3 on the split and the graph of GMN (Huang et al. 2022). The plain mean as the centre is Ours.
    """
    trajectory = known(scenario)
    if horizon not in HORIZONS:
        raise ValueError(f"horizon must be one of {', '.join(map(str, HORIZONS))} frames, got {horizon}")
    samples = (official if trajectory.path.is_file() else surrogate)(scenario, horizon)
    sets = {}
    for part, count in {"train": n_train, "val": n_eval, "test": n_eval}.items():
        arrays = samples.parts[part]
        if not 1 <= count <= len(arrays[0]):
            raise ValueError(f"{'n_train' if part == 'train' else 'n_eval'} must be between 1 and {len(arrays[0])}, got {count}")
        sets[part] = tokens(samples.z, *(array[:count] for array in arrays))
    with reading(f"the {samples.data} file of {scenario} holds other atoms", "replace it by that molecule's"):
        graph = molecule(*(torch.from_numpy(array) for array in (samples.z, samples.frame)), trajectory.sticks)
    return task_of(sets, graph, samples.data, samples.sha256)


def load_tiny(scenario: str, horizon: int = 3000) -> Task:
    """Five made-up heavy atoms in a zigzag that shiver and drift: no molecule, no file, the same for every scenario."""
    known(scenario)
    draws = random_stream(0, "md17")
    z, place = torch.tensor([6, 6, 7, 6, 8]), torch.arange(5, dtype=torch.float64)
    chain = torch.stack([1.2 * place, 0.4 * (-1) ** place, torch.zeros(5, dtype=torch.float64)], 1)

    def sample(count: int) -> tuple[Tensor, Tensor]:
        shiver, v, drift = (size * torch.randn(count, 5, 3, generator=draws, dtype=torch.float64) for size in (0.05, 0.01, 0.1))
        x = chain + shiver
        return tokens(z.numpy(), x.numpy(), v.numpy(), (x + horizon / 150 * v + drift.mean(1, keepdim=True)).numpy())

    return task_of({part: sample(count) for part, count in (("train", 16), ("val", 8), ("test", 8))}, molecule(z, chain, [(0, 1)]))


def known(scenario: str) -> Trajectory:
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    return SCENARIOS[scenario]


def tokens(z: np.ndarray, start: np.ndarray, velocity: np.ndarray, end: np.ndarray) -> tuple[Tensor, Tensor]:
    """(x, y) of the heavy ones of all atoms, relative to the mean of their positions at the start."""
    heavy = z > 1
    start, velocity, end = (torch.from_numpy(array[:, heavy]).double() for array in (start, velocity, end))
    number = torch.from_numpy(z[heavy] / z.max()).double()
    centre = start.mean(1, keepdim=True)
    x = torch.cat([number[:, None].expand(len(start), -1, 1), start - centre, velocity], -1)
    return x.float(), (end - centre).float()


def task_of(sets: dict[str, tuple[Tensor, Tensor]], graph: Molecule, data: str = "simulated", sha256: str = "") -> Task:
    return prediction_of_positions(**sets, name="md17", graph=graph.to("cpu", torch.float32), data=data, sha256=sha256)


# ------------------------------------------------------------------------------------------------------ where they come from


def official(scenario: str, horizon: int) -> Samples:
    """MD17's own file: R (frames, atoms, 3) and z. Its digest is not known beforehand, so its shape and its numbers are checked."""
    trajectory, again = SCENARIOS[scenario], f"delete it and download it again with `python -m lib data {scenario}`"
    with reading(f"{trajectory.path} cannot be read as a trajectory", again), open(trajectory.path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        arrays = np.load(file, allow_pickle=False)
        z, r = arrays["z"].astype(np.int64), arrays["R"].astype(np.float64, copy=False)  # in this machine's byte order
    if z.ndim != 1 or r.shape != (trajectory.frames, len(z), 3):
        raise DataError(f"{trajectory.path}: expected {trajectory.frames} frames of {z.size} atoms, found an array {r.shape}: {again}")
    if not np.isfinite(r).all():
        raise DataError(f"{trajectory.path} holds positions that are no finite numbers: {again}")
    parts = {part: (r[first], r[first + 1] - r[first], r[first + horizon]) for part, first in split(len(r)).items()}
    return Samples(z, r[0], parts, "official", sha256)


def split(frames: int) -> dict[str, np.ndarray]:
    """The first frames of each part's samples in a trajectory of so many frames.

    Of the frames with a velocity, 10,000 at either end left out, a part draws its share at random; its first 500 or 2,000 are kept.

    Source: GMN's published code; numpy's old generator with its seed, 100, gives its indices.
    """
    draws = np.random.RandomState(100)
    free = np.arange(MARGIN, frames - 1 - MARGIN)
    total, chosen = len(free), {}
    for part, (share, kept) in PARTS.items():
        pool = draws.choice(free, size=int(share * total), replace=False)
        free = np.setdiff1d(free, pool)
        chosen[part] = pool[:kept]
    return chosen


def surrogate(scenario: str, horizon: int) -> Samples:
    """Our stand-in. It is no single trajectory: bonds are read from the first training sample in place of frame 0."""
    arrays = stand_in(scenario)
    parts = {name: tuple(arrays[key][arrays["part"] == number] for key in ("x0", "v0", f"x{horizon}")) for number, name in enumerate(PARTS)}
    return Samples(arrays["Z"].astype(np.int64), parts["train"][0][0], parts, "surrogate", SCENARIOS[scenario].surrogate)


def simulations(scenario: str) -> dict[str, Tensor]:
    """Of each part's samples in the stand-in, which of its 16 simulations they were drawn from: every part has samples of every one."""
    arrays = stand_in(scenario)
    return {name: torch.from_numpy(arrays["rep"][arrays["part"] == number]).long() for number, name in enumerate(PARTS)}


def stand_in(scenario: str) -> dict[str, np.ndarray]:
    """The arrays of the stand-in's file, verified. Raises DataError where there is none."""
    trajectory, file = SCENARIOS[scenario], f"md17_surrogate/md17sur_{scenario}.npz"
    missing = f"{trajectory.path} is missing: download it with `python -m lib data {scenario}`, or put MD17's file there"
    if not trajectory.surrogate:
        raise DataError(f"{missing}; it has no stand-in")
    try:
        path = mirrored([file])[file]
    except DataError as error:
        raise DataError(f"{missing}; or take its stand-in: {error}") from None
    with reading(f"{path} cannot be read"):
        content = path.read_bytes()
    check(f"{file} in DATA_MIRROR={os.environ['DATA_MIRROR']}", content, trajectory.surrogate)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def download(scenario: str) -> Path:
    """Have torch-geometric download MD17's file, and return its path. Raises DataError where it cannot; what it had begun is removed."""
    from torch_geometric.datasets import MD17

    trajectory, frame = known(scenario), itertools.count()
    there, whole = trajectory.path.is_file(), False
    way_out = "delete it, and download it again" if there else f"put {trajectory.file} from elsewhere at {trajectory.path}"
    try:
        with reading(f"{trajectory.path} is there and cannot be read" if there else f"{scenario}: no download", way_out):
            # the class makes an object of every frame; as only the file itself is read here, it may keep just one
            MD17(str(FOLDER), trajectory.name, pre_filter=lambda _: next(frame) == 0)
        whole = True
    finally:
        if not there and not whole:
            trajectory.path.unlink(missing_ok=True)
    return trajectory.path


def download_all(scenarios: Sequence[str]) -> int:
    """Download the named trajectories; 1 if any could not be had, else 0."""
    failed = 0
    for scenario in scenarios:
        try:
            print(f"{scenario}: {download(scenario)}")
        except DataError as error:
            failed = 1
            print(error, file=sys.stderr)
    return failed
