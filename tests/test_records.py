"""Records are whole or absent: tried with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.experiments.settings import labelled_plan
from lib.experiments.store import DamagedRecordError, commit, read_record, record_path, write_record
from lib.experiments.sweep import train_missing
from lib.files import ROOT

EXPERIMENT = "discrete_rotation"
RUNS = [run for label, run in labelled_plan(EXPERIMENT, "smoke") if label in ("MLP", "MLP + GT aug", "SEMoLA")]
SWEEP = f"""
import sys
from pathlib import Path
from lib.experiments.sweep import train_missing

train_missing({EXPERIMENT!r}, {RUNS!r}, results=Path(sys.argv[1]), backend="serial")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Records of the three runs."""
    folder = tmp_path_factory.mktemp("results")
    assert train_missing(EXPERIMENT, RUNS, results=folder, backend="serial") == 0
    return folder


def test_a_killed_sweep_keeps_finished_records_and_goes_on_to_the_same_numbers(results, tmp_path):
    """SIGKILL to the whole process group as soon as one record is there, then again: the records equal an undisturbed sweep's."""
    folder, finished = tmp_path / "runs" / EXPERIMENT, {}
    sweep = [sys.executable, "-c", SWEEP, str(tmp_path)]
    process = subprocess.Popen(sweep, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not finished:
        finished = {p.name: p.read_text() for p in folder.glob("*.json")} if folder.exists() else {}
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(finished) < 3, "it was to be killed in the middle"
    assert all(json.loads(p.read_text()) for p in folder.glob("*.json")), "a record is there, but not whole"

    assert train_missing(EXPERIMENT, RUNS, results=tmp_path, backend="serial") == 0
    for name, text in finished.items():
        assert (folder / name).read_text() == text, "a finished record was touched"
    for run in RUNS:
        again, before = (json.loads(record_path(EXPERIMENT, run, where).read_text()) for where in (tmp_path, results))
        for key in ("run", "metrics", "curves", "basis", "canary", "digest"):
            assert again[key] == before[key], key


def test_a_record_that_cannot_be_written_whole_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "x.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_nothing_of_a_record_stays_where_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path / "x.json", {"loss": 1.0})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ['{"run": {', "[1]", '{"another": 1}'])
def test_a_damaged_record_is_named_with_its_path(tmp_path, content):
    (path := tmp_path / "x.json").write_text(content)
    with pytest.raises(DamagedRecordError, match=f"{path} is damaged"):
        read_record(path, "run")


def test_nothing_is_trained_when_all_is_there(results):
    before = {p: p.stat().st_mtime_ns for p in results.rglob("*.json")}
    assert train_missing(EXPERIMENT, RUNS, results=results) == 0
    assert before == {p: p.stat().st_mtime_ns for p in results.rglob("*.json")}


def test_no_run_starts_after_the_minutes_are_over(tmp_path):
    assert train_missing(EXPERIMENT, RUNS, results=tmp_path, minutes=-1.0, backend="serial") == 3
    assert list(tmp_path.rglob("*.json")) == []


def test_where_git_is_not_installed_a_record_names_no_commit(monkeypatch):
    assert commit.__doc__ and (ROOT / ".git").exists() == bool(commit())
    monkeypatch.setenv("PATH", "")
    assert commit() == ""
