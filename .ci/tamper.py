"""Damages to what is committed: CI's own steps must fail on each, as they must pass without:  python .ci/tamper.py

Each is committed to a clone of its own, where the step of .ci/run that should see it runs, narrowed to the artefact that was damaged.
Damages to the code are sabotage.py's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDS = "results/runs/discrete_rotation/in-mlp-semola-s0-*.json"
TESTED = "python -m pytest -q -p no:cacheprovider tests/test_results.py -k '{}'"
FOLLOWS = TESTED.format("tables_follow and semola_tab16")
RENDERED = "dvc repro -q --force --single-item discrete_rotation && git diff --exit-code"


def digit(text: str) -> str:
    """Another second digit in the first number that has a point."""
    return re.sub(r"(\d\.\d*?)([1-9])", lambda found: found[1] + str(int(found[2]) % 9 + 1), text, count=1)


def swapped(text: str) -> str:
    """Two rows under each other's label."""
    one, other = "label: MLP + GT aug,", "label: MLP,"
    head, section = text.split("\ndiscrete_rotation:", 1)
    return head + "\ndiscrete_rotation:" + section.replace(one, "@", 1).replace(other, one, 1).replace("@", other, 1)


def better(text: str) -> str:
    """A record with a tenth of each error."""
    record = json.loads(text)
    record["metrics"] = {name: value / 10 if "mse" in name else value for name, value in record["metrics"].items()}
    return json.dumps(record)


def stale(text: str) -> str:
    """A record of code whose canary learned something else."""
    record = json.loads(text)
    record["canary"]["basis"] = [[[2 * entry for entry in row] for row in matrix] for matrix in record["canary"]["basis"]]
    return json.dumps({**record, "digest": "0" * len(record["digest"])})


def hashed(text: str) -> str:
    """Another hash for the first output of a stage."""
    return re.sub(r"(\n  discrete_rotation:\n.*?\n    outs:\n.*?md5: )\w{4}", r"\g<1>0000", text, count=1, flags=re.S)


DAMAGES: dict[str, tuple[str, Callable[[str], str], str]] = {  # the files, what is done to them, the step that must fail
    "a digit of a table": ("results/tables/semola_tab16.csv", digit, FOLLOWS),
    "a digit of a figure": ("figures/semola_fig10.csv", digit, TESTED.format("figures_follow and semola_fig10")),
    "two rows under each other's label": ("params.yaml", swapped, FOLLOWS),
    "a record that was made better": (RECORDS, better, FOLLOWS),
    "a stale record": (RECORDS, stale, TESTED.format("complete_and_not_stale and discrete_rotation-quick")),
    "an edited dvc.lock": ("dvc.lock", hashed, RENDERED),
}


def run(command: str, folder: Path) -> bool:
    """Whether it ended well there, with the package that lies there."""
    given = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return not subprocess.run(command, shell=True, cwd=folder, env=given, capture_output=True, check=False).returncode


def clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def seen(name: str, folder: Path) -> bool:
    """Whether its step fails after the damage."""
    pattern, damage, step = DAMAGES[name]
    before = {file: file.read_text() for file in clone(folder).glob(pattern)}
    for file, text in before.items():
        file.write_text(damage(text))
    if not before or any(file.read_text() == text for file, text in before.items()):
        raise RuntimeError(f"{name}: {pattern} is as it was; bring tamper.py up to date")
    subprocess.run(["git", "-c", "user.name=ci", "-c", "user.email=ci", "commit", "-qam", name], cwd=folder, check=True)
    found = not run(step, folder)
    print(f"{name}: {'seen' if found else 'NOT SEEN'}", flush=True)
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(os.cpu_count()) as pool:
        steps = sorted({step for _, _, step in DAMAGES.values()})
        whole = clone(Path(made) / "whole")
        failing = [step for step in steps if not run(step, whole)]
        for step in failing:
            print(f"fails without any damage: {step}")
        found = list(pool.map(lambda i: seen(list(DAMAGES)[i], Path(made) / str(i)), range(len(DAMAGES))))
    return int(bool(failing) or not all(found))


if __name__ == "__main__":
    sys.exit(main())
