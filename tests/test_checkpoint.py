"""A training that is killed, or whose time is up, goes on from its checkpoint bit by bit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lib import tasks
from lib.experiments import checkpoint, freshness, settings, sweep, training
from lib.experiments.checkpoint import Checkpoint, OutOfTimeError
from lib.experiments.store import read_record, record_path, write_record
from lib.files import ROOT

SMALL = {"n_train": 300, "n_eval": 20, "error_samples": 4, "error_draws": 2, "batch_size": 32}
STACKS = {  # experiment, label, seeds, steps
    "semola": ("discrete_rotation", "SEMoLA", [3, 4], 300),
    "gradual": ("nbody", "REMUL gradual", [3], 100),
    "clipped": ("nbody", "GATr", [3], 40),
    "adversarial": ("rotated_mnist", "LieGAN (8 filters)", [3], 40),  # with dropout and moving averages
}
TRAIN = """
import json, sys
from pathlib import Path
from lib.experiments import checkpoint, sweep
checkpoint.EVERY = 0.2
sweep.train_stack(sys.argv[1], json.loads(sys.argv[3]), results=Path(sys.argv[2]))
"""


def stack_of(name: str) -> tuple[str, list]:
    experiment, label, seeds, steps = STACKS[name]
    planned = settings.labelled_plan(experiment, "smoke", seeds=seeds, **SMALL, steps=steps)
    runs = [run for found, run in planned if found == label]
    of_last = [run for run in runs if run.get("lambda_equiv") == runs[-1].get("lambda_equiv")]
    return experiment, [{**run, "steps": steps, "batch_size": SMALL["batch_size"]} for run in of_last]  # discoveries have their own


def outcomes(experiment: str, stack: list, results) -> list[dict]:
    records = [read_record(record_path(experiment, run, results)) for run in stack]
    return [{name: record[name] for name in ("metrics", "basis", "curves", "run")} for record in records]


@pytest.mark.parametrize("name", STACKS)
def test_a_killed_training_goes_on_bit_by_bit(name, tmp_path):
    experiment, stack = stack_of(name)
    assert len(stack) == len(STACKS[name][2])
    killed, whole = tmp_path / "killed" / "results", tmp_path / "whole" / "results"
    command = [sys.executable, "-c", TRAIN, experiment, str(killed), json.dumps(stack)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    folder, started = killed.parent / "build" / "checkpoints", time.monotonic()
    while not list(folder.glob("*.npz")) and process.poll() is None and time.monotonic() - started < 120:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (path,) = folder.glob("*.npz")
    with np.load(path, allow_pickle=False) as kept:
        step, *_ = json.loads(str(kept["plain"]))
    assert 0 < step < STACKS[name][3], "it was not killed in the middle"
    assert not list(killed.rglob("*.json"))

    assert sweep.train_stack(experiment, stack, results=killed) == len(stack)
    assert not path.exists()
    assert sweep.train_stack(experiment, stack, results=whole) == len(stack)
    assert outcomes(experiment, stack, killed) == outcomes(experiment, stack, whole)
    for record in (read_record(record_path(experiment, run, killed)) for run in stack):  # with what it took before it was killed
        assert record["wall_s"] > record["train_s"] > 0 and record["core_s"] > 0


class Sliced(Checkpoint):
    """Its time is up after so many steps, however fast they are."""

    def due(self) -> bool:
        self.left = getattr(self, "left", 130) - 1
        return self.left == 0


class Counting:
    """Its steps sleep; it knows how many it has taken."""

    curves = 0

    def state(self) -> dict:
        return {"taken": torch.tensor(self.curves)}

    def restore(self, state: dict) -> None:
        assert state["taken"] == self.curves

    def step(self, number: int) -> None:
        self.curves += 1
        assert self.curves == number
        time.sleep(0.02)


def test_what_a_training_took_is_that_of_all_its_slices(tmp_path):
    """Ten steps of 0.02 s in four slices of three at most, of which none had more than three."""
    for done in (3, 6, 9, 10):
        kept, counting = Sliced(tmp_path, [{"seed": 0}], "digest", "cpu", deadline=0.0 if done < 10 else float("inf")), Counting()
        kept.left, took = 3, None
        with contextlib.suppress(OutOfTimeError):
            took = checkpoint.take_steps(counting, 10, counting.step, kept)
        assert counting.curves == done
    assert took >= 0.2 and kept.before[0] >= 0.18 and 0 < kept.before[1] < 0.18, "asleep it computes nothing"


def test_when_the_time_is_up_the_next_call_goes_on(tmp_path):
    _, stack = stack_of("semola")
    options = {name: value for name, value in freshness.data_of(stack[0]).items() if name != "task"}
    task, results, slices = tasks.load("discrete_rotation", **options), None, 0
    while results is None:
        slices += 1
        with contextlib.suppress(OutOfTimeError):
            results = training.fit(task, stack, checkpoint=Sliced(tmp_path, stack, "digest", "cpu", deadline=0.0))
    assert slices == 3
    for sliced, whole in zip(results, training.fit(task, stack), strict=True):
        assert {**sliced, "train_s": 0} == {**whole, "train_s": 0}


def test_another_codes_checkpoint_is_not_taken_up(tmp_path):
    mine, other = (Checkpoint(tmp_path, [{"seed": 0}], digest, "cpu") for digest in ("mine", "other"))
    mine.keep({"theta": torch.ones(2)}, [1])
    assert other.read() is None
    tensors, plain = mine.read()
    assert tensors["theta"].equal(torch.ones(2)) and plain == [1]


def test_nothing_is_kept_before_it_is_due_and_nothing_half(tmp_path, monkeypatch):
    kept = Checkpoint(tmp_path, [{"seed": 0}], "digest", "cpu")
    assert not kept.due()
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    assert kept.due()
    with pytest.raises(TypeError):
        kept.keep({}, object())  # no JSON
    assert not list(tmp_path.iterdir())
    over = Checkpoint(tmp_path, [{"seed": 0}], "digest", "cpu", deadline=time.monotonic() - 1)
    assert over.due()
    with pytest.raises(OutOfTimeError, match="goes on from"):
        over.keep({}, [1])


def test_with_another_basis_a_training_begins_anew(tmp_path):
    planned = settings.labelled_plan("discrete_rotation", "smoke", seeds=[3], **SMALL, steps=60)
    run = next(run for label, run in planned if label == "MLP + LieGAN aug")
    outcome = {}
    for name, places in {"changed": ((1, 2), (0, 1)), "whole": ((0, 1),)}.items():
        results = tmp_path / name / "results"
        for place in places:
            basis = np.zeros((1, 3, 3))
            basis[0][place] = 1.0
            write_record(results / "runs" / "discrete_rotation" / f"{run['basis']}.json", {"basis": basis.tolist()})
            last = place == places[-1]
            assert sweep.train_stack("discrete_rotation", [run], results=results, deadline=float("inf") if last else 0.0) == int(last)
        outcome[name] = outcomes("discrete_rotation", [run], results)
    assert outcome["changed"] == outcome["whole"]
