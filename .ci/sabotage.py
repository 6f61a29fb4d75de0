"""Small damages to the code, of sabotage.yaml: each must turn the runs that use it stale, and no others:  python .ci/sabotage.py [WORD ...]

A record says that today's code would make it again. What records of one run of each kind would hold is computed by the code as it is; then
copies of the code are damaged, and each says in a process of its own which of these records it still vouches for: those of some kinds that
use what was damaged, drawn anew each time, and of some that do not; of all kinds with --all. With words, only damages with one of them in
their name are tried.
"""

from __future__ import annotations

import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
USERS, OTHERS = 6, 3  # the most kinds that are asked about a damage, of those that use what it touches and of the rest
SIZES = {"n_train": 64, "n_eval": 32}  # what is loaded to compare the data
RECORDS = """
import json, sys, warnings
warnings.simplefilter("ignore")
from lib import tasks
from lib.experiments.canary import canary
from lib.experiments.freshness import code_digest, data_of, fingerprint, loader_digest
from lib.experiments.settings import plan, labelled_plan
from lib.tasks.files.sources import DataError

asked, sizes, records = json.loads(sys.argv[1]), json.loads(sys.argv[2]), {}
for kind, wanted in asked.items():
    own = {name: value for name, value in wanted.items() if name not in ("experiment", "row")}
    planned = labelled_plan(wanted["experiment"], "quick")
    run = next(run for label, run in planned if label == wanted["row"] and own.items() <= run.items()) | sizes
    try:
        data = data_of(run)
        shadow = fingerprint(tasks.load(data.pop("task"), **data))
    except DataError as error:
        print(f"{kind} is left out: {error}", file=sys.stderr)
        continue
    records[kind] = {"run": run, "digest": code_digest(run), "loader": loader_digest(run), "canary": canary(run), "fingerprint": shadow}
print(json.dumps(records))
"""
STATES = """
import json, sys, warnings
warnings.simplefilter("ignore")
from lib.experiments.freshness import ReplayError, state

def state_of(record):
    try:
        return state(record)
    except ReplayError as error:
        return f"error: {error}"

print(json.dumps({kind: state_of(record) for kind, record in json.load(open(sys.argv[1])).items() if kind in sys.argv[2:]}))
"""


def python(code: str, *words: str, folder: Path) -> dict[str, Any]:
    """What that code prints, run on the copy of the package in `folder` by one thread."""
    paths = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{folder}: {done.stderr[-2000:]}")
    sys.stderr.write(done.stderr)
    return json.loads(done.stdout)


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
    with tempfile.TemporaryDirectory() as folder:
        records = python(RECORDS, json.dumps(described["kinds"]), json.dumps(SIZES), folder=copied(Path(folder) / "as it is"))
        file = Path(folder) / "records.json"
        file.write_text(json.dumps(records))

        def some(kinds: set[str], count: int) -> list[str]:
            there = sorted(kinds & records.keys())
            return there if everything else random.sample(there, min(count, len(there)))

        def tried(number: int) -> dict[str, str]:
            row, users = rows[number]
            asked = some(users, USERS) + some(set(records) - users, OTHERS)
            return python(STATES, str(file), *asked, folder=damaged(Path(folder) / str(number), row))

        wrong = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for (row, users), states in zip(rows, pool.map(tried, range(len(rows))), strict=True):
                stale = {kind for kind, state in states.items() if state == "stale"}
                odd = {kind: state for kind, state in states.items() if state not in ("fresh", "verified", "stale")}
                unseen, touched = (users & states.keys()) - stale, stale - users
                wrong += bool(unseen or touched or odd)
                verdict = (
                    f"unseen by {sorted(unseen)}; stale without using it {sorted(touched)}; {odd}" if unseen or touched or odd else "seen"
                )
                print(f"{row['what']}: {len(stale)} of {len(states)} stale, {verdict}", flush=True)
    print(f"{len(rows)} changes tried on {len(records)} kinds of runs in {time.monotonic() - started:.0f} s, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
