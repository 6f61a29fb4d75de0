"""Training: independence of the stack, beta = 0, the optimiser, non-finite losses."""

import math

import pytest
import torch
from torch import nn

from lib import models, tasks
from lib.experiments import training
from lib.experiments.settings import labelled_plan
from lib.experiments.stack import Adam
from lib.experiments.training import fit
from lib.protocol import NonFiniteLossError, phase_of


@pytest.fixture
def task():
    return tasks.load_tiny("rotated_mnist", scenario="out")


@pytest.fixture(scope="module")
def orbits():
    return tasks.load("two_body", scenario="in", n_train=64, n_eval=40)


def numbers(result):
    return {key: result[key] for key in ("metrics", "curves", "basis")}


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize("method", ["standard", "augmented", "semola"])
def test_a_run_is_the_same_alone_and_in_a_stack(task, runs, method, size):
    stack = [{**runs[method], "seed": seed, "lr": 1e-3 * (1 + seed)} for seed in range(size)]
    together = fit(task, stack)
    for run in (stack[0], stack[-1]):
        assert numbers(fit(task, [run])[0]) == numbers(together[stack.index(run)])
    assert numbers(together[0]) != numbers(together[1])


def test_who_watches_sees_the_curves_grow_and_changes_nothing(task, runs):
    seen, stack = [], [{**runs["semola"], "seed": seed} for seed in range(2)]
    watched = fit(task, stack, watch=lambda curves: seen.append([len(of_run["step"]) for of_run in curves]))
    assert list(map(numbers, watched)) == list(map(numbers, fit(task, stack)))
    assert seen == [[count, count] for count in range(1, len(watched[0]["curves"]["step"]) + 1)]
    with pytest.raises(TypeError, match="watched"):
        fit(task, stack, watched=None)


VECTORS = {
    "batch_size": 16, "steps": 8, "error_samples": 4, "error_draws": 3, "n_train": 64, "n_eval": 40, "scenarios": ["in"],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::lib.models.emlp.AmbiguousSymmetryWarning")
@pytest.mark.parametrize("label", ["MLP", "MLP + GT aug", "EMLP + GT", "SEMoLA_0", "Augerino+_2"])
def test_a_run_on_vectors_is_the_same_alone_and_in_a_stack(label, orbits):
    """These stacks are one program on a CPU too."""
    planned = dict(labelled_plan("two_body", "smoke", **VECTORS))
    stack = [{**planned[label], "seed": seed, "lr": 1e-3 * (1 + seed)} for seed in range(6)]
    together, two = fit(orbits, stack), fit(orbits, stack[:2])
    first, last = (fit(orbits, [run])[0] for run in (stack[0], stack[5]))
    for expected, stacked in ((first, together[0]), (first, two[0]), (last, together[5])):
        assert (expected["curves"], expected["basis"]) == (stacked["curves"], stacked["basis"])
        # an equivariant network's errors are rounding, and that of a product hangs on where its operands lie in memory
        assert expected["metrics"] == pytest.approx(stacked["metrics"], rel=1e-12, abs=1e-6 if label == "EMLP + GT" else 0)


@pytest.mark.parametrize("size", [1, 2])
def test_restarts_keep_the_best_on_validation(size, orbits):
    planned = dict(labelled_plan("two_body", "smoke", **VECTORS))
    once = {name: value for name, value in planned["SEMoLA_0"].items() if name != "restarts"}
    stack = [{**once, "seed": seed, "restarts": 3} for seed in range(size)]
    for run, result in zip(stack, fit(orbits, stack), strict=True):
        alone = [fit(orbits, [{**once, "seed": run["seed"] + training.FAR * i}])[0] for i in range(3)]
        scores = [one["metrics"]["val_mse"] for one in alone]
        assert len(set(scores)) == 3
        assert numbers(result) == numbers(alone[scores.index(min(scores))])
        assert [one["val_mse"] for one in result["restarts"]] == scores


@pytest.mark.parametrize("method", ["standard", "semola"])
def test_one_program_for_the_stack_agrees_with_turns(task, runs, method, monkeypatch):
    """What a GPU runs, vmap over the members, against one after another; in float64 on the CPU."""
    stack = [{**runs[method], "seed": seed, "lr": 1e-3 * (1 + seed)} for seed in range(3)]
    if method == "semola":
        stack = [{**run, "lambda_sparse": 0.01 * i} for i, run in enumerate(stack, 1)]
    turns = fit(task.to("cpu", torch.float64), stack)
    monkeypatch.setattr("lib.models.cnn.CNN.loops_on_cpu", False)
    at_once = fit(task.to("cpu", torch.float64), stack)
    for a, b in zip(turns, at_once, strict=True):
        for name, values in a["curves"].items():
            assert values == pytest.approx(b["curves"][name], rel=1e-9, abs=1e-9), name
        assert a["metrics"] == pytest.approx(b["metrics"], rel=1e-7, abs=1e-9)


def test_beta_zero_equals_standard_bit_for_bit(task, runs):
    plain = fit(task, [runs["standard"]])[0]
    same = {"lr": runs["standard"]["lr"], "lambda_equiv": 0.0}
    for method in ("augmented", "semola"):
        other = fit(task, [{**runs[method], **same}])[0]
        assert other["curves"]["val_loss"] == plain["curves"]["val_loss"]
        assert other["curves"]["task"] == plain["curves"]["task"]
        assert all(other["metrics"][name] == value for name, value in plain["metrics"].items() if name.endswith("_plain"))


def test_stacks_of_different_shapes_are_refused(task, runs):
    with pytest.raises(ValueError, match="these differ in batch_size"):
        fit(task, [runs["standard"], {**runs["standard"], "batch_size": 3}])


@pytest.mark.parametrize("strided", [False, True])
def test_adam_is_torch_adam(dtype, strided):
    """Two members share a rate; a gradient's entries need not be neighbours in memory; long enough for whole and partial registers."""
    draws, rates = torch.Generator().manual_seed(0), [1e-3, 1e-2, 0.1, 1e-2]
    gradients = torch.randn(20, 4, 1003, generator=draws, dtype=dtype)
    if strided:
        gradients = gradients.mT.contiguous().mT
    theta = torch.randn(4, 1003, generator=draws, dtype=dtype)
    parameters = [nn.Parameter(row.clone()) for row in theta]
    adam = Adam(theta, torch.tensor(rates, dtype=dtype)[:, None])
    optimiser = torch.optim.Adam([{"params": [p], "lr": 0.5 * lr} for p, lr in zip(parameters, rates, strict=True)])
    for gradient in gradients:
        adam.step(theta, gradient, 0.5)
        for parameter, row in zip(parameters, gradient, strict=True):
            parameter.grad = row.clone()
        optimiser.step()
    exact = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(theta, torch.stack([p.detach() for p in parameters]), **exact)


def test_a_loss_that_is_not_finite_stops_the_run(task, runs):
    with pytest.raises(NonFiniteLossError, match=r"step \d+ of seed 0"):
        fit(task, [{**runs["semola"], "lambda_sparse": math.inf}])


def test_nan_in_the_data_is_named(task):
    x, y = task.train
    with pytest.raises(ValueError, match="task rotated_mnist: x of train holds NaN or infinite values"):
        training.Task(**{**vars(task), "train": (x.masked_fill(x == x.max(), torch.nan), y)})


def test_best_weights_on_validation_are_kept(task, runs):
    """A run whose validation loss rises again is evaluated as if it had stopped at the lowest."""
    run = {**runs["standard"], "steps": 60, "lr": 0.02, "evaluations": 60}
    result = fit(task, [run])[0]
    assert result["curves"]["step"] == [*range(1, 61)]
    losses = result["curves"]["val_loss"]
    best = losses.index(min(losses)) + 1
    assert 1 <= best < 60
    assert losses[-1] > losses[best - 1]
    assert fit(task, [{**run, "steps": best}])[0]["metrics"] == result["metrics"]
    assert fit(task, [runs["standard"] | {"steps": 60}])[0]["curves"]["step"] == [*range(6, 61, 6)], "ten where no number is named"


@pytest.mark.parametrize(
    "call", [lambda: models.build("gcn", torch.Generator(), torch.Size([3]), torch.Size([3])), lambda: tasks.load("mnist")]
)
def test_unknown_names_are_named(call):
    with pytest.raises(KeyError, match="unknown"):
        call()


def test_phases_of_a_run():
    run = {"steps": 100, "warmup": 0.3, "decay": 0.6}
    assert [phase_of(run, step) for step in (15, 30, 45, 60, 100)] == [
        pytest.approx(phase) for phase in ((0.5, 1.0, 0.25), (1.0, 1.0, 1.0), (1.0, 0.5, 1.0), (1.0, 0.0, 1.0), (1.0, 0.0, 1.0))
    ]
    assert phase_of({"steps": 100}, 1) == (1.0, 1.0, 1.0)
    assert phase_of({"steps": 100, "decay": 0.5}, 25) == (1.0, 0.5, 1.0)
