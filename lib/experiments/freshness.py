"""Whether a record still speaks for today's code and data.

    missing   there is no record
    fresh     the same code
    verified  other code, but its canary (`lib.experiments.canary`) gives the same numbers, and its task loads the same data
    code only as verified, but the data is not at hand to be compared
    earlier   other code, and a canary of an earlier form, which cannot be compared
    stale     the code now computes something else, loads other data, or the basis that the run took is another

What was replayed and agreed is kept in results/verified.json, by code digest, so that nobody replays it again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib import models, tasks
from lib.experiments.canary import FORM, alike, canary, shrunk, trainer_of
from lib.experiments.digests import module_digest
from lib.experiments.store import RESULTS, DamagedRecordError, agree, basis_digest, read_record, write_record
from lib.files import ROOT
from lib.protocol import Run
from lib.tasks import Task
from lib.tasks.files.sources import DataError

LEDGER = RESULTS / "verified.json"
KEPT = ROOT / "build" / "replayed"  # what was replayed here, whether it agreed or not
TOLERANCE = 1e-6  # the same data: another processor simulates it with another rounding


class ReplayError(RuntimeError):
    """Replaying a record's canary, or loading its data, ended in an error: nothing is known of the record."""


def code_digest(run: Run) -> str:
    """The digest of all that a run executes: its trainer, its task and its network, and what they import."""
    trainer, task, network = trainer_of(run), tasks.module_of(run["task"]), models.class_of(run["model"])
    return module_digest(trainer.__name__, task.__name__, network.__module__)


def loader_digest(run: Run) -> str:
    """The digest of what loads a run's data."""
    return module_digest(tasks.module_of(run["task"]).__name__)


def state(record: Mapping[str, Any] | None, folder: Path | None = None) -> str:
    """One of the states above. A run that took its basis from another's record, looked for in `folder`, needs that record as it was.

    Raises ReplayError where that cannot be found out, DamagedRecordError where a file that it needs is not whole.
    """
    if record is None:
        return "missing"
    if folder is not None and "basis" in record["run"]:
        source = read_record(folder / f"{record['run']['basis']}.json")
        if state(source) in ("missing", "stale") or basis_digest(source) != record["known"]:
            return "stale"
    if replaced(record):
        return "stale"
    if record["digest"] == code_digest(record["run"]):
        return "fresh"
    if record["canary"].get("form") != FORM:
        return "earlier"
    verdicts = {evidence.agrees() for evidence in evidence_of(record)}
    return "stale" if False in verdicts else "code only" if None in verdicts else "verified"


def replaced(record: Mapping[str, Any]) -> bool:
    """Whether a run had a molecule's stand-in, and MD17's own file, which is loaded in its place, has come since."""
    molecule = tasks.module_of("md17").SCENARIOS.get(record["run"]["scenario"])
    return record.get("data") == "surrogate" and molecule is not None and molecule.path.is_file()


class Evidence:
    """What a record holds of its code or of its data, to be compared with what today's code, of `digest`, makes of the same question."""

    def __init__(self, digest: str, question: Mapping[str, Any], recorded: Any, same: Callable[[Any, Any], bool]):
        self.digest, self.question, self.recorded, self.same = digest, question, recorded, same
        self.key = _sha([question, recorded])

    def agrees(self, ledger: bool = True) -> bool | None:
        """Whether today's answer is the recorded one; None where the data is not at hand. Without the `ledger` it is found out anew,
        whatever was kept."""
        if ledger and self.in_ledger():
            return True
        found = _answer(json.dumps(self.question, sort_keys=True), self.digest, anew=not ledger)
        return None if found is None else self.same(self.recorded, found)

    def in_ledger(self) -> bool:
        """Whether the ledger says that it agreed."""
        return self.key in read_ledger(LEDGER).get(self.digest, ())


def evidence_of(record: Mapping[str, Any]) -> Iterator[Evidence]:
    """The record's canary; and its data, unless what loads them is the same."""
    run, digest = record["run"], code_digest(record["run"])
    yield Evidence(digest, {"canary": shrunk(run)}, record["canary"], alike)
    loader = loader_digest(run)
    if record["loader"] != loader:
        yield Evidence(loader, {"data": data_of(run)}, record["fingerprint"], same_data)


def data_of(run: Run) -> dict[str, Any]:
    """The task and the options that a run's data is loaded with."""
    return {"task": run["task"], **{name: run[name] for name in (*tasks.OPTIONS, *tasks.SIZES) if name in run}}


@functools.lru_cache(maxsize=4096)
def _answer(question: str, digest: str, anew: bool = False) -> Any:
    """What today's code makes of a question, kept in build/ where that may be written; None where data is not at hand.

    What is kept counts as long as those who ask, this module and the canary's, and PyTorch are the same.
    """
    file = KEPT / f"{_sha([question, digest, module_digest('lib.experiments.freshness'), torch.__version__])}.json"
    kept = None if anew else read_record(file, "answer")
    if kept is not None:
        return kept["answer"]
    asked, threads = json.loads(question), torch.get_num_threads()
    torch.set_num_threads(1)  # too small a problem for more
    try:
        found = canary(asked["canary"]) if "canary" in asked else fingerprint(tasks.load(asked["data"].pop("task"), **asked["data"]))
    except DataError:
        return None
    except Exception as error:
        raise ReplayError(f"today's code could not be asked for {question}: {type(error).__name__}: {error}") from error
    finally:
        torch.set_num_threads(threads)
    found = json.loads(json.dumps(found))
    with contextlib.suppress(OSError, ValueError):  # a folder that may not be written, a full disk, a number that JSON cannot hold
        write_record(file, {"answer": found})
    return found


def same_data(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two fingerprints agree."""
    return agree(a, b, TOLERANCE, TOLERANCE)


def fingerprint(task: Task) -> dict[str, Any]:
    """Of each of a task's tensors its shape, its norm |x|, and <u, x> / |x| for two fixed random u, uniform in [-1, 1): another split,
    order, angle or horizon changes them, the rounding of another machine does not.

    Ours: a digest of the bytes would call simulated data changed on every other processor.
    """
    return {name: _shadow(tensor) for name, tensor in sorted(_tensors(task))}


def _tensors(task: Task) -> Iterator[tuple[str, Tensor]]:
    for name, pair in {"train": task.train, "val": task.val, "test": task.test, **task.further}.items():
        yield from zip((f"{name} x", f"{name} y"), pair, strict=True)
    named = {"generators": task.generators, "points": task.points, "family": task.family, "mask": task.mask, **task.masks}
    named |= {} if task.graph is None else vars(task.graph)
    yield from ((name, tensor) for name, tensor in named.items() if tensor is not None)


def _shadow(x: Tensor) -> dict[str, Any]:
    draws, square, products = torch.Generator().manual_seed(0), 0.0, [0.0, 0.0]
    for part in x.detach().cpu().flatten().split(2**22):
        values = part.double()
        square += values.square().sum().item()
        for i in range(2):
            products[i] += (values @ (2 * torch.rand(len(values), generator=draws) - 1).double()).item()
    norm = math.sqrt(square)
    return {"shape": list(x.shape), "norm": norm, "products": [product / norm if norm else 0.0 for product in products]}


def _sha(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# -------------------------------------------------------------------------------------------------------------- ledger


@functools.cache
def read_ledger(path: Path) -> dict[str, frozenset[str]]:
    """Code digest -> keys of the evidence that agreed with that code."""
    try:
        return {digest: frozenset(keys) for digest, keys in (read_record(path) or {}).items()}
    except TypeError as error:
        raise DamagedRecordError(path, "it does not list keys by digest") from error


def recorded(results: Path = RESULTS) -> list[Path]:
    """The files of all run records, by experiment; not the probes, which are times."""
    return sorted(path for path in (Path(results) / "runs").glob("*/*.json") if not path.name.startswith("probe-"))
