"""Records: one JSON file for one run with one seed, written whole and never edited; and whether it still speaks for the code."""

from __future__ import annotations

import ast
import datetime
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lib.models import MODELS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
TOLERANCE = 1e-6  # two canaries agree where every number does, relative to its size
FLOOR = 1e-8  # and absolutely below this: rounding of numbers that should be zero


class MissingRecordError(LookupError):
    """A record that an artefact needs is not there."""


def record_path(experiment: str, run: Mapping[str, Any], results: Path = RESULTS) -> Path:
    """<results>/runs/<experiment>/<scenario>-<model>-<method>-s<seed>-<digest of the configuration>.json"""
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:10]
    name = "-".join(str(run[part]) for part in ("scenario", "model", "method"))
    return Path(results) / "runs" / experiment / f"{name}-s{run['seed']}-{key}.json"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the file whole or not at all: temporary file, fsync, rename. Raises ValueError for a number JSON cannot hold."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_record(path: Path) -> dict[str, Any] | None:
    """The record, or None where there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


def provenance(run: Mapping[str, Any], device: str, threads: int) -> dict[str, Any]:
    """Where and with what a record was made."""
    return {
        "digest": code_digest(run),
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
    """The git commit, with + where the work tree differs from it; empty outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "lib") else "")


# ---------------------------------------------------------------------------------------------------- fresh or stale


def code_digest(run: Mapping[str, Any]) -> str:
    """sha256 of the lib modules that the run imports, as syntax trees: comments, docstrings, annotations and layout do not count."""
    module = MODELS[run["model"]][0] if run["model"] in MODELS else "lib.liegan"  # a network's file, or the discriminators'
    return _digest((Path("lib/train.py"), Path(f"lib/tasks/{run['task']}.py"), Path(*module.split(".")).with_suffix(".py")))


@functools.cache
def _digest(entries: tuple[Path, ...]) -> str:
    seen: dict[Path, str] = {}
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            tree = ast.parse((ROOT / file).read_text())
            waiting += imported(tree)
            seen[file] = ast.unparse(what_runs(tree))
    text = "\n".join(f"{file}\n{seen[file]}" for file in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def imported(tree: ast.AST) -> Iterable[Path]:
    """Files of the lib modules that a syntax tree imports."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lib":
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "lib"]
        for name in names:
            base = Path(*name.split("."))
            for file in (base.with_suffix(".py"), base / "__init__.py"):
                if (ROOT / file).is_file():
                    yield file


def what_runs(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and without annotations of functions, in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def state(record: Mapping[str, Any] | None, folder: Path | None = None) -> str:
    """missing, fresh (same code), verified (other code, same canary) or stale (the code now computes something else).

    A run that took its basis from another's record, looked for in `folder`, is stale too where that record is or holds another basis.
    """
    if record is None:
        return "missing"
    if folder is not None and "basis" in record["run"]:
        source = read_record(folder / f"{record['run']['basis']}.json")
        if state(source) in ("missing", "stale") or basis_digest(source) != record["known"]:
            return "stale"
    if record["digest"] == code_digest(record["run"]):
        return "fresh"
    return "verified" if agree(record["canary"], canary_of(record["run"])) else "stale"


def basis_digest(record: Mapping[str, Any]) -> str:
    """sha256 of a record's basis."""
    return hashlib.sha256(json.dumps(record["basis"]).encode()).hexdigest()[:16]


@functools.cache
def _canary(run: str, file: Path) -> dict[str, Any] | None:
    known = read_record(file)
    if known is not None:
        return known["canary"]
    import torch

    from lib.runs import trainer_of

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # too small a problem for more
    try:
        found = trainer_of(json.loads(run)).canary(json.loads(run))
    except Exception:  # code that no longer runs this configuration has not computed what is recorded
        found = None
    finally:
        torch.set_num_threads(threads)
    write_record(file, {"canary": found})
    return found


def canary_of(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this code computes for the configuration, kept in build/canary/; None where the code no longer runs it."""
    from lib.runs import trainer_of

    text = json.dumps(trainer_of(run).shrunk(run), sort_keys=True)
    key = hashlib.sha256(f"{code_digest(run)} {text}".encode()).hexdigest()[:16]
    return _canary(text, ROOT / "build" / "canary" / f"{key}.json")


def agree(a: Any, b: Any, tolerance: float = TOLERANCE, floor: float = FLOOR) -> bool:
    """Whether two nested results have the same shape and numbers that agree to `tolerance`, relative, or to `floor`."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(agree(a[key], b[key], tolerance, floor) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(agree(x, y, tolerance, floor) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=floor)
    return a == b
