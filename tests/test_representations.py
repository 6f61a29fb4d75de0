"""Tensors and irreps, and the projectors onto what commutes with a group, against means over the group."""

import itertools

import pytest
import torch
from e3nn.o3 import Irrep

from lib.groups import haar
from lib.models.representations import (
    CLOSED,
    GROUPS,
    PLANES,
    Averages,
    BlockTrace,
    Coordinates,
    average,
    degrees,
    irreps_of,
    size_of,
    tensor_basis,
    tensor_counts,
    wigner,
)
from lib.models.tensor_mlp import gated
from tests.group_means import action, averaged, quadrature

DOUBLE = torch.float64
OUT, INTO = (2, 2, 1, 1, 1), (1, 2, 2, 1)  # every degree up to 4, in both parities but for the last


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*size, seed=0):
    return torch.randn(*size, generator=draws(seed), dtype=DOUBLE)


@pytest.fixture
def double():
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("channels", "counts", "copies", "with_gates"),
    [(532, (118, 39, 12, 4, 1), (137, 69, 26, 7, 1), 588), (378, (99, 33, 11, 3), (113, 53, 17, 3), 425)],
)
def test_channels_are_spread_over_tensors_as_in_emlp(channels, counts, copies, with_gates):
    assert tensor_counts(channels) == counts
    irreps = irreps_of(counts)
    assert tuple(sum(c for d, _, c in irreps if d == degree) for degree in range(len(copies))) == copies
    assert size_of(counts) == size_of(irreps) == channels
    assert size_of(gated(counts)) == with_gates
    assert irreps_of((0, 62)) == ((1, -1, 62),)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        tensor_counts(0)


def test_degree_one_is_the_vector_and_wigner_matrices_are_those_of_e3nn(double):
    g = haar(3, (), draws(), DOUBLE)
    torch.testing.assert_close(tensor_basis(1, DOUBLE, torch.device("cpu")), torch.eye(3, dtype=DOUBLE))
    torch.testing.assert_close(wigner(1, g), g)
    for degree in range(5):
        torch.testing.assert_close(wigner(degree, g), Irrep(degree, 1).D_from_matrix(g), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rank", range(5))
def test_tensors_are_the_irreps_that_are_listed(rank):
    basis = tensor_basis(rank, DOUBLE, torch.device("cpu"))
    torch.testing.assert_close(basis @ basis.T, torch.eye(3**rank, dtype=DOUBLE))
    g = haar(3, (), draws(), DOUBLE)
    tensor = torch.ones(1, 1, dtype=DOUBLE)
    for _ in range(rank):
        tensor = torch.kron(tensor, g)
    expected = torch.block_diag(*(wigner(degree, g) for degree in degrees(rank)))
    torch.testing.assert_close(basis @ tensor @ basis.T, expected, atol=1e-12, rtol=0)


def test_coordinates_are_irreps_in_the_order_that_is_listed(dtype):
    coordinates, g = Coordinates(OUT), -haar(3, (), draws(), DOUBLE)
    expected = torch.block_diag(*(parity * wigner(d, -g) for d, parity, copies in irreps_of(OUT) for _ in range(copies)))
    torch.testing.assert_close(action(OUT, g), expected, atol=1e-12, rtol=0)
    x = normal(5, size_of(OUT)).to(dtype)
    torch.testing.assert_close(coordinates.irreps(coordinates.tensors(x)), x)


# ---------------------------------------------------------------------------------------------------------- projectors


@pytest.mark.parametrize("group", GROUPS)
def test_averages_are_means_over_the_group(group):
    weight, other = normal(size_of(OUT), size_of(INTO)), normal(size_of(OUT), size_of(INTO), seed=1)
    averages, p = Averages(irreps_of(OUT), irreps_of(INTO)), ((1.0, group),)
    projected = averages(weight, p)
    torch.testing.assert_close(projected, averaged(group, weight, OUT, INTO), atol=1e-10, rtol=0)
    torch.testing.assert_close(averages(projected, p), projected, atol=1e-10, rtol=0)
    torch.testing.assert_close((projected * other).sum(), (weight * averages(other, p)).sum(), atol=1e-10, rtol=0)
    assert (weight - projected).norm() > 1 and projected.norm() > 0.1
    for g in quadrature(group, 2)[0][1:4]:
        torch.testing.assert_close(action(OUT, g) @ projected, projected @ action(INTO, g), atol=1e-10, rtol=0)


@pytest.mark.parametrize("group", CLOSED)
def test_block_traces_are_means_over_the_group(group, dtype):
    weight = normal(size_of(OUT), size_of(INTO))
    block_trace = BlockTrace(group, irreps_of(OUT), irreps_of(INTO))
    projected = block_trace(weight)
    torch.testing.assert_close(projected, Averages(irreps_of(OUT), irreps_of(INTO))(weight, ((1.0, group),)), atol=1e-12, rtol=0)
    g = -haar(3, (), draws(), DOUBLE) if group == "O(3)" else haar(3, (), draws(), DOUBLE)
    torch.testing.assert_close(action(OUT, g) @ projected, projected @ action(INTO, g), atol=1e-12, rtol=0)
    x = normal(5, size_of(INTO)).to(dtype)
    torch.testing.assert_close(block_trace.apply(weight.to(dtype), x), x @ projected.to(dtype).T)
    to_vectors = BlockTrace(group, ((1, -1, 2), (3, -1, 2)), ((1, -1, 1),))  # rows of a degree that no column has
    torch.testing.assert_close(to_vectors.apply(weight[:20, :3], x.to(DOUBLE)[:, :3])[:, 6:], torch.zeros(5, 14, dtype=DOUBLE))


@pytest.mark.parametrize("group", GROUPS)
def test_dimensions_are_those_of_the_character_formula(group):
    """dim = mean over g of tr_out(g) tr_in(g), where T_r has the trace tr(g)^r."""
    g, weights = quadrature(group, len(OUT) + len(INTO) - 2)
    trace = g.diagonal(dim1=-2, dim2=-1).sum(-1)
    characters = [sum(c * trace**r for r, c in enumerate(counts)) for counts in (OUT, INTO)]
    expected = (weights * characters[0] * characters[1]).sum().item()
    pairs = Averages(irreps_of(OUT), irreps_of(INTO)).pairs
    dimension = sum(copies * average(group, *pair).trace().item() for pair, (copies, _) in pairs.items())
    assert dimension == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(round(expected), abs=1e-9)
    if group in CLOSED:
        assert sum(a * b for a, b, *_ in BlockTrace(group, irreps_of(OUT), irreps_of(INTO)).blocks) == round(expected)


def test_what_commutes_with_a_group_commutes_with_its_subgroups():
    weight, averages = normal(size_of(OUT), size_of(INTO)), Averages(irreps_of(OUT), irreps_of(INTO))
    for plane, (smaller, larger) in itertools.product(PLANES, [("SO_{}(2)", "O_{}(2)"), ("SO_{}(2)", "SO(3)"), ("O_{}(2)", "O(3)")]):
        sub, whole = ((1.0, smaller.format(plane)),), ((1.0, larger.format(plane)),)
        projected = averages(weight, whole)
        torch.testing.assert_close(averages(projected, sub), projected, atol=1e-10, rtol=0)
        torch.testing.assert_close(averages(averages(weight, sub), whole), projected, atol=1e-10, rtol=0)
        assert (averages(weight, sub) - projected).norm() > 0.1
    with pytest.raises(ValueError, match=r"unknown group 'O\(2\)'"):
        average("O(2)", 1, 1, 1)
    with pytest.raises(ValueError, match=r"one of SO\(3\), O\(3\), got 'O_xy\(2\)'"):
        BlockTrace("O_xy(2)", irreps_of(OUT), irreps_of(INTO))
