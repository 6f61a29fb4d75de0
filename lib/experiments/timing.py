"""Times are probed, one method after another in one process, never taken from sweeps.

A probe trains a few steps and predicts a few batches, after a warm-up. Tables multiply: seconds a step x steps, seconds a sample x samples.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lib import tasks
from lib.draws import random_stream
from lib.experiments import evaluation
from lib.experiments.canary import trainer_of
from lib.experiments.freshness import code_digest
from lib.experiments.sections import parameters
from lib.experiments.store import RESULTS, MissingRecordError, provenance, read_record, write_record
from lib.experiments.sweep import discovered, reuse_memory
from lib.experiments.trainable import Trainable
from lib.experiments.values import DATA
from lib.losses import WHOLE
from lib.protocol import Run

TIMED = ("smoke", "quick", "paper", "best")  # the profiles behind tables; what a search tries is not timed
SIZED = ("md17",)  # tasks whose scenarios have samples of their own size
WARM_UP, STEPS, PASSES = 5, 40, 9  # steps not counted, steps counted, timed passes
BATCH = 500  # samples of a pass, at most
IRRELEVANT = (  # what costs no time
    "seed", "scenario", "steps", "lr", "lr_discriminator", "n_train", "n_eval", "error_samples", "error_draws", "mask", "start", "sigma",
    "basis", "restarts",
)  # fmt: skip
WEIGHTS = "lambda_"  # of terms: whether one is zero, so that its term is not computed, is what costs time


def probe_path(experiment: str, run: Run, results: Path = RESULTS) -> Path:
    """<results>/runs/<experiment>/probe-<model>-<method>-<digest of what the speed depends on>.json"""
    kept = ("scenario",) if run["task"] in SIZED else ()
    relevant = {
        name: value != 0 if name.startswith(WEIGHTS) else value for name, value in run.items() if name not in IRRELEVANT or name in kept
    }
    key = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:10]
    return Path(results) / "runs" / experiment / f"probe-{run['model']}-{run['method']}-{key}.json"


def probe(run: Run, device: str = "cpu", threads: int = 1, known: torch.Tensor | None = None) -> dict[str, Any]:
    """Median seconds, and quartiles, of an optimiser step and of a prediction per sample by both predictors.

    `known` generators take the place of the ground truth, as in `lib.experiments.training.fit`.
    """
    torch.set_num_threads(threads)
    reuse_memory()
    data = {name: run[name] for name in DATA if name in run} | {
        "n_train": max(BATCH, run["batch_size"]),
        "n_eval": min(BATCH, run["n_eval"]),
    }
    task = tasks.load(run["task"], **data).to(device)

    def now() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    # validation passes fall on a few steps only; the median does not see them
    times: list[float] = []
    made = {"digest": code_digest(run), **provenance(device, threads)}
    short = {**run, "steps": WARM_UP + STEPS, "error_samples": 1, "error_draws": 1}
    short.pop("restarts", None)
    trainer_of(run).fit(task, [short], lambda _: times.append(now()), known=known)
    record = {"run": run, "step_s": spread([b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)])}
    if "error_samples" not in run:  # it discovers and does not predict
        return {**record, **made}

    trainable = Trainable(run, task, known)
    record |= parts_of_a_step(trainable, task, run, now)
    with torch.no_grad():
        for suffix, predict in evaluation.predictors(trainable, task, run).items():
            if suffix and not trainable.averages:
                record[f"predict_s{suffix}"] = record["predict_s"]  # the same predictor
                break
            passes = [seconds(predict, task.test[0], now) / len(task.test[0]) for _ in range(PASSES + 1)]
            record[f"predict_s{suffix}"] = spread(passes[1:])
    return {**record, **made}


def parts_of_a_step(trainable: Trainable, task: tasks.Task, run: Run, now: Callable[[], float]) -> dict[str, Any]:
    """Seconds of the objective of one batch (both of its terms), of its gradient, and of predicting the batch; on CUDA, the peak of
    allocated memory in bytes of the first two."""
    x, y = (t[: run["batch_size"]] for t in task.train)
    draws, cuda = random_stream(run["seed"], "probe", x.device), x.device.type == "cuda"
    coefficients = None if trainable.augmenter is None else trainable.augmenter.coefficients(len(x), run["copies"], draws)
    weights = {name: run[name] for name in trainable.method.hyperparameters}
    times = {"forward_s": [], "backward_s": [], "inference_s": []}
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP + PASSES):
        start = now()
        loss, _ = trainable(x, y, coefficients, weights, WHOLE)
        middle = now()
        loss.backward()
        times["forward_s"].append(middle - start)
        times["backward_s"].append(now() - middle)
        trainable.zero_grad(set_to_none=True)
    peak = {"peak_bytes": torch.cuda.max_memory_allocated()} if cuda else {}
    with torch.no_grad(), evaluation.evaluating(trainable.model):
        times["inference_s"] = [seconds(trainable.model, x, now) for _ in range(WARM_UP + PASSES)]
    return {**{name: spread(values[WARM_UP:]) for name, values in times.items()}, **peak}


def seconds(predict: Callable, x: torch.Tensor, now: Callable[[], float]) -> float:
    start = now()
    predict(x)
    return now() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high, "n": len(values)}


def timed(experiment: str) -> bool:
    """Whether an experiment's tables show times."""
    return parameters(experiment).get("timed", True)


def probes(experiment: str, runs: Sequence[Run], results: Path = RESULTS) -> list[dict[str, Any]]:
    """The probe of each run, with the state `fresh` or `earlier code`; no times where an experiment shows none.

    Raises MissingRecordError with the command that makes a missing one.
    """
    if not timed(experiment):
        return [{"state": "fresh"}] * len(runs)
    found = []
    for run in runs:
        path = probe_path(experiment, run, results)
        record = read_record(path)
        if record is None:
            raise MissingRecordError(f"there is no timing {path.stem}: measure it with `python -m lib time {experiment}`")
        state = "fresh" if record["digest"] == code_digest(record["run"]) else "earlier code"
        found.append({**record, "run": run, "state": state})
    return found


def probe_missing(experiment: str, runs: Sequence[Run], results: Path = RESULTS, device: str = "cpu", again: bool = False) -> int:
    """Measure what is missing, or everything `again`; returns how many probes were made. Runs that take their basis from others need it."""
    paths = {probe_path(experiment, run, results): run for run in reversed(runs) if timed(experiment)}
    todo = {path: run for path, run in reversed(paths.items()) if again or not path.is_file()}
    for path, run in todo.items():
        source = discovered(experiment, run, results)
        record = probe(run, device, known=None if source is None else torch.tensor(source["basis"]))
        write_record(path, record)
        print(f"{path.stem}: {1e3 * record['step_s']['median']:.1f} ms a step")
    return len(todo)
