"""Records: one JSON file for one run with one seed, written whole and never edited; `freshness` says whether it speaks for the code."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.files import ROOT, whole
from lib.protocol import Run

RESULTS = ROOT / "results"


class MissingRecordError(LookupError):
    """A record that an artefact needs is not there."""


class DamagedRecordError(RuntimeError):
    """A file is not whole, or does not hold what it should."""

    def __init__(self, path: Path, why: str):
        super().__init__(f"{path} is damaged, delete it or restore it from git: {why}")


def record_path(experiment: str, run: Run, results: Path = RESULTS) -> Path:
    """<results>/runs/<experiment>/<scenario>-<model>-<method>-s<seed>-<digest of the configuration>.json"""
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:10]
    name = "-".join(str(run[part]) for part in ("scenario", "model", "method"))
    return Path(results) / "runs" / experiment / f"{name}-s{run['seed']}-{key}.json"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the file whole or not at all: temporary file, fsync, rename. Raises ValueError for a number JSON cannot hold."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with whole(path) as partial, open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_record(path: Path, *names: str) -> dict[str, Any] | None:
    """The record, or None where there is none. Raises DamagedRecordError where it is not whole, or lacks one of the names."""
    try:
        record = json.loads(path.read_text()) if path.is_file() else None
    except ValueError as error:
        raise DamagedRecordError(path, str(error)) from error
    if record is None:
        return None
    missing = [name for name in names if name not in record] if isinstance(record, dict) else ["record"]
    if missing:
        raise DamagedRecordError(path, f"it holds no {', '.join(missing)}")
    return record


def seconds_of(record: Mapping[str, Any]) -> float:
    """What a run cost: seconds of a GPU, or of a core. On a CPU `core_s` counts only what it computed; records without it, older ones, have
    `wall_s`, in which it waited for other work too, and which begins anew where the run was interrupted."""
    return record["wall_s"] if record["device"].startswith("cuda") else record.get("core_s", record["wall_s"])


def agree(a: Any, b: Any, tolerance: float, floor: float) -> bool:
    """Whether two nested results have the same shape and numbers that agree to `tolerance`, relative, or to `floor`."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(agree(a[key], b[key], tolerance, floor) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(agree(x, y, tolerance, floor) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=floor)
    return a == b


def basis_digest(record: Mapping[str, Any]) -> str:
    """sha256 of a record's basis."""
    return hashlib.sha256(json.dumps(record["basis"]).encode()).hexdigest()[:16]


def provenance(device: str, threads: int) -> dict[str, Any]:
    """Where and with what a record was made."""
    return {
        "device": device,
        "machine": machine(device),
        "threads": threads,
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in ("torch", "numpy")}},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def machine(device: str) -> str:
    """The processor's name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = [line for line in _lines("/proc/cpuinfo") if line.startswith("flags")]
    vectors = "avx512" if flags and "avx512f" in flags[0] else ""
    return " ".join([names[0] if names else platform.processor(), platform.machine(), vectors]).strip()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def commit() -> str:
    """The git commit, with + where the work tree differs from it; empty outside a repository, and where git is not installed."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()

    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""  # an archive unpacked inside another repository is none of its commits
    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "lib") else "")
