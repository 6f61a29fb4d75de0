"""What proves the numbers: one recorded run, drawn at random, is trained again; a smoke run is compared with a stored baseline.

python .ci/prove.py [--write-baseline]
"""

from __future__ import annotations

import functools
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from lib import tasks
from lib.experiments.canary import alike, trainer_of
from lib.experiments.freshness import data_of
from lib.experiments.settings import labelled_plan, plan
from lib.experiments.store import agree, machine, provenance, read_record, record_path, write_record
from lib.experiments.sweep import load_task, stacked, state_of, train_missing
from lib.files import ROOT
from lib.precision import default_dtype
from lib.tasks.files.prepared import DataError

EXPERIMENTS = ("rotated_mnist", "discrete_rotation", "partial_permutation")  # tried at smoke
RECORDED = tuple(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["foreach"])  # one of their runs is drawn
BUDGET_S = 180  # a drawn run cost no more than this when it was recorded
BASELINE = ROOT / "tests" / "smoke_baseline.json"
# On another type of machine the rounding differs, and training amplifies it to another draw of the same run: two draws may then differ by
# three standard errors of their difference, 3 sqrt(s^2 + s^2) with s over the recorded seeds, and at least by this, in the metric's units.
SPREADS = 3.0 * 2**0.5
LEAST = {"accuracy": 1.5, "cosine": 0.02, "action_score": 0.02, "share_inside": 0.02}
RELATIVE = {"mse": 0.5, "E": 0.5, "mae": 1.0}  # what may be orders of magnitude apart: in parts of the recorded value
MOST_E = 0.03
# of smoke runs, on any machine
COMPARED = {
    "canary": alike,
    "curves": functools.partial(agree, tolerance=1e-6, floor=1e-8),
    "metrics": functools.partial(agree, tolerance=1e-2, floor=1e-3),
}


def tolerances(experiment: str, label: str, run: dict) -> dict[str, float]:
    """How far each metric may be from the record on another type of machine; the spread is that of the row's seeds."""
    same = [name for name in run if name not in ("seed", "basis")]
    row = [other for other_label, other in labelled_plan(experiment, "quick") if other_label == label]
    alike = [other for other in row if all(other.get(name) == run[name] for name in same)]
    seeds = [read_record(record_path(experiment, other))["metrics"] for other in alike]
    recorded = read_record(record_path(experiment, run))["metrics"]
    least = {name: limit for name in recorded for part, limit in LEAST.items() if part in name}
    least |= {name: share * value for name, value in recorded.items() for part, share in RELATIVE.items() if part in name}
    least |= {name: min(limit, MOST_E) for name, limit in least.items() if "E" in name}
    spread = {name: statistics.stdev(metrics[name] for metrics in seeds) if len(seeds) > 1 else 0.0 for name in least}
    return {name: max(limit, SPREADS * spread[name]) for name, limit in least.items()}


def retrained(runs: list[dict]) -> list[list[dict]]:
    """The runs as they are trained again: alone, which gives what their stack gave; but where a layer has a single output (scalar
    predictions, GATr), whose product rounds differently in a stack of one: with the runs that they were stacked with."""
    kinds = {(run["task"], run["scenario"]) for run in runs}
    scalar = {kind: not tasks.load_tiny(kind[0], scenario=kind[1]).outputs for kind in kinds}
    alone, together = [], []
    for run in runs:
        (together if run["model"] == "gatr" or scalar[run["task"], run["scenario"]] else alone).append(run)
    return [[run] for run in alone] + stacked(together, "cpu")


def drawn_from(affordable: list[tuple]) -> tuple:
    """One of them, of an experiment whose data are there."""
    drawn = random.choice(affordable)
    try:
        load_task("cpu", **data_of(drawn[1]))
    except DataError as error:
        print(f"{drawn[0]} is left out: {error}")
        return drawn_from([other for other in affordable if other[0] != drawn[0]])
    return drawn


def retrain(results: Path) -> bool:
    """Draw a recorded quick run, train it again, compare."""
    planned = [(experiment, run, again) for experiment in RECORDED for again in retrained(plan(experiment, "quick")) for run in again]
    states = [state_of(drawn[0], drawn[1]) for drawn in planned]
    today = "fresh" if "fresh" in states else "verified"  # of other code the last digits may be others
    planned = [drawn for drawn, state in zip(planned, states, strict=True) if state == today]
    affordable = [drawn for drawn in planned if len(drawn[2]) * read_record(record_path(drawn[0], drawn[1]))["wall_s"] <= BUDGET_S]
    experiment, run, stack = drawn_from(affordable)
    label = next(label for label, other in labelled_plan(experiment, "quick") if other == run)
    path = record_path(experiment, run)
    recorded = read_record(path)
    print(f"drawn of {len(affordable)} runs: {path.stem}, recorded at a cost of {recorded['wall_s']:.0f} s", flush=True)
    if "basis" in run:  # such a run is a stack of its own: no two share a basis
        source = path.with_name(f"{run['basis']}.json")
        write_record(results / "runs" / experiment / source.name, read_record(source))
    train_missing(experiment, stack, results=results, backend="serial")
    again = read_record(record_path(experiment, run, results))
    here = provenance("cpu", 1)
    same = today == "fresh" and all(recorded[key] == here[key] for key in ("machine", "versions", "threads"))
    allowed = dict.fromkeys(recorded["metrics"], 0.0) if same else tolerances(experiment, label, run)
    wrong = [name for name, limit in allowed.items() if not abs(again["metrics"][name] - recorded["metrics"][name]) <= limit]
    for name in sorted(recorded["metrics"]):
        print(f"  {name:24s} recorded {recorded['metrics'][name]:.6g}  again {again['metrics'][name]:.6g}")
    other = f"recorded on {recorded['machine']}, this is {machine('cpu')}" if today == "fresh" else "recorded by other code"
    kind = "exactly (the same type of machine)" if same else f"to {allowed} ({other})"
    print(f"compared {kind}: {'DIFFERENT in ' + ', '.join(wrong) if wrong else 'the same'}")
    return not wrong


def precise_curves(run: dict) -> dict[str, list]:
    """The run's curves, trained in float64; the ground truth takes the place of a basis that was found before, in float32.

    In float32 the rounding of another processor grew to 3 % of SEMoLA's cosine in ten steps, as Adam's are as long where a gradient is next
    to nothing; in float64 three instruction sets agree to 1e-11.
    """
    with default_dtype(torch.float64):
        options = data_of(run)
        task = tasks.load(options.pop("task"), **options).to("cpu", torch.float64)
        return trainer_of(run).fit(task, [run], **({"known": task.generators} if "basis" in run else {}))[0]["curves"]


def smoke(experiment: str, results: Path, write: bool) -> bool:
    """Train the smoke runs and compare them with the baseline."""
    runs = plan(experiment, "smoke")
    train_missing(experiment, runs, results=results, backend="serial")
    found = {}
    for run in runs:
        record = read_record(record_path(experiment, run, results))
        parts = {"canary": record["canary"], "curves": precise_curves(run), "metrics": record["metrics"]}
        found[record_path(experiment, run).stem] = json.loads(json.dumps(parts))
    baseline = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    if write:
        BASELINE.write_text(json.dumps({**baseline, experiment: found}, indent=1, sort_keys=True) + "\n")
        return True
    stored = baseline[experiment]
    good = found.keys() == stored.keys()
    for name, parts in found.items():
        for key, same in COMPARED.items():
            agrees = name in stored and same(parts[key], stored[name][key])
            good &= agrees
            print(f"  smoke {name}: {key} {'as stored' if agrees else 'DIFFERS'}")
    return good


def main() -> int:
    write, good = "--write-baseline" in sys.argv, True
    with tempfile.TemporaryDirectory() as folder:
        for experiment in EXPERIMENTS:
            good &= smoke(experiment, Path(folder), write)
        good &= write or retrain(Path(folder))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
