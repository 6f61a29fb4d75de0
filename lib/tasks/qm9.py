"""QM9: the energy of a molecule's highest occupied or lowest unoccupied orbital from where its atoms are, whichever way it is turned.

A token is an atom: its number and its position (angstrom, as in the file: not centred); of the 29 places the last are empty, all zeros.
The target is the energy in units of the training set's standard deviation from its mean; the metric is in meV.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from lib.actions import on_atoms, trivially
from lib.draws import random_stream
from lib.groups import affine_family_3d, affine_mask, haar, homogeneous, se
from lib.tasks import Task
from lib.tasks.files.prepared import read

SCENARIOS = ("homo", "lumo")
ATOMS = 29  # of the largest molecule
HARTREE = 27.2114  # in eV; as LieConv's code has it
SHIFT = 0.5  # angstrom, the standard deviation of a translation; Augerino's SE(3) augmentation


def load(scenario: str, n_train: int = 100_000, n_eval: int = 13_083, heavy: int = 9) -> Task:
    """The energy () from atoms (29, 4), by the mean absolute error of what is standardised.

    Parameters
    ----------
    n_train, n_eval : molecules to train on, the first of 100,000; of validation and of test, the first of 17,748 and 13,083.
    heavy : atoms other than hydrogen that a molecule has at most; of those with seven or less there are 3,900.

    Raises ValueError for an unknown scenario or more molecules than there are, DataError without the data.

    Source: LieConv's code (Finzi et al. 2020): units, loss, and the split, Cormorant's (numpy's old generator with seed 0).
    """
    check(scenario)
    arrays, sha256 = read("qm9")
    order = np.random.RandomState(0).permutation(len(arrays["count"]))
    parts, sets = dict(zip(("train", "val", "test"), np.split(order, [100_000, 117_748]), strict=True)), {}
    energy = torch.from_numpy(arrays[scenario]).double()
    starts = np.cumsum(arrays["count"], dtype=np.int64) - arrays["count"]
    small = np.add.reduceat(arrays["z"] > 1, starts, dtype=np.int64) <= heavy
    parts = {part: chosen[small[chosen]] for part, chosen in parts.items()}
    for part, size in {"train": n_train, "val": n_eval, "test": n_eval}.items():
        if not 1 <= size <= len(parts[part]):
            raise ValueError(f"{'n_train' if part == 'train' else 'n_eval'} must be between 1 and {len(parts[part])}, got {size}")
        sets[part] = padded(arrays, parts[part][:size]), energy[parts[part][:size]]
    return task_of(sets, data="official", sha256=sha256)


def load_tiny(scenario: str, heavy: int = 9) -> Task:
    """Made-up molecules of one to five atoms, whose energy hangs on the distances within them; no file, the same whatever is asked for."""
    check(scenario)
    draws = random_stream(0, "qm9")

    def sample(count: int) -> tuple[Tensor, Tensor]:
        number = torch.randint(1, 10, (count, 5), generator=draws) * (torch.arange(5) <= torch.randint(5, (count, 1), generator=draws))
        number = torch.where((number > 1) & (number < 6), number + 4, number).double()
        position = torch.randn(count, 5, 3, generator=draws, dtype=torch.float64) * (number > 0)[..., None]
        return torch.cat([number[..., None], position], -1).float(), number.mean(1) + torch.cdist(position, position).mean((1, 2))

    return task_of({part: sample(count) for part, count in (("train", 16), ("val", 8), ("test", 8))})


def check(scenario: str) -> None:
    if scenario not in SCENARIOS:
        raise ValueError(f"unknown scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")


def padded(arrays: dict[str, np.ndarray], chosen: np.ndarray) -> Tensor:
    """The atoms of the chosen molecules, (molecules, 29, 4)."""
    counts = arrays["count"].astype(np.int64)
    starts = np.cumsum(counts) - counts
    place = np.arange(ATOMS)
    there = place < counts[chosen, None]
    index = np.where(there, starts[chosen, None] + place, 0)
    atoms = np.concatenate([arrays["z"][index][..., None], arrays["positions"][index]], -1, dtype=np.float32)
    return torch.from_numpy(np.where(there[..., None], atoms, np.float32(0)))


def task_of(sets: dict[str, tuple[Tensor, Tensor]], data: str = "simulated", sha256: str = "") -> Task:
    """The task of these molecules and energies (Hartree)."""
    mean, std = sets["train"][1].mean(), sets["train"][1].std(correction=0)
    sets = {part: (x, ((y - mean) / std).float()) for part, (x, y) in sets.items()}
    atoms = sets["train"][0][:100].flatten(0, 1)
    scale = HARTREE * std.item()
    return Task(
        name="qm9",
        **sets,
        rho_x=on_atoms,
        rho_y=trivially,
        loss=torch.nn.functional.l1_loss,
        metric=functools.partial(absolute_error, scale=1000 * scale),
        metric_name="mae",
        reported=functools.partial(torch.mul, torch.tensor(scale)),
        outputs=torch.Size([]),
        size=4,
        generators=se(3),
        family=affine_family_3d(),
        mask=affine_mask(3),
        angles=True,
        groups={"se3": motions},
        points=torch.nn.functional.pad(atoms[atoms[:, 0] > 0, 1:], (0, 1), value=1.0),
        chunk=500,
        data=data,
        sha256=sha256,
    )


def absolute_error(prediction: Tensor, y: Tensor, scale: float) -> Tensor:
    """The mean absolute error, times what the targets' unit is worth."""
    return scale * (prediction - y).abs().mean()


def motions(count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Rotations of the Haar measure and Gaussian translations, 4 x 4. Source: Augerino's SE(3) augmentation of QM9."""
    linear = haar(3, (count,), generator, dtype)
    return homogeneous(linear, SHIFT * torch.randn(count, 3, generator=generator, device=generator.device, dtype=dtype))
