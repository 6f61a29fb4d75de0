"""Shapes are checked in every test: jaxtyping's annotations through beartype, on all of lib."""

from jaxtyping import install_import_hook

with install_import_hook("lib", "beartype.beartype"):
    import lib.augmenter
    import lib.evaluation
    import lib.liegan
    import lib.losses
    import lib.metrics
    import lib.models.cnn
    import lib.models.egnn
    import lib.models.emlp
    import lib.models.gatr
    import lib.models.gcnn
    import lib.models.gnn
    import lib.models.mlp
    import lib.models.se3_transformer
    import lib.models.soft_mlp
    import lib.models.tensor_mlp
    import lib.models.transformer
    import lib.probe
    import lib.representations
    import lib.skeleton
    import lib.tasks.discrete_rotation
    import lib.tasks.md17
    import lib.tasks.mocap
    import lib.tasks.nbody
    import lib.tasks.partial_permutation
    import lib.tasks.planted_symmetry
    import lib.tasks.rotated_mnist
    import lib.tasks.tokens
    import lib.tasks.two_body
    import lib.train  # noqa: F401

import pytest
import torch

from lib.plan import labelled_plan


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def smoke_runs() -> list:
    """The smoke runs of rotated_mnist of a CNN without, with known and with learned augmentation."""
    return [run for label, run in labelled_plan("rotated_mnist", "smoke") if label in ("CNN", "CNN + GT aug", "SEMoLA")]


@pytest.fixture
def runs(smoke_runs) -> dict:
    """They by method, made small enough for the made-up task."""
    small = {"batch_size": 4, "error_samples": 4, "error_draws": 3, "test_copies": 2, "steps": 6}
    return {run["method"]: {**run, **small} for run in smoke_runs}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request) -> torch.dtype:
    return request.param
