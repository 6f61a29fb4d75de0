"""What each method was given before it stood in a table: configurations and looks at validation in searches, then starts and phases.

A search is a profile that settings are chosen from, on validation; its seeds are those of no table. A configuration that two searches try
counts in both. Of a run, validation is looked at after each of its `evaluations`, and once more at each of its `restarts`' ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from lib.experiments.sections import parameters
from lib.experiments.settings import labelled_plan
from lib.experiments.store import RESULTS, record_path
from lib.experiments.sweep import resolved
from lib.losses import METHODS
from lib.protocol import EVALUATIONS, Run

SEARCHES = ("search", "finalists", "closing_the_gap", "beta_of_assignments", "calibration")  # how their names begin
REPLACED = {  # searches that decide no setting any more (params.yaml says why), and what does in their place
    ("rotated_mnist", "search"): "search_equal",
    ("rotated_mnist", "finalists"): "search_equal",
    ("rotated_mnist", "closing_the_gap"): "search_equal",
    ("rotated_mnist", "search_baselines"): "search_equal",
    ("rotated_mnist", "search_warmup"): "search_equal",
    ("rotated_mnist", "finalists_warmup"): "search_equal",
    ("two_body", "search"): "search_equal",
    ("two_body", "finalists"): "search_equal",
    ("two_body", "finalists_warmup"): "search_equal",
    ("two_body", "finalists_seeds"): "search_equal",
    ("two_body", "finalists_decay"): "search_equal",
    ("discrete_rotation", "search"): "search_equal",
    ("partial_permutation", "search"): "search_equal",
    ("nbody", "search_beta"): "search_equal",
    ("mocap", "search"): "search_equal",
    ("mocap", "search_equivariant"): "search_equal",
    ("mocap", "search_units"): "search_equal",
    ("mocap", "beta_of_assignments"): "search_equal",
    ("mocap_mlp", "search"): "search_equal",
    ("mocap_mlp", "search_units"): "search_equal",
}
OF_PAPER = "search_paper"  # replaces `search_equal` for what `paper` is given, at its number of steps
APART = {
    ("rotated_mnist", "search_out30"),
    ("rotated_mnist", "search_out30_warmup"),
    ("two_body_3", "search_push"),
}  # of a question that decides no setting
SHARED = {  # experiments that take the settings of another, or of another too
    "rotated_mnist_efficiency": ["rotated_mnist"],
    "rotated_mnist_ablations": ["rotated_mnist", "rotated_mnist_ablations"],
    "two_body_3": ["two_body"],
    "nbody_samples": ["nbody"],
    "loss_surface": ["nbody"],
    "flow_dial": ["flow"],
    "bounded_bodies": ["nbody"],
    "bounded_motion": ["mocap_mlp"],
    "bounded_orbits": ["two_body"],
    "capacity_bodies": ["nbody", "capacity_bodies"],
    "capacity_orbits": ["two_body"],
    "coverage_bodies": ["nbody", "capacity_bodies"],
    "depth_bodies": ["nbody", "capacity_bodies"],
}
OLDER = dict.fromkeys(("capacity_bodies", "coverage_bodies", "depth_bodies"), ("nbody", "search_beta"))  # still decides there
AUTHORS = "its authors' settings, not searched; no validation in its own run"
STATED = {  # experiment -> label -> how it was given less or more than the others of its table
    "rotated_mnist": {"LieGAN (8 filters)": "its authors' settings but for its filters, not searched; no validation in its own run"},
    "rotated_mnist_efficiency": {"LieGAN (8 filters)": "its authors' settings but for filters and steps, not searched; no validation"},
    "two_body": {
        **dict.fromkeys(("LieGAN_2", "LieGAN_4"), AUTHORS),
        "LieGAN_0": "its authors' settings for Mask_2, not searched; no validation in its own run",
    },
    "discrete_rotation": {"LieGAN": AUTHORS},
    "partial_permutation": {"LieGAN": "its code's defaults, not searched; no validation in its own run"},
    "qm9": {
        "LieGAN": "its code's defaults, not searched; no validation in its own run",
        "LieGAN aug": "SEMoLA's rate, not searched",
    },
    "bounded_orbits": dict.fromkeys(("MLP + aug", "REMUL", "REMUL, bounded"), "the plain network's rate, not searched"),
    "capacity_orbits": dict.fromkeys(("MLP + aug", "REMUL"), "no trials but two rates for every width, which the other rows have too"),
    "coverage_pulls": dict.fromkeys(("EMLP", "MLP, centred"), "as many configurations, on the one group that it is for"),
    "mocap_discovery": {"SEMoLA_3": "one trial less than SEMoLA_1, beside which it is not judged"},
    "md17_discovery": {"SEMoLA_3": "one trial less than SEMoLA_1, beside which it is not judged"},
}
STATED["two_body_3"] = STATED["two_body"]


def is_search(profile: str) -> bool:
    """Whether settings are, or were, chosen from that profile."""
    return profile.startswith(SEARCHES)


def budget(experiment: str, profile: str = "best", results: Path = RESULTS) -> pd.DataFrame:
    """One row for each label of the experiment at that profile: what its searches tried, and what its own runs have.

    `searched as` is the row whose trials are its own: itself, or the first with its network and method. `recorded` are the runs of these
    searches whose records are there; `replaced` ones belong to searches that decide nothing any more.
    """
    rows: dict[str, list[Run]] = {}
    profile = resolved(experiment, profile, results)
    for label, run in labelled_plan(experiment, profile):
        rows.setdefault(label, []).append(run)
    sources = SHARED.get(experiment, [experiment])
    searches = [(source, name) for source in sources for name in parameters(source)["profiles"] if is_search(name)]
    searches = [search for search in searches if search[1] != OF_PAPER or profile == "paper"]
    replaced = REPLACED.keys() | {(source, "search_equal") for source, name in searches if name == OF_PAPER}
    older = OLDER.get(experiment)
    unread = APART | ({(older[0], REPLACED[older])} if older else set())
    planned = {search: labelled_plan(*search) for search in searches if search not in unread}
    found = []
    for label, runs in rows.items():
        counts = dict.fromkeys(("configurations", "runs", "recorded", "looks", "replaced configurations", "replaced runs"), 0)
        names = []
        for search, trials in planned.items():
            name, tried = of_row(label, runs[0], trials)
            if search in replaced and search != older:
                counts["replaced configurations"] += configurations(tried)
                counts["replaced runs"] += len(tried)
                continue
            names += [name] if tried else []
            counts["configurations"] += configurations(tried)
            counts["runs"] += len(tried)
            counts["recorded"] += sum(record_path(search[0], run, results).is_file() for run in tried)
            counts["looks"] += sum(map(looks, tried))
        searched = "; ".join(dict.fromkeys(names))
        found.append({"row": label, "searched as": searched, **counts, **own(experiment, label, runs)})
    return pd.DataFrame(found).set_index("row")


def of_row(label: str, run: Run, trials: Sequence[tuple[str, Run]]) -> tuple[str, list[Run]]:
    """The row whose trials count for that label, and they: its own, or those of the first row with its network and method."""
    alike = [name for name, trial in trials if all(trial[part] == run[part] for part in ("model", "method"))]
    name = label if label in alike or not alike else alike[0]
    return name, [trial for other, trial in trials if other == name]


def configurations(runs: Sequence[Run]) -> int:
    """How many different settings there are among runs, whatever data and seeds they were tried on."""
    tried = ({name: value for name, value in run.items() if name not in ("scenario", "assignment", "seed")} for run in runs)
    return len({json.dumps(settings, sort_keys=True) for settings in tried})


def looks(run: Run) -> int:
    """How often a run looks at validation."""
    return 0 if METHODS[run["method"]].adversarial else (run.get("evaluations", EVALUATIONS) + 1) * run.get("restarts", 1)


def own(experiment: str, label: str, runs: Sequence[Run]) -> dict[str, Any]:
    """What a row's runs have in the table itself: starts, looks a run, phases, and what is to be said."""
    first = runs[0]
    phases = {name: first.get(name) for name in ("warmup", "decay")}
    stated = STATED.get(experiment, {}).get(label, "")
    return {"starts": first.get("restarts", 1), "looks a run": looks(first), **phases, "stated": stated}


def given(profile: str, *experiments: str) -> Styler:
    """The budgets of experiments at a profile, as a notebook shows them."""
    shown = pd.concat({name: budget(name, profile) for name in experiments}, names=["experiment"])
    shown = shown.droplevel("experiment") if len(experiments) == 1 else shown
    caption = "configurations, runs and looks at validation in searches; then the table's own runs"
    return shown.style.format(precision=3, na_rep="").set_caption(caption)
