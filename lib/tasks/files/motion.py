"""Motion capture: the files of CMU's subjects 35 (walking) and 9 (running), and the positions made of them.

31 joints, 120 frames a second, in the database's own units of about 5.6 cm; y is up, walking and running go along z.

The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.tasks.files.skeleton import joint_positions, read_motion, read_skeleton
from lib.tasks.files.sources import DataError, Source, reading

# Positions are kept to 5 decimals, far below what a marker resolves: machines differ by about 1e-14 in them, and none of them is nearer
# than 1e-11 to where rounding changes direction, so the prepared bytes are the same everywhere.
DECIMALS = 5
WALK_SHA256 = {
    "35.asf": "9b4888836cbd13cdab14a86c53a6b7765ccae48ddc7075d8c5e03ac34bc08364",
    "35_01.amc": "efe882ca211915da0c70d7a1ac565660c75e373171f64e199ede283b921850d3",
    "35_02.amc": "d6fefd28756a979418b7bc09b6dc1020f3dc372f4c35e382d55026c74941e473",
    "35_03.amc": "5f7fc7ede6fdd70ac312f0449e49cf4c8d0878ad31246b9e455a0420450d1761",
    "35_04.amc": "c0ea194c1c7cc1807ff6c94212dd702777f8c96fdbc59656c5df7eded3009f1c",
    "35_05.amc": "8421013452f0e904c8a31778a690cc76c4aa50a304ea927e7381d79c5958d435",
    "35_06.amc": "b13b76a376129b460eae3d62b79d06a704663eec34123c9a61e0dad2775aa910",
    "35_07.amc": "315f9ee6eefa2b54c380b1992034ab825f58f799084ed7680a4e2213e3846823",
    "35_08.amc": "29fd9b64748295a5263f3fc69fb9c1c09ad828027569a79c39f0ef080c37d05e",
    "35_09.amc": "43d92cd4d4397f996a40037955597334b04b6c09c0ad9288ef12f7ebb3bac5fc",
    "35_10.amc": "d2948eb337fc2c395616881ad4d612780242e2923558774893b3db43a3ea8d62",
    "35_11.amc": "15541226c2aae03a287f39ad70a21480df0e523f2c040838e76bb12b6e539349",
    "35_12.amc": "eb6d224e450d0c4e4ec502edd7b671fa0f5119305b2c0105575cdeb48d53d84e",
    "35_13.amc": "fe5572cce38f4bd4046b0f5d72741c351a8cfa7cf88b428feb85c56dc1130587",
    "35_14.amc": "f3c584811a8370d8d627f6354706402931f7a599f3620a5abb26305aefd77432",
    "35_15.amc": "cb50bf7c31fdfb4a0903ab64d91807aff775a483a028bdb0773af7752354d9fa",
    "35_16.amc": "240e8d077d3be8e340bee6c465c59ed7320e53e4e529fd674fe7335e6d2c52af",
    "35_28.amc": "e91c989fc8adbb2eff59e3e86f37ef114e82591e5961f22ea1eb0b9682a96ca6",
    "35_29.amc": "48eb5a400085c6477698038767fa907d1f67b7ddd4e51c05366dae15cccd6ce5",
    "35_30.amc": "6c34a093f1df7e5255352972e12e2648a7e50cc9261fe73183e9e77bd0ab326e",
    "35_31.amc": "2b412cbd23c326d36f86ad86d41f500f4b3808f32fedad1b03b4652ea25efb80",
    "35_32.amc": "6939e377574486c7ca2939f3f424fcf4cfac5f6ad28eeb71933e52b052bb19bc",
    "35_33.amc": "d53fbc9c99944ad9cf36b7d6fafea029c7d7fa3b71fc70492248e7494eabaab1",
    "35_34.amc": "484ee3fe1ca9a984c4363484972d3114c675a9207a5119aeebd6d7235038a421",
}
WALK = {
    file: Source(
        sha256=sha256,
        mirror="mocap/cmu35_walk_amc_raw.tar.xz",
        member=f"raw_cmu35/{file}",
        official=f"http://mocap.cs.cmu.edu/subjects/35/{file}",
        text=True,
    )
    for file, sha256 in WALK_SHA256.items()
}
WALKS = [file for file in WALK if file.endswith(".amc")]  # the trials, in the order of the prepared file
# The published pickle's digest is not known here: what is prepared from it is checked.
RUN = {
    "motion_run": Source(
        mirror="mocap/mocap_run_09.npz",
        official="https://raw.githubusercontent.com/hanjq17/EGHN/main/motion/dataset/motion_run.pkl",
    )
}


def prepare_walk(content: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Positions by forward kinematics, in the order of the trials' numbers. Raises DataError for all but a skeleton and its motions."""
    with reading("the files hold no skeleton and motions of it"):
        text = {file: raw.decode("ascii") for file, raw in content.items()}
        skeleton = read_skeleton(text.pop("35.asf"))
        trials = [joint_positions(skeleton, read_motion(text[file], skeleton)) for file in sorted(text)]
        return arrays([np.round(trial, DECIMALS) for trial in trials], skeleton.edges)


def prepare_run(content: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Positions as published: from the pickle (edges, [positions of a trial, ...]), or the mirror's .npz of the same arrays.

    Raises DataError for anything else.
    """
    raw = content["motion_run"]
    with reading("motion_run holds no edges and trials of positions"):
        edges, trials = unpacked(raw) if raw.startswith(b"PK") else ArrayUnpickler(io.BytesIO(raw)).load()
        return arrays(trials, edges)


def unpacked(raw: bytes) -> tuple[np.ndarray, list[np.ndarray]]:
    """The edges and the trials of the mirror's .npz."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        return stored["edges"], np.split(stored["pos"], np.cumsum(stored["n_frames"])[:-1])


def arrays(trials: Sequence[np.ndarray], edges: Any) -> dict[str, np.ndarray]:
    """What a prepared file holds: all trials' positions end to end, (frames, 31, 3); `n_frames` of each; [child, parent] of each bone.

    Raises ValueError for positions of another shape or that are not finite, and for bones between joints that there are not.
    """
    bones = np.sort(np.asarray(edges, np.int64), 1)[:, ::-1]  # parents come before their children
    positions = np.concatenate(trials).astype(np.float32)
    if positions.ndim != 3 or positions.shape[2] != 3 or not np.isfinite(positions).all():
        raise ValueError(f"positions must be finite numbers (frames, joints, 3), got {positions.shape}")
    if bones.shape[1:] != (2,) or not ((bones >= 0) & (bones < positions.shape[1])).all():
        raise ValueError(f"bones must join two of the {positions.shape[1]} joints each, got {edges}")
    return {
        "positions": positions,
        "n_frames": np.array([len(trial) for trial in trials], np.int64),
        "edges": bones[bones[:, 0].argsort()],
    }


# ------------------------------------------------------------------------------------------------- the order of a folder


def listed(names: Sequence[str]) -> list[int]:
    """Which name is first, second, ... where a folder of Apple's file system lists them: ascending in the low 22 bits of the CRC-32C of the
    lower-case name, as 32-bit characters.

    Ours: the published places count through the walks as their authors' machine listed the files, an order that was not published. Seven of
    the eleven published runs could be told by their positions, and all seven are in this order. Source of the order: Apple File System
    Reference, hashed directory records.
    """
    return sorted(range(len(names)), key=lambda i: crc32c(names[i].lower().encode("utf-32-le")) % 2**22)


def crc32c(message: bytes) -> int:
    """The cyclic redundancy check of Castagnoli, 1993, without the usual last complement."""
    crc = 0xFFFFFFFF
    for byte in message:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc


# -------------------------------------------------------------------------------------------------------------- pickles


def latin1(text: str, encoding: str) -> bytes:
    """What old pickles keep bytes as."""
    if encoding != "latin1":
        raise DataError(f"a pickle of arrays keeps bytes as latin1, this one as {encoding!r}")
    return text.encode("latin1")


RECONSTRUCT = np.empty(0).__reduce__()[0]
ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("_codecs", "encode"): latin1,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads numbers, strings, containers and arrays. Any other class or function, with which a pickle could do anything, is a DataError."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise DataError(f"a pickle of arrays needs no {module}.{name}, and this one asks for it")
        return ADMITTED[module, name]
