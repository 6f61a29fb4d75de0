"""Small damages to the code, of sabotage.yaml: each must turn the runs that use it stale, and no others:  python .ci/sabotage.py [WORD ...]

A record says that today's code would make it again. What records of one run of each kind would hold is computed by the code as it is; then
copies of the code are damaged, and each says in a process of its own which of these records it still vouches for: those of some kinds that
use what was damaged, drawn anew each time, and of some that do not; of all kinds with --all. With words, only damages with one of them in
their name are tried.
"""

from __future__ import annotations

import fnmatch
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
USERS, OTHERS = 4, 2  # the most kinds that are asked about a damage, of those that use what it touches and of the rest
SIZES = {"n_train": 64, "n_eval": 32}  # what is loaded to compare the data
PRELOADED = ["torch", "torch._dynamo", "e3nn.o3", "scipy.stats", "joblib", "yaml"]  # what every copy would import anew; never `lib` itself


def from_copy(folder: Path) -> None:
    """Make this process, which has not imported the package yet, take it from its copy in `folder`."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")


def records(folder: Path, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What records of one run of each kind would hold; a kind is left out where its data are."""
    from_copy(folder)
    from lib import tasks
    from lib.experiments.canary import canary
    from lib.experiments.freshness import code_digest, data_of, fingerprint, loader_digest
    from lib.experiments.settings import labelled_plan
    from lib.tasks.files.sources import DataError

    found = {}
    for kind, wanted in kinds.items():
        own = {name: value for name, value in wanted.items() if name not in ("experiment", "row")}
        planned = labelled_plan(wanted["experiment"], "quick")
        run = next(run for label, run in planned if label == wanted["row"] and own.items() <= run.items()) | SIZES
        try:
            data = data_of(run)
            shadow = fingerprint(tasks.load(data.pop("task"), **data))
        except DataError as error:
            print(f"{kind} is left out: {error}", file=sys.stderr)
            continue
        found[kind] = {"run": run, "digest": code_digest(run), "loader": loader_digest(run), "canary": canary(run), "fingerprint": shadow}
    return found


def states(folder: Path, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The state of each record, by the copy of the package in `folder`; an error where its replay fails."""
    from_copy(folder)
    from lib.experiments.freshness import ReplayError, state

    found = {}
    for kind, record in asked.items():
        try:
            found[kind] = state(record)
        except ReplayError as error:
            found[kind] = f"error: {error}"
    return found


def copied(folder: Path) -> Path:
    """A copy of what the package needs to run."""
    shutil.copytree(ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("data", "md17"):
        if (ROOT / name).exists():
            (folder / name).symlink_to((ROOT / name).resolve())
    return folder


def damaged(folder: Path, damage: Mapping[str, str]) -> Path:
    """A copy with that damage done. Raises ValueError where the code no longer holds the text that is to be changed."""
    path = copied(folder) / "lib" / damage["file"]
    if "to" in damage:
        there = folder / "lib" / damage["to"]
        there.parent.mkdir()
        path.rename(there)
        for file in (folder / "lib").rglob("*.py"):
            file.write_text(file.read_text().replace(damage["module"], damage["becomes"]))
        return folder
    text = path.read_text()
    if damage["old"] not in text:
        raise ValueError(f"{damage['what']}: lib/{damage['file']} no longer holds {damage['old']!r}: bring .ci/sabotage.yaml up to date")
    path.write_text(text.replace(damage["old"], damage["new"]))
    return folder


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes of one task and one thread each, forked from one that has imported what all of them need."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(workers, context, max_tasks_per_child=1)


def kinds_of(patterns: Iterable[str], groups: Mapping[str, list[str]], kinds: Iterable[str]) -> set[str]:
    """The kinds that patterns, or groups of patterns, stand for. Raises ValueError for one that fits none."""
    found: set[str] = set()
    for pattern in patterns:
        fitting = kinds_of(groups[pattern], groups, kinds) if pattern in groups else set(fnmatch.filter(kinds, pattern))
        if not fitting:
            raise ValueError(f"no kind of run is called {pattern}")
        found |= fitting
    return found


def main(words: list[str]) -> int:
    started, described = time.monotonic(), yaml.safe_load((ROOT / ".ci" / "sabotage.yaml").read_text())
    rows = [(row, kinds_of(row["stale"], described["groups"], described["kinds"])) for row in described["damages"]]
    rows += [(row, set()) for row in described["harmless"]]
    everything, words = "--all" in words, [word for word in words if word != "--all"]
    rows = [(row, users) for row, users in rows if not words or any(word in row["what"] for word in words)]
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, processes(workers) as pool:
        kinds, whole = described["kinds"], copied(Path(folder) / "as it is")
        parts = [dict(list(kinds.items())[at::workers]) for at in range(workers)]
        made = {kind: record for part in pool.map(records, [whole] * workers, parts) for kind, record in part.items()}

        def some(kinds: set[str], count: int) -> list[str]:
            there = sorted(kinds & made.keys())
            return there if everything else random.sample(there, min(count, len(there)))

        def asked(users: set[str]) -> dict[str, dict[str, Any]]:
            return {kind: made[kind] for kind in some(users, USERS) + some(set(made) - users, OTHERS)}

        copies = [damaged(Path(folder) / str(number), row) for number, (row, _) in enumerate(rows)]
        wrong = 0
        for (row, users), found in zip(rows, pool.map(states, copies, [asked(users) for _, users in rows]), strict=True):
            stale = {kind for kind, state in found.items() if state == "stale"}
            odd = {kind: state for kind, state in found.items() if state not in ("fresh", "verified", "stale")}
            unseen, touched = (users & found.keys()) - stale, stale - users
            wrong += bool(unseen or touched or odd)
            verdict = f"unseen by {sorted(unseen)}; stale without using it {sorted(touched)}; {odd}" if unseen or touched or odd else "seen"
            print(f"{row['what']}: {len(stale)} of {len(found)} stale, {verdict}", flush=True)
    print(f"{len(rows)} changes tried on {len(made)} kinds of runs in {time.monotonic() - started:.0f} s, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
