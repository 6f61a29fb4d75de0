"""QM9's molecules, from the mirror's arrays, the archive of its authors, or the tables of the package `qm9pack`: the same bytes by each."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Mapping

import numpy as np

from lib.tasks.files.sources import DataError, Source, reading

NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
MOLECULES = 130_831  # of 133,885: those whose geometry was found consistent
PARTS = ("part1", "part2", "part3")
SOURCES = {
    "arrays": Source(mirror="qm9/qm9_compact_min.npz"),
    "archive": Source(official="https://ndownloader.figshare.com/files/3195389"),
    "uncharacterised": Source(official="https://ndownloader.figshare.com/files/3195404", text=True),
    **{part: Source(package=("qm9pack==1.0.3", f"qm9pack/data/qm9_{part}.csv"), text=True) for part in PARTS},
}
Molecule = tuple[list[int], list[float], float, float]  # atomic numbers, positions one after another, HOMO, LUMO


def prepare(content: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Arrays of all molecules in their order: `count` of atoms; `z` and `positions` (angstrom) of all atoms; `homo`, `lumo` (hartree).

    Raises DataError for files that are not QM9's, or not all of it.
    """
    with reading("QM9's file cannot be read"):
        if "arrays" in content:
            with np.load(io.BytesIO(content["arrays"]), allow_pickle=False) as found:
                arrays = {new: found[old] for new, old in (("count", "n_atoms"), ("z", "Z"), ("positions", "pos"))}
                arrays |= {name: found[name] for name in ("homo", "lumo")}
        else:
            molecules = from_archive(content) if "archive" in content else from_tables(content)
            arrays = stacked(molecules)
    if len(arrays["count"]) != MOLECULES:
        raise DataError(f"QM9 has {MOLECULES} characterised molecules, found {len(arrays['count'])}")
    return arrays


def stacked(molecules: Iterator[Molecule]) -> dict[str, np.ndarray]:
    counts, numbers, positions, homo, lumo = [], [], [], [], []
    for z, places, one, two in molecules:
        if len(places) != 3 * len(z):
            raise DataError(f"molecule {len(counts) + 1} has {len(z)} atoms and {len(places)} coordinates")
        counts.append(len(z))
        numbers += z
        positions.append(np.array(places, np.float32))
        homo.append(one)
        lumo.append(two)
    return {
        "count": np.array(counts, np.uint8),
        "z": np.array(numbers, np.uint8),
        "positions": np.concatenate(positions).reshape(-1, 3),
        "homo": np.array(homo, np.float32),
        "lumo": np.array(lumo, np.float32),
    }


def from_tables(content: Mapping[str, bytes]) -> Iterator[Molecule]:
    """Of the package's tables; of their lines every other one is empty."""
    for part in PARTS:
        for row in csv.DictReader(line for line in content[part].decode().splitlines() if line):
            z = [NUMBERS[element] for element in re.findall("[A-Z]", row["Elements"])]
            places = [float(number) for number in re.sub(r"[\[\]]", "", row["XYZ_Ang"]).split(",")]
            yield z, places, float(row["HOMO_au"]), float(row["LUMO_au"])


def from_archive(content: Mapping[str, bytes]) -> Iterator[Molecule]:
    """Of the authors' .xyz files: the number of atoms; properties, the sixth of them (after tag and index) HOMO, the next LUMO; an atom a
    line. Exponents are written *^. The files that `uncharacterised` lists are left out."""
    listed = content["uncharacterised"].decode().splitlines()[9:-1]  # a table under a heading, over a line with its sum
    left_out = {int(line.split()[0]) for line in listed}
    with tarfile.open(fileobj=io.BytesIO(content["archive"])) as archive:
        files = sorted((entry.name, entry) for entry in archive if entry.name.endswith(".xyz"))
        for name, entry in files:
            if int(re.search(r"(\d+)\.xyz$", name)[1]) in left_out:
                continue
            count, properties, *lines = archive.extractfile(entry).read().decode().replace("*^", "e").splitlines()
            atoms = [line.split() for line in lines[: int(count)]]
            homo, lumo = properties.split()[7:9]
            yield [NUMBERS[atom[0]] for atom in atoms], [float(number) for atom in atoms for number in atom[1:4]], float(homo), float(lumo)
