"""Records are whole or absent, and know when the code has changed under them: tried on copies of the project, with real processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.plan import labelled_plan
from lib.records import ROOT, agree, read_record, record_path, state, write_record
from lib.runs import train_missing

STATES = """
import json
from lib.records import Path, read_record, record_path, state

paths = {{run["method"]: record_path("rotated_mnist", run, Path({results!r})) for run in {runs!r}}}
print(json.dumps({{method: state(read_record(path)) for method, path in paths.items()}}))
"""
SWEEP = """
from pathlib import Path
from lib.runs import train_missing

train_missing("rotated_mnist", {runs!r}, results=Path({results!r}), backend="serial")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory, smoke_runs) -> Path:
    """Records of the three smoke runs."""
    folder = tmp_path_factory.mktemp("results")
    assert train_missing("rotated_mnist", smoke_runs, results=folder, backend="serial") == 0
    return folder


def states_after(edit, runs: list, results: Path, folder: Path) -> dict[str, str]:
    """The records' states for a copy of lib to which `edit` was done."""
    shutil.copytree(ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", folder)
    for name, old, new in edit:
        path = folder / "lib" / name
        text = path.read_text()
        assert old in text, f"{name} holds no {old!r}"
        path.write_text(text.replace(old, new))
    code = STATES.format(results=str(results), runs=runs)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


ALL = ("standard", "augmented", "semola")
ROW = '    "augmented": Method('
EDITS = {
    "nothing": ([], dict.fromkeys(ALL, "fresh")),
    "a comment, a docstring and an annotation": (
        [
            ("losses.py", '"""The one objective', '# a comment\n"""Another docstring'),
            ("train.py", "    first = runs[0]\n", "    first = runs[0]  # why\n"),
            ("metrics.py", 'def accuracy(output: Float[Tensor, "B classes"]', "def accuracy(output: Tensor"),
        ],
        dict.fromkeys(ALL, "fresh"),
    ),
    "a new method row": (
        [("losses.py", ROW, '    "twice": Method(basis="fixed", alpha=1.0, beta=2.0),\n' + ROW)],
        dict.fromkeys(ALL, "verified"),
    ),
    "a renamed helper": ([("losses.py", "_is_zero", "is_nothing")], dict.fromkeys(ALL, "verified")),
    "a changed regulariser": (
        [("losses.py", "return basis.abs().sum()", "return basis.abs().mean()")],
        {"standard": "verified", "augmented": "verified", "semola": "stale"},
    ),
    "a changed equivariance term": (
        [("losses.py", "total = total + beta * terms", "total = total + 2 * beta * terms")],
        {"standard": "verified", "augmented": "stale", "semola": "stale"},
    ),
    "a changed metric": ([("metrics.py", "gap += difference / samples", "gap += 2 * difference / samples")], dict.fromkeys(ALL, "stale")),
    "code that no longer runs": (
        [("losses.py", "def sparsity_term(augmenter, x, gx, similarity, reach)", "def sparsity_term(augmenter)")],
        {"standard": "verified", "augmented": "verified", "semola": "stale"},
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_state_after(edit, smoke_runs, results, tmp_path):
    changes, expected = EDITS[edit]
    assert states_after(changes, smoke_runs, results, tmp_path) == expected


def test_a_killed_sweep_keeps_finished_records_and_goes_on_to_the_same_numbers(smoke_runs, results, tmp_path):
    """SIGKILL to the whole process group as soon as one record is there, then again: the records equal an undisturbed sweep's."""
    code = SWEEP.format(results=str(tmp_path), runs=smoke_runs)
    folder, finished = tmp_path / "runs" / "rotated_mnist", {}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not finished:
        finished = {p.name: p.read_text() for p in folder.glob("*.json")} if folder.exists() else {}
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(finished) < 3, "it was to be killed in the middle"
    assert all(json.loads(p.read_text()) for p in folder.glob("*.json")), "a record is there, but not whole"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    for name, text in finished.items():
        assert (folder / name).read_text() == text, "a finished record was touched"
    for run in smoke_runs:
        again, before = (json.loads(record_path("rotated_mnist", run, where).read_text()) for where in (tmp_path, results))
        for key in ("run", "metrics", "curves", "basis", "canary", "digest"):
            assert again[key] == before[key], key


def test_a_record_that_cannot_be_written_whole_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "x.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_run_is_stale_when_the_basis_that_it_took_has_changed(tmp_path):
    planned = {label: run for label, run in labelled_plan("discrete_rotation", "smoke") if "LieGAN" in label}
    assert train_missing("discrete_rotation", list(planned.values()), results=tmp_path, backend="serial") == 0
    source, user = (record_path("discrete_rotation", planned[label], tmp_path) for label in ("LieGAN", "MLP + LieGAN aug"))
    assert state(read_record(user), user.parent) == "fresh"
    record = read_record(source)
    write_record(source, {**record, "basis": [[[2 * entry for entry in row] for row in record["basis"][0]]]})
    assert state(read_record(user), user.parent) == "stale"
    source.unlink()
    assert state(read_record(user), user.parent) == "stale"


def test_nothing_is_trained_when_all_is_there(smoke_runs, results):
    before = {p: p.stat().st_mtime_ns for p in results.rglob("*.json")}
    assert train_missing("rotated_mnist", smoke_runs, results=results) == 0
    assert before == {p: p.stat().st_mtime_ns for p in results.rglob("*.json")}


def test_no_run_starts_after_the_minutes_are_over(smoke_runs, tmp_path):
    assert train_missing("rotated_mnist", smoke_runs, results=tmp_path, minutes=-1.0, backend="serial") == 3
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 * (1 + 1e-7)]}, True),
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 * (1 + 1e-5)]}, False),
        ({"x": 1.0}, {"x": 1.0, "y": 1.0}, False),
        ([1.0], [1.0, 1.0], False),
        ({"x": None}, {"x": None}, True),
        (None, {"x": 1.0}, False),
    ],
)
def test_agreement_of_canaries(a, b, same):
    assert agree(a, b) is same
