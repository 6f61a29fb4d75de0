"""What is traced and replayed is to the bit what the plain code computes, and what cannot be traced is not."""

import pytest
import torch
from torch import nn

from lib.experiments import stack, traced
from lib.experiments.canary import shrunk, tiny
from lib.experiments.settings import labelled_plan
from lib.experiments.traced import Traced, program

STEPS = 6
KINDS = {  # one of each network, with the objective that asks most of it
    "convolutions": ("rotated_mnist", "SEMoLA"),
    "group convolutions": ("rotated_mnist", "GCNN"),
    "widths of a family": ("rotated_mnist", "Augerino"),
    "perceptrons under vmap": ("two_body", "SEMoLA_0"),
    "equivariant perceptrons": ("two_body", "EMLP + GT"),
    "tensors": ("mocap_mlp", "EMLP"),
    "a penalty": ("mocap_mlp", "RPP"),
    "weights that move": ("nbody", "REMUL gradual"),
    "multivectors": ("nbody", "GATr"),
    "spherical harmonics": ("nbody", "SE(3)-Transformer"),
    "messages": ("md17", "REMUL"),
    "equivariant messages": ("md17", "EGNN"),
}


def stacked(experiment, label, monkeypatch, traced_from):
    """The parameters and terms after some steps of a stack of two, gamma growing where there is one."""
    monkeypatch.setattr(stack, "TRACED_FROM", traced_from)
    run = dict(labelled_plan(experiment, "quick"))[label]
    run = {name: value for name, value in shrunk(run).items() if name not in ("restarts", "surface")} | {"steps": STEPS}
    run |= {"warmup": 0.5, "decay": 0.9} if "gamma" in run else {}
    made = stack.Stack(tiny(run, torch.float32), [run, {**run, "seed": run["seed"] + 1}])
    terms = [made.step(step) for step in range(1, STEPS + 1)]
    return made, terms


@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_training_is_to_the_bit_the_plain_one(kind, monkeypatch):
    plain, terms = stacked(*KINDS[kind], monkeypatch, traced_from=STEPS + 1)
    traced, others = stacked(*KINDS[kind], monkeypatch, traced_from=0)
    assert torch.equal(plain.theta, traced.theta)
    assert [[{name: term.item() for name, term in one.items()} for one in step] for step in terms] == [
        [{name: term.item() for name, term in one.items()} for one in step] for step in others
    ]


def counted(function):
    """The function, and a list that grows by one at each of its calls."""
    calls = []

    def call(*arguments):
        calls.append(1)
        return function(*arguments)

    return call, calls


def test_a_network_is_run_by_its_list_and_not_by_itself():
    network = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    function, calls = counted(network)
    traced = Traced(function)
    for call in range(1, 41):
        x = torch.full((4, 3), 1.0 * call)
        assert torch.equal(traced(x), network(x))
    assert len(calls) == 1 + 1 + 6  # the first call, the tracing, and what is looked at after 1, 2, 4, 8, 16 and 32 replays


def test_constants_are_computed_once_and_equal_calls_made_once():
    def function(x):
        eye = torch.eye(3) @ torch.ones(3, 3)
        return (x @ eye).relu() + (x @ eye).relu(), x.T.T.flatten().reshape(2, 3)

    x = torch.randn(2, 3)
    short = program(function, [x])
    assert all(map(torch.equal, short(x + 1), function(x + 1)))
    called = [node.target for node in short.graph.nodes if node.op == "call_function"]
    assert called == [torch.mm, torch.relu, torch.add]  # neither views nor constants


def test_what_is_written_in_place_is_written_anew_at_each_call():
    def function(x):
        sums = torch.zeros(3)
        early = sums + 1
        sums[:2].add_(x)
        sums += 1
        return sums, early, sums + 1

    short = program(function, [torch.ones(2)])
    for x in (torch.tensor([1.0, 2.0]), torch.tensor([5.0, 6.0])):
        assert all(map(torch.equal, short(x), function(x)))


def test_numbers_among_arguments_are_part_of_the_list():
    traced = Traced(lambda x, factor: factor * x)
    x = torch.ones(2)
    assert [traced(x, factor).tolist() for factor in (2.0, 2.0, 2.0, 3.0, 2.0, 3.0, 3.0)] == [
        [factor] * 2 for factor in (2.0, 2.0, 2.0, 3.0, 2.0, 3.0, 3.0)
    ]
    assert traced.replays == 3


def test_another_shape_or_precision_is_left_to_the_function_itself():
    traced = Traced(lambda x: x + torch.arange(x.shape[-1], dtype=torch.float32))
    inputs = [torch.ones(3)] * 3 + [torch.ones(5), torch.ones(3, dtype=torch.float64), torch.zeros(3)]
    found = [traced(x) for x in inputs]
    assert all(map(torch.equal, found, [traced.function(x) for x in inputs])) and traced.replays == 3
    assert [one.dtype for one in found[3:]] == [torch.float32, torch.float64, torch.float32]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * int(x.sum() > 0),
        lambda x: x[x > 0].sum(),
        lambda x: torch.nonzero(x).sum() * x,
        lambda x: x + torch.rand(3),
        lambda x: nn.functional.dropout(x),
    ],
    ids=["a value", "a mask", "nonzero", "noise", "dropout"],
)
def test_what_hangs_on_values_or_draws_is_never_replayed(function):
    called, calls = counted(function)
    traced = Traced(called)
    for sign in (1.0, 1.0, -1.0, 1.0):
        traced(sign * torch.ones(3))
    assert not traced.replays and len(calls) == 4 + 1


def test_what_makes_more_tensors_than_can_be_kept_is_never_replayed(monkeypatch):
    monkeypatch.setattr(traced, "LARGEST", 5 * 4000)
    few, many = (Traced(lambda x, times=times: sum(x * k for k in range(times))) for times in (2, 5))
    for call in (few, many):
        assert [call(torch.ones(1000)).sum().item() for _ in range(3)]
    assert few.replays == 2 and many.replays == 0


def test_a_network_that_counts_in_python_is_refused():
    calls = []

    def function(x):
        calls.append(1)
        return x * len(calls)

    traced = Traced(function)
    with pytest.raises(RuntimeError, match=r"replay 1 .*traces = False"):
        for _ in range(9):
            traced(torch.ones(2))


def test_an_error_of_the_function_itself_is_its_own():
    traced = Traced(lambda x, y: x @ y)
    traced(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        traced(torch.ones(2, 3), torch.ones(2, 3))
