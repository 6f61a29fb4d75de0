"""A training in the middle, kept in a file: a run that is killed, or whose time is up, goes on from there as if nothing had been."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lib.files import whole
from lib.protocol import Run

EVERY = 60.0  # seconds between two of them; a stack that takes less leaves none


class OutOfTimeError(RuntimeError):
    """The time of a training is up; what it had reached is kept."""


class Checkpoint:
    """Where the state of a stack is kept, and when.

    The file is written whole or not at all: arrays, and text for what is none; no pickles. Its name is a digest of the runs, of what
    they are made from and of the device, so that no other's is taken up; bit by bit it goes on on the same machine only.

    Parameters
    ----------
    folder : of the file.  stack, digest, device : the runs, of their code, data and basis, and what they are trained on.
    deadline : of `time.monotonic`, after which `keep` ends the training.
    """

    def __init__(self, folder: Path, stack: Sequence[Run], digest: str, device: str, deadline: float = float("inf")):
        key = hashlib.sha256(json.dumps([list(stack), digest, device], sort_keys=True).encode()).hexdigest()[:16]
        self.path, self.device, self.deadline, self.last = Path(folder) / f"{key}.npz", device, deadline, time.monotonic()
        self.before = np.zeros(2)  # what the training took until it was kept, by `clocks`

    def due(self) -> bool:
        """Whether it is time to `keep` the state."""
        now = time.monotonic()
        return now > self.deadline or now - self.last > EVERY

    def keep(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Write both. Raises OutOfTimeError, with the file, where the time is up."""
        with whole(self.path) as partial, open(partial, "wb") as file:
            np.savez(file, plain=np.array(json.dumps(plain)), **{name: tensor.cpu().numpy() for name, tensor in tensors.items()})
            file.flush()
            os.fsync(file.fileno())
        self.last = time.monotonic()
        if self.last > self.deadline:
            raise OutOfTimeError(f"the time is up; the training goes on from {self.path}")

    def read(self) -> tuple[dict[str, Tensor], Any] | None:
        """Both as they were kept, or None where there is nothing."""
        if not self.path.is_file():
            return None
        with np.load(self.path, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]).to(self.device) for name in arrays.files if name != "plain"}
            return found, json.loads(str(arrays["plain"]))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


@runtime_checkable
class Resumable(Protocol):
    """What is trained: all that later steps depend on, to be read and put back, and what was seen so far."""

    curves: Any

    def state(self) -> dict[str, Tensor]: ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


def clocks() -> np.ndarray:
    """Seconds since some time: of the wall's clock, and of this process on all its cores."""
    return np.array([time.perf_counter(), time.process_time()])


def take_steps(trained: Resumable, count: int, step: Callable[[int], None], checkpoint: Checkpoint | None = None) -> float:
    """Call `step` with 1 to `count`, from where the checkpoint is if there is one; the seconds it took, those before with them.

    Raises OutOfTimeError where the checkpoint's deadline is over.
    """
    kept = None if checkpoint is None else checkpoint.read()
    done, started = 0, clocks()
    if kept is not None:
        state, (done, before, trained.curves) = kept
        trained.restore(state)
        checkpoint.before = np.array(before)
        started -= checkpoint.before
    for number in range(done + 1, count + 1):
        step(number)
        if checkpoint is not None and checkpoint.due():
            checkpoint.keep(trained.state(), [number, (clocks() - started).tolist(), trained.curves])
    return (clocks() - started)[0].item()
