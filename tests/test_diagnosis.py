"""What symmetry arrays have: the criterion, the words, the classifier, on functions whose symmetry is known."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from lib.diagnosis import Symmetry, advice, find_symmetry, from_graphs, in_radians, in_words, learn, split, told_apart
from lib.objective import Objective

TURN = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def network():
    return nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0))


def arrays(count: int, half: bool = False):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    x[:, 0] = x[:, 0].abs() + 0.5 if half else x[:, 0]
    return x, x[:, :2].square().sum(1) + x[:, 2]


def test_a_split_is_whole_and_the_same_each_time():
    x, y = arrays(200)
    one, other = split(x, y), split(x, y)
    assert [len(part[0]) for part in one.values()] == [140, 30, 30]
    assert torch.equal(torch.cat([part[0] for part in one.values()]).sort(0).values, x.sort(0).values)
    assert all(torch.equal(one[name][1], other[name][1]) for name in one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x, y[:-1]), "x has 200 samples and y 199"),
        (lambda x, y: (x[:99], y[:99]), "99 samples are too few"),
        (lambda x, y: (x, y.where(y > y.min(), math.nan)), "y holds NaN or infinite values"),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        split(*change(*arrays(200)))


@pytest.mark.parametrize(("ratios", "number"), [({1: 10.0, 2: 10.1}, 1), ({1: 60.0, 2: 90.0}, 0), ({1: 1.0, 2: 12.0, 3: 2.0}, 3)])
def test_the_number_of_generators_is_the_largest_whose_error_stays_within_tenfold(ratios, number):
    bases = {count: torch.full((count, 3, 3), float(count)) for count in ratios}
    found = Symmetry(ratios, bases, 1000.0)
    assert found.number == number and (found.basis is None) == (number == 0)
    assert str(found).startswith(f"{number} generator" if number else "no linear symmetry")
    assert Symmetry(ratios, bases, 99.9).number == 0 and str(Symmetry(ratios, bases, 99.9)).startswith("not decidable")


def test_it_finds_the_turns_of_a_function_and_no_other_symmetry():
    found = find_symmetry(split(*arrays(3000)), network, mse_loss, 3, most=2, steps=1000, lr=0.003)
    assert found.number == 1, found
    basis = in_radians(found.basis)
    assert abs((basis[0] * TURN).sum().item()) / 2 > 0.95 and in_words(basis[0]).startswith("rotation in the plane 1, 2, ")


def test_a_network_that_has_learned_little_decides_nothing():
    x, y = arrays(400)
    found = find_symmetry(split(x, torch.cos(9 * y)), network, mse_loss, 3, most=1, steps=20)
    assert found.ratios[1] < 10 and found.number == 0 and str(found).startswith("not decidable")


def test_samples_that_lie_one_way_are_told_from_moved_ones_and_others_are_not():
    for half in (True, False):
        share, spread = told_apart(split(*arrays(4000, half)), network, TURN[None], steps=400)
        assert spread == pytest.approx(0.5 / 1200**0.5) and (share > 0.7 if half else abs(share - 0.5) < 4 * spread)


def test_learning_keeps_the_weights_of_the_least_error_on_validation():
    data, model = split(*arrays(400)), network()
    best = learn(model, Objective("standard", loss=mse_loss), data, steps=30, lr=1.0)
    with torch.no_grad():
        assert mse_loss(model(data["val"][0]), data["val"][1]).item() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        (TURN, "rotation in the plane 1, 2, 1.00"),
        (torch.eye(3), "scaling of all, 1.00"),
        (torch.diag(torch.tensor([0.0, 2.0, 0.1])), "scaling of 2, 1.00"),
        (TURN.abs(), "hyperbolic turn of 1 and 2, 1.00"),
    ],
)
def test_a_generator_in_words(generator, words):
    assert in_words(generator) == words


def test_in_radians_a_full_turn_is_two_pi():
    turn = torch.linalg.matrix_exp(2 * math.pi * in_radians(5 * TURN[None]))
    torch.testing.assert_close(turn[0], torch.eye(3), atol=1e-5, rtol=0)


def test_advice_follows_what_was_found():
    none, one = Symmetry({1: 60.0}, {1: TURN[None]}, 999.0), Symmetry({1: 1.0}, {1: TURN[None]}, 999.0)
    assert advice(none, (0.9, 0.01)).startswith("no linear symmetry")
    assert advice(one, (0.51, 0.01)).startswith("the samples lie every way")
    assert advice(one, (0.9, 0.01)).startswith("the samples lie one way")


def test_graphs_of_one_size_are_arrays_and_others_are_refused():
    from torch_geometric.data import Data

    positions, energies = torch.randn(5, 4, 3), torch.randn(5)
    graphs = [Data(pos=place, vel=-place, y=energy) for place, energy in zip(positions, energies, strict=True)]
    x, y = from_graphs(graphs, vectors=("pos", "vel"))
    assert x.equal(torch.cat([positions, -positions], 1)) and y.equal(energies)
    assert from_graphs(graphs, target="vel")[1].equal(-positions)
    with pytest.raises(ValueError, match="graph 0 has no 'forces': it has"):
        from_graphs(graphs, vectors=("pos", "forces"))
    with pytest.raises(ValueError, match="graphs of 3, 4 nodes are no one array"):
        from_graphs([*graphs, Data(pos=torch.zeros(3, 3), y=torch.zeros(()))])
