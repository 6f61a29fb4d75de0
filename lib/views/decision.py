"""Does the data want it? For every data set whether its samples are oriented, whether its law is symmetric, and what helped most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lib.files import ROOT
from lib.views.figures.oriented import told_apart
from lib.views.notebook import ahead
from lib.views.tables import results_of, six_digits, write_csv

WAYS = ("augmentation", "penalty", "discovery", "architecture")


@dataclass(frozen=True)
class Data:
    """A data set: its group, its law's symmetry in words, and of an experiment's scenario the rows of each way; `none` is the network as
    it is, `strength` chooses among a dial's runs."""

    group: str
    law: str
    experiment: str
    scenario: str
    none: str
    augmentation: tuple[str, ...] = ()
    penalty: tuple[str, ...] = ()
    discovery: tuple[str, ...] = ()
    architecture: tuple[str, ...] = ()
    strength: float | None = None


IMAGES = {"none": "CNN", "augmentation": ("CNN + GT aug",), "discovery": ("SEMoLA",), "architecture": ("GCNN",)}
ORBITS = {
    "none": "MLP",
    "augmentation": ("MLP + GT aug",),
    "discovery": ("SEMoLA_0", "SEMoLA_2", "SEMoLA_4"),
    "architecture": ("EMLP + GT",),
}
FUNCTIONS = {"none": "MLP", "augmentation": ("MLP + GT aug",), "discovery": ("SEMoLA",)}
BODIES = {"none": "Transformer", "augmentation": ("Transformer + aug, Haar",), "penalty": ("REMUL, Haar",)}
WALKERS = {"none": "MLP", "augmentation": ("MLP + aug",), "penalty": ("MLP + REMUL",), "architecture": ("EMLP",)}
UPRIGHT = {"none": "Transformer", "augmentation": ("Transformer + aug, vertical",), "penalty": ("REMUL, vertical",)}
ATOMS = {"none": "GNN", "augmentation": ("GNN + aug",), "penalty": ("REMUL",), "architecture": ("EGNN",)}
ENERGIES = {"none": "No symmetry", "augmentation": ("SE(3) aug",), "penalty": ("REMUL",), "discovery": ("SEMoLA",)}
FILMS = {"none": "CNN", "augmentation": ("CNN + aug",), "penalty": ("REMUL",), "architecture": ("E2CNN",)}
DRIVEN = {"none": "CNN", "penalty": ("REMUL",), "architecture": ("E2CNN",), "strength": 20.0}
GRAVITY = "vertical only"
DATA = {
    "digits": Data("SO(2)", "but 6, 9", "rotated_mnist", "in", **IMAGES),
    "digits_90": Data("SO(2)", "but 6, 9", "rotated_mnist", "out", **IMAGES),
    "orbits": Data("SO(2)", "exact", "two_body", "in", **ORBITS),
    "orbits_quadrants": Data("SO(2)", "exact", "two_body", "out", **ORBITS),
    "sevenths": Data("SO(2)", "C7 only", "discrete_rotation", "in", **FUNCTIONS),
    "permutation": Data("SO(2)", "exact", "partial_permutation", "in", **FUNCTIONS),
    "bodies": Data("SO(3)", "exact", "nbody", "10deg", **BODIES, architecture=("SE(3)-Transformer", "GATr")),
    "walk": Data("SO(3)", GRAVITY, "mocap_mlp", "walk", **WALKERS),
    "run": Data("SO(3)", GRAVITY, "mocap_mlp", "run", **WALKERS),
    "walk_vertical": Data("SO(2)", "nearly", "mocap", "walk", **UPRIGHT),
    "run_vertical": Data("SO(2)", "nearly", "mocap", "run", **UPRIGHT),
    **{
        name: Data("SO(3)", "exact", "md17", name, **ATOMS)
        for name in ("aspirin", "ethanol", "malonaldehyde", "naphthalene", "salicylic", "toluene", "uracil")
    },
    "qm9": Data("SE(3)", "exact", "qm9", "lumo", **ENERGIES),
    "ocean": Data("C4", "nearly", "flow", "ocean", **FILMS),
    "turbulence": Data("C4", "exact", "flow", "simulated", **FILMS),
    "turbulence_driven": Data("C4", "broken", "flow_dial", "simulated", **DRIVEN),
}


def best_of(frame: pd.DataFrame, labels: tuple[str, ...], better: str) -> pd.DataFrame | None:
    """The runs of these rows at the settings whose mean over the seeds is the least on validation; None without any."""
    part = frame[frame.model.isin(labels)]
    if part.empty:
        return None
    settings = [str({name: value for name, value in run.items() if name != "seed"}) for run in part.run]
    return part[[setting == part.groupby(settings)[better].mean().idxmin() for setting in settings]]


def lines(told: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A line a data set, see `decision`."""
    for name, data in DATA.items():
        frame = results_of(data.experiment)
        frame = frame[(frame.scenario == data.scenario) & frame.run.map(lambda run, s=data.strength: s is None or run.get("strength") == s)]
        metric = next(column for column in frame if column.startswith("val_") and column.endswith("_plain"))
        errors = {"error": frame[metric], "tested": frame[metric.replace("val_", "test_")]}
        frame = frame.assign(**{name: 100 - score if "accuracy" in metric else score for name, score in errors.items()})
        found = {way: best_of(frame, getattr(data, way), "error") for way in WAYS}
        plain, found = best_of(frame, (data.none,), "error"), {way: part for way, part in found.items() if part is not None}
        ours = told[told.scenario == name]
        accuracy = ours[~ours.random].accuracy
        line = {"data set": name, "group": data.group, "told apart": accuracy.mean(), "std": accuracy.std(), "most": ours.ceiling.iloc[0]}
        line |= {"at random": ours[ours.random].accuracy.mean(), "law": data.law}
        line |= {"error": "share wrong" if "accuracy" in metric else metric.removeprefix("val_").removesuffix("_plain")}
        line |= {way: found[way].error.mean() / plain.error.mean() if way in found else None for way in WAYS}
        ahead_of_none = [way for way in found if ahead(found[way].error, plain.error)[1] is True]
        line |= {"ahead of none": "undecided" if len(plain) == 1 else ", ".join(ahead_of_none) or "no way"}
        tested = {way: ahead(found[way].tested, plain.tested)[1] is True for way in ahead_of_none}
        line |= {"on the test set": "" if len(plain) == 1 else ", ".join(way for way in tested if tested[way]) or "no way"}
        yield line | {"n": len(plain), "profile": plain.profile.iloc[0], "label": plain.data.iloc[0]}


def decision() -> pd.DataFrame:
    """A line a data set: how many samples in 100 a classifier tells from moved ones, at most and with labels at random; whether the law is
    symmetric; of each way its error on validation over the plain network's, both of f(x) alone, each at the settings with the least error
    there; the ways that are ahead of the plain network by two standard errors, "undecided" where there is one seed; and which of them are
    on the test set, too, whose samples no setting was chosen on and which in digits_90, orbits_quadrants and the films lie elsewhere. Each
    data set at the highest profile that is recorded.
    """
    table = pd.DataFrame(lines(told_apart(results_of("orientation"))))
    return table.assign(**{column: table[column].map(six_digits) for column in table.select_dtypes("float")})


def write(path: Path = ROOT / "results" / "tables" / "decision.csv") -> pd.DataFrame:
    """The table, written there."""
    table = decision()
    write_csv(table, path)
    return table
