"""Shapes are checked in every test: jaxtyping's annotations through beartype, on all of lib that has any."""

import importlib
import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ["OMP_NUM_THREADS"] = "1"  # for what tests start, too: each core has a process of tests, and more threads wait for each other

LIB = Path(__file__).parents[1] / "lib"
CHECKED = [path for path in LIB.rglob("*.py") if path.stem != "__init__" and "from jaxtyping import" in path.read_text()]
install_import_hook([".".join(path.relative_to(LIB.parent).with_suffix("").parts) for path in CHECKED], "beartype.beartype")


def pytest_collectstart() -> None:
    """Large libraries first: under the hook nobody finds the bytecode that they were compiled to before. Who hands tests out needs none."""
    for library in ("beartype", "e3nn.o3", "seaborn"):
        importlib.import_module(library)


@pytest.fixture
def generator():
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture
def runs() -> dict:
    """The smoke runs of rotated_mnist by method, made small enough for the made-up task: without, with known, with learned augmentation."""
    from lib.experiments.settings import labelled_plan

    small = {"batch_size": 4, "error_samples": 4, "error_draws": 3, "test_copies": 2, "steps": 6}
    planned = {label: run for label, run in labelled_plan("rotated_mnist", "smoke") if label in ("CNN", "CNN + GT aug", "SEMoLA")}
    return {run["method"]: {**run, **small} for run in planned.values()}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    import torch

    return getattr(torch, request.param)
