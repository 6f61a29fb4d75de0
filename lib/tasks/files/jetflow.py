"""JetFlow's 24 tensors, where a user has them: velocities measured in a multi-stream jet by NASA, at 24 stations.

They lie in `jetflow/` as their authors call them, raw_data_1_1.pt to raw_data_3_8.pt, each (times, 2, 62, 23). Official source:
https://roselab1.ucsd.edu/seafile/d/8886a9ee4c5248afab26/
"""

from __future__ import annotations

import hashlib
import itertools

import torch
from torch import Tensor

from lib.files import ROOT
from lib.tasks.files.sources import DataError, reading

FOLDER = ROOT / "jetflow"  # not in `data/`, which data.dvc pins
STATIONS = list(itertools.product(range(1, 4), range(1, 9)))
HELD_OUT = (2, 3), (3, 7), (2, 7), (2, 5), (3, 2), (1, 5)
TIMES, POINTS = 282, (2, 62, 23)  # at least so many times


def stations() -> tuple[Tensor, list[int], str]:
    """Velocities (24, times, 2, 62, 23) at the times that all have, the places of those held out for *domain*, the sha256 of all files.

    Raises DataError where a file is missing, is no tensor of that form, or holds numbers that are not finite. Their digests are not known
    beforehand; nothing but tensors is read from them.
    """
    paths = {(i, j): FOLDER / f"raw_data_{i}_{j}.pt" for i, j in STATIONS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(f"{FOLDER} holds no {', '.join(missing)}: put JetFlow's files there, or take the scenario ocean or simulated")
    found, digest = [], hashlib.sha256()
    for path in paths.values():
        with reading(f"{path} cannot be read as a tensor", "download it again"):
            digest.update(path.read_bytes())
            film = torch.load(path, map_location="cpu", weights_only=True).double()
        if film.ndim != 4 or tuple(film.shape[1:]) != POINTS or len(film) < TIMES:
            raise DataError(f"{path}: expected at least {TIMES} times of {POINTS}, found a tensor {tuple(film.shape)}: download it again")
        if not torch.isfinite(film).all():
            raise DataError(f"{path} holds numbers that are not finite: download it again")
        found.append(film)
    times = min(map(len, found))
    return torch.stack([film[:times] for film in found]), [STATIONS.index(station) for station in HELD_OUT], digest.hexdigest()
