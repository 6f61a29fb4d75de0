"""GATr and the SE(3)-Transformer: parameter counts, exact equivariance, the algebra against its rules, the dense network."""

import copy
import itertools

import ezgatr.nn.functional as functional
import pytest
import torch
from e3nn.o3 import Irreps
from torch.func import functional_call, vmap

from lib.groups import haar
from lib.models import pga
from lib.models.gatr import EquiLinear, GATr
from lib.models.se3_transformer import SE3Transformer, kernel_basis, undirected
from lib.models.transformer import Transformer
from lib.weights import last_name
from tests.dense_gatr import densify, equivariant_maps

SHAPES = torch.Size([4, 7]), torch.Size([4, 3])
TABLE, JOIN = pga.product_table(), pga.join_table()


def product(x, y, table=TABLE):
    return torch.einsum("ijk,j...,k...->i...", table, x, y)


def multivectors(*size):
    return torch.randn(16, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def reversion(x):
    """The order of vectors in each blade turned round: the inverse of a product of unit vectors."""
    return x * torch.tensor([(-1.0) ** (g * (g - 1) // 2) for g in pga.GRADES], dtype=x.dtype).view(16, *[1] * (x.ndim - 1))


def grade_involution(x):
    return x * torch.tensor([(-1.0) ** g for g in pga.GRADES], dtype=x.dtype).view(16, *[1] * (x.ndim - 1))


def motion(u, x, reflections):
    """The action of a product u of unit planes: u x u^-1, x's odd grades flipped for an odd number of planes."""
    return product(product(u, grade_involution(x) if reflections % 2 else x), reversion(u))


def planes(count):
    """The product of `count` unit planes a_0 e0 + n . e."""
    u = None
    for i in range(count):
        draw = torch.randn(4, generator=torch.Generator().manual_seed(10 + i), dtype=torch.float64)
        plane = torch.zeros(16, dtype=torch.float64)
        plane[1:4], plane[8] = draw[:3] / draw[:3].norm(), draw[3]
        u = plane if u is None else product(u, plane)
    return u


# ------------------------------------------------------------------------------------------------------------ algebra


def test_vectors_square_to_their_metric_and_anticommute():
    basis = torch.eye(16, dtype=torch.float64)
    e = [basis[8], *basis[1:4]]
    for i, j in itertools.product(range(4), repeat=2):
        anti = product(e[i], e[j]) + product(e[j], e[i])
        assert torch.equal(anti, 2.0 * (i == j and i > 0) * basis[0])
    torch.testing.assert_close(product(product(e[1], e[2]), e[3]), basis[7])
    torch.testing.assert_close(product(e[0], basis[7]), basis[15])


def test_the_product_is_associative_and_the_fast_one_is_it(dtype):
    x, y, z = (multivectors(3, 5).roll(i, 0).to(dtype) for i in range(3))
    table = TABLE.to(dtype)
    torch.testing.assert_close(product(product(x, y, table), z, table), product(x, product(y, z, table), table), atol=1e-4, rtol=1e-4)
    fast = pga.GeometricProduct().to(dtype)
    torch.testing.assert_close(fast(x, y), product(x, y, table))
    torch.testing.assert_close(pga.Join().to(dtype)(x, y), product(x, y, JOIN.to(dtype)))


def test_gradients_of_the_fast_product():
    x, y = (multivectors(2).roll(i, 0).requires_grad_() for i in range(2))
    assert torch.autograd.gradcheck(pga.GeometricProduct().double(), (x, y))
    assert torch.autograd.gradgradcheck(pga.GeometricProduct().double(), (x, y))
    assert torch.autograd.gradcheck(pga.Join().double(), (x, y))


def test_the_join_of_points_is_the_line_and_the_plane_through_them():
    a, b, c = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line = product(pga.point(a), pga.point(b), JOIN)
    plane = product(line, pga.point(c), JOIN)
    assert plane[[i for i, g in enumerate(pga.GRADES) if g != 1]].abs().max() < 1e-12
    normal = torch.linalg.cross(b - a, c - a)
    assert torch.nn.functional.cosine_similarity(plane[1:4], normal, dim=0).abs().item() == pytest.approx(1.0)
    for p in (a, b, c, 0.3 * a + 0.5 * b + 0.2 * c):  # each lies in it
        assert product(plane, pga.point(p), JOIN)[0].abs() < 1e-12
    assert product(plane, pga.point(a + normal), JOIN)[0].abs() > 1e-3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_products_are_equivariant_and_the_join_up_to_the_reference(count):
    """Under products of `count` planes: reflections, rotations, translations and all they generate."""
    u, (x, y) = planes(count), multivectors(2, 3).unbind(1)
    act = lambda m: motion(u, m, count)  # noqa: E731
    torch.testing.assert_close(act(product(x, y)), product(act(x), act(y)))
    pseudo = motion(u, torch.eye(16, dtype=torch.float64)[:, 7], count)[7]  # what a reflection does to e123, GATr's reference
    torch.testing.assert_close(act(product(x, y, JOIN)), pseudo * product(act(x), act(y), JOIN))


def test_motions_move_points_as_geometry_says():
    x, v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    motor = pga.translation(v[0])
    moved = motion(motor, pga.point(x), 2)
    torch.testing.assert_close(pga.coordinates(moved), x + v[0])
    torch.testing.assert_close(pga.coordinates(2.5 * pga.point(x)), x)


def test_equivariant_linear_maps_are_a_space_of_nine_dimensions():
    """The null space of M rho(u) - rho(u) M over motions u, found numerically, is spanned by the network's nine maps."""
    eye, rows = torch.eye(16, dtype=torch.float64), []
    for count in (1, 2, 3, 4):
        rho = motion(planes(count), eye, count).contiguous()
        rows.append(torch.kron(eye, rho.T.contiguous()) - torch.kron(rho, eye))
    values, directions = torch.linalg.svd(torch.cat(rows))[1:]
    space = directions[values < 1e-10]
    maps = equivariant_maps().flatten(1)
    assert len(space) == torch.linalg.matrix_rank(maps) == 9
    torch.testing.assert_close(maps @ space.T @ space, maps)


# ----------------------------------------------------------------------------------------------------------- networks


def count_of(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    tokens = torch.Size([20, 7]), torch.Size([20, 3])
    assert count_of(GATr(*SHAPES)) == 2_209_058
    assert count_of(GATr(*SHAPES, blocks=12)) == 2_650_674
    assert count_of(SE3Transformer(*SHAPES)) == 293_920
    assert count_of(Transformer(*SHAPES)) == 11_827_587
    assert count_of(Transformer(*tokens, blocks=12, width=168)) == 2_725_467


@pytest.fixture
def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "gatr": GATr(*SHAPES).double(),
            "se3_transformer": SE3Transformer(*SHAPES).double(),
            "transformer": Transformer(*SHAPES, blocks=2, width=32).double(),
        }


@pytest.mark.parametrize(("name", "limit"), [("gatr", 1e-11), ("se3_transformer", 1e-10)])
def test_networks_are_equivariant_in_float64(networks, name, limit):
    network, draws = networks[name], torch.Generator().manual_seed(0)
    x = torch.randn(16, *SHAPES[0], generator=draws, dtype=torch.float64)
    g, shift = haar(3, (16,), draws, torch.float64), torch.randn(16, 1, 3, generator=draws, dtype=torch.float64)
    moved = torch.cat([x[..., :1], x[..., 1:4] @ g.mT + shift, x[..., 4:] @ g.mT], -1)
    with torch.no_grad():
        y, y_moved = network(x), network(moved)
        order = torch.randperm(4, generator=draws)
        assert (network(x[:, order]) - y[:, order]).abs().max() < limit
    assert (y @ g.mT + shift - y_moved).abs().max() < limit
    assert (y - x[..., 1:4]).abs().max() > 0.05  # and it does something
    heavier = network(torch.cat([2 * x[..., :1], x[..., 1:]], -1))
    assert (heavier - y).abs().max() > 1e-4  # masses matter


def test_a_network_that_was_in_float32_is_as_equivariant_in_float64(networks):
    network = networks["se3_transformer"].float().double()
    x = torch.randn(4, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g = haar(3, (4,), torch.Generator().manual_seed(0), torch.float64)
    moved = torch.cat([x[..., :1], x[..., 1:4] @ g.mT, x[..., 4:] @ g.mT], -1)
    assert (network(x) @ g.mT - network(moved)).abs().max() < 1e-10


@pytest.mark.parametrize("n", [2, 3, 7])
def test_both_directions_of_an_edge_have_its_number(n):
    first, edge_of = undirected(n, torch.device("cpu"))
    ordered = [(i, j) for i in range(n) for j in range(n) if i != j]
    edges = [ordered[place] for place in first]
    assert len(edges) == n * (n - 1) // 2 and all(i < j for i, j in edges)
    assert [edges[number] for number in edge_of] == [tuple(sorted(pair)) for pair in ordered]


def test_tokens_at_one_place_give_finite_gradients(networks):
    network = networks["se3_transformer"]
    x = torch.randn(4, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0, 1, 1:4] = x[0, 0, 1:4]
    network(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    with pytest.raises(ValueError, match="two tokens or more, got 1"):
        SE3Transformer(torch.Size([1, 7]), torch.Size([1, 3]))


def test_the_last_layer_of_each_is_what_it_reads_its_output_from(networks):
    assert last_name(networks["transformer"]) == "last.weight"
    assert last_name(networks["gatr"]).startswith("last.")
    assert last_name(networks["se3_transformer"]) == "select.2.weight"


def test_a_plain_transformer_is_not(networks):
    x = torch.randn(4, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g = haar(3, (4,), torch.Generator().manual_seed(0), torch.float64)
    moved = torch.cat([x[..., :1], x[..., 1:4] @ g.mT, x[..., 4:] @ g.mT], -1)
    assert (networks["transformer"](x) @ g.mT - networks["transformer"](moved)).abs().max() > 1e-2


def test_gatr_is_the_dense_network(networks):
    fast = networks["gatr"]
    dense = densify(copy.deepcopy(fast))
    x = torch.randn(8, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (y, penalty), (expected, expected_penalty) = fast.with_penalty(x), dense.with_penalty(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(penalty, expected_penalty)
    gradients = [torch.autograd.grad((out**2).sum() + p, net.attentions[0].qkv.weight)[0] for out, p, net in
                 ((y, penalty, fast), (expected, expected_penalty, dense))]  # fmt: skip
    torch.testing.assert_close(*gradients)


def test_a_gatr_of_another_unit_is_the_same_network_on_other_numbers(networks):
    network, other = networks["gatr"], GATr(*SHAPES, unit=10.0).double()
    other.load_state_dict(network.state_dict())
    x = torch.randn(8, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    larger = torch.cat([x[..., :1], 10 * x[..., 1:]], -1)
    torch.testing.assert_close(other(larger), 10 * network(x))
    torch.testing.assert_close(other.with_penalty(larger), (10 * network(x), network.with_penalty(x)[1]))


def test_gatr_penalises_outputs_that_are_no_unit_points(networks):
    network = networks["gatr"]
    x = torch.randn(8, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, penalty = network.with_penalty(x)
    p, s = network.multivectors(x)
    assert torch.equal(y, network(x))
    expected = sum((abs(abs(w) - 1) ** 2).item() for w in p[7].flatten()) + s.square().sum().item()
    assert penalty.item() == pytest.approx(0.01 * expected / 8)


@pytest.mark.parametrize("name", ["gatr", "se3_transformer", "transformer"])
def test_networks_train_as_one_program(networks, name):
    """vmap over two members gives each member's own prediction."""
    network = networks[name]
    x = torch.randn(3, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    members = [{k: (1 + 0.1 * i) * p.detach() for k, p in network.named_parameters()} for i in range(2)]
    stacked = {k: torch.stack([m[k] for m in members]) for k in members[0]}
    together = vmap(lambda p: functional_call(network, p, (x,)))(stacked)
    for member, found in zip(members, together, strict=True):
        torch.testing.assert_close(found, functional_call(network, member, (x,)))


def test_kernel_basis_turns_with_the_direction():
    """Q_J Y_J(g d) = D(g) Q_J Y_J(d) D(g)^-1, with e3nn's Wigner matrices."""
    g = haar(3, (), torch.Generator().manual_seed(0), torch.float64)
    d = torch.nn.functional.normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=-1)
    before, after = kernel_basis(d, 4), kernel_basis(d @ g.T, 4)
    wigner = [Irreps([(1, (k, 1))]).D_from_matrix(g) for k in range(4)]
    for k in range(4):
        start = 0
        for m in range(4):
            for _ in range(2 * min(m, k) + 1):
                old, new = (b[k][..., start : start + 2 * m + 1].mT for b in (before, after))
                torch.testing.assert_close(new, wigner[m] @ old @ wigner[k].T, atol=1e-6, rtol=1e-6)  # as exact as these
                start += 2 * m + 1


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_linear_layers_start_as_in_gatrs_code(gain):
    """Its `EquiLinear`: multivectors' weights in +-gain sqrt(factor / channels), the first map's too (what would divide it by sqrt 2 acts
    on a copy), scalars' in +-gain / sqrt(2 channels); uniform, so the standard deviation is the bound over sqrt 3."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = EquiLinear(16, 64, 300, 300, gain)
    bounds = {f"map {i}": gain * (factor / 16) ** 0.5 for i, factor in enumerate((1, 4, 6, 2, 0.5, 0.5, 1.5, 1.5, 0.5))}
    found = {f"map {i}": layer.weight[..., i] for i in range(9)}
    bounds |= {"s to mv": gain / 128**0.5, "s to s": gain / 128**0.5, "mv to s": gain / 32**0.5}
    found |= {"s to mv": layer.s_to_mv.weight, "s to s": layer.s_to_s.weight, "mv to s": layer.mv_to_s.weight}
    for name, bound in bounds.items():
        assert 0.99 * bound < found[name].abs().max() <= bound * (1 + 1e-6), name
        assert found[name].std().item() == pytest.approx(bound / 3**0.5, rel=0.03), name
    assert 0.9 / 80**0.5 < layer.s_to_mv.bias.abs().max() <= 1 / 80**0.5 + 1e-6
    assert 0.9 * gain / 80**0.5 < layer.mv_to_s.bias.abs().max() <= gain / 80**0.5 + 1e-6


@pytest.mark.parametrize("network", [GATr, SE3Transformer])
def test_tokens_of_another_width_are_refused(network):
    with pytest.raises(ValueError, match="6 or 7 numbers a token, got 5"):
        network(torch.Size([4, 5]), torch.Size([4, 3]))


def test_the_transformers_norm_is_over_channels():
    network = Transformer(*SHAPES, blocks=2, width=32).double()
    h = network.first(torch.randn(5, *SHAPES[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    expected = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(network.blocks[0].normalise(h), expected)
    with pytest.raises(ValueError, match="multiple of heads, got 30 and 8"):
        Transformer(*SHAPES, width=30)


# ------------------------------------------------------------------------------------ another library's primitives

# where that library keeps what stands at each of our places: 1, e0 .. e3, e01 .. e23, e012 .. e123, e0123
THEIRS = [sorted(itertools.chain(*(itertools.combinations(range(4), g) for g in range(5))), key=lambda b: (len(b), b)).index(b)
          for b in pga.BLADES]  # fmt: skip


def theirs(x):
    return x.new_zeros(x.shape).index_copy(0, torch.tensor(THEIRS), x).movedim(0, -1)


def test_products_are_those_of_ezgatr():
    x, y = multivectors(2, 5).unbind(1)
    torch.testing.assert_close(theirs(pga.GeometricProduct().double()(x, y)), functional.geometric_product(theirs(x), theirs(y)))
    reference = multivectors(2, 5)[:, 1]
    ours = pga.Join().double()(x, y) * reference[7]
    found = functional.equi_join(theirs(x), theirs(y), theirs(reference))
    torch.testing.assert_close(theirs(grade_involution(ours)), found)  # their dual is not undone but applied again: odd grades change sign


def test_linear_maps_are_those_of_ezgatr():
    layer = EquiLinear(3, 1, 5, 0).double()
    with torch.no_grad():
        layer.s_to_mv.weight.zero_()
        layer.s_to_mv.bias.zero_()
    x = multivectors(2, 4, 3)
    ours = layer(x, torch.zeros(2, 4, 1, dtype=torch.float64))[0]
    found = functional.equi_linear(theirs(x), layer.weight)
    torch.testing.assert_close(theirs(ours), found)
