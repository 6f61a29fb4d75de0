"""Sweeps on real clusters, of processes of their own: a worker that dies costs nothing but its time, and records are the local ones."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lib.experiments.settings import labelled_plan
from lib.experiments.store import record_path
from lib.experiments.sweep import train_missing
from lib.experiments.values import ConfigError
from lib.files import ROOT

EXPERIMENT = "discrete_rotation"
LABELS, SIZES = ("MLP", "MLP + GT aug", "SEMoLA"), {"n_train": 200, "n_eval": 20, "batch_size": 32, "steps": 250}
RUNS = [run for label, run in labelled_plan(EXPERIMENT, "smoke", seeds=[0, 1], **SIZES) if label in LABELS]
SWEEP = """
import json, sys
from pathlib import Path
from lib.experiments import sweep

left = sweep.train_missing(sys.argv[1], json.loads(sys.argv[2]), results=Path(sys.argv[3]), backend=sys.argv[4])
sys.exit(left)
"""
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """Records made without a cluster."""
    folder = tmp_path_factory.mktemp("local")
    assert train_missing(EXPERIMENT, RUNS, results=folder, backend="serial") == 0
    return folder


@pytest.fixture
def started():
    """Starts programs, whose groups of processes end with the test."""
    running = []

    def start(*command: str, **environment: str) -> subprocess.Popen:
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=given,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def scheduler(started) -> tuple[subprocess.Popen, str]:
    """A Dask scheduler and its address."""
    process = started(BIN / "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    for line in process.stdout:
        if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
            return process, found[1]
    raise AssertionError("the scheduler did not start")


def sweep(started, results: Path, backend: str, **environment: str) -> subprocess.Popen:
    return started(sys.executable, "-c", SWEEP, EXPERIMENT, json.dumps(RUNS), results, backend, **environment)


def records(results: Path) -> list[dict]:
    return [json.loads(record_path(EXPERIMENT, run, results).read_text()) for run in RUNS]


def agree(results: Path, local: Path) -> bool:
    """Whether the records say the same, to the last bit."""
    same = ("run", "metrics", "curves", "basis", "canary", "digest")
    pairs = zip(records(results), records(local), strict=True)
    return all(one[key] == other[key] for one, other in pairs for key in same)


def wait_for_a_record(results: Path, client: subprocess.Popen) -> None:
    while not list(results.rglob("runs/*/*.json")):
        assert client.poll() is None, client.stdout.read()
        time.sleep(0.02)


def test_a_dask_worker_that_is_killed_costs_only_its_time(started, scheduler, local, tmp_path):
    _, address = scheduler
    one, _ = (started(BIN / "dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2))
    client = sweep(started, tmp_path, "dask", DASK_SCHEDULER_ADDRESS=address)
    wait_for_a_record(tmp_path, client)
    os.killpg(one.pid, signal.SIGKILL)
    assert client.wait(120) == 0, client.stdout.read()
    assert agree(tmp_path, local)


def test_what_was_recorded_outlives_the_scheduler_and_the_rest_is_made_without_it(started, scheduler, local, tmp_path):
    process, address = scheduler
    started(BIN / "dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    client = sweep(started, tmp_path, "dask", DASK_SCHEDULER_ADDRESS=address)
    wait_for_a_record(tmp_path, client)
    os.killpg(process.pid, signal.SIGKILL)
    assert client.wait(120) != 0 and "the same command goes on from there" in client.stdout.read()
    kept = {path: path.read_bytes() for path in tmp_path.rglob("runs/*/*.json")}
    assert 1 <= len(kept) < len(RUNS), "it was to be lost in the middle"
    assert train_missing(EXPERIMENT, RUNS, results=tmp_path, backend="serial") == 0
    assert {path: path.read_bytes() for path in kept} == kept and agree(tmp_path, local)


def test_a_ray_worker_that_is_killed_costs_only_its_time(started, local, tmp_path):
    client = sweep(started, tmp_path, "ray", RAY_ADDRESS="local")
    wait_for_a_record(tmp_path, client)
    workers = [child for child in psutil.Process(client.pid).children(recursive=True) if " ".join(child.cmdline()).startswith("ray::train")]
    workers[0].kill()
    assert client.wait(120) == 0, client.stdout.read()
    assert agree(tmp_path, local)


def test_a_worker_of_several_threads_is_refused(started, scheduler, tmp_path, monkeypatch):
    _, address = scheduler
    started(BIN / "dask", "worker", address, "--nthreads", "2", "--no-nanny", "--no-dashboard")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    with pytest.raises(ConfigError, match="several threads: start it with --nthreads 1"):
        train_missing(EXPERIMENT, RUNS, results=tmp_path, backend="dask")


def test_an_unknown_backend_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--backend must be one of loky, multiprocessing, serial, dask, ray, got 'mpi'"):
        train_missing(EXPERIMENT, RUNS, results=tmp_path, backend="mpi")
