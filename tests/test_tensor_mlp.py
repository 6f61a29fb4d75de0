"""The perceptrons on tensors, EMLP, RPP and PER: parameter counts, exact equivariance, penalties."""

import math

import pytest
import torch
from torch.func import functional_call, grad_and_value, vmap

from lib import models
from lib.groups import haar
from lib.models.representations import CLOSED, BlockTrace, irreps_of, tensor_counts
from lib.models.soft_mlp import PER, RPP
from lib.models.tensor_mlp import Bilinear, Gate, TensorEMLP, gated
from tests.group_means import averaged

DOUBLE = torch.float64
INPUTS, OUTPUTS = torch.Size([31, 6]), torch.Size([31, 3])
SMALL = torch.Size([4, 6]), torch.Size([4, 3])


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*size, seed=0):
    return torch.randn(*size, generator=draws(seed), dtype=DOUBLE)


@pytest.fixture
def double():
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(torch.float32)


def built(name, shapes=SMALL, dtype=DOUBLE, **options):
    return models.build(name, draws(), *shapes, **options).to(dtype)


def moved_and_expected(network, g, x):
    """f(g x) and g f(x), of positions and velocities."""
    with torch.no_grad():
        return network((x.unflatten(-1, (2, 3)) @ g.T).flatten(-2)), network(x) @ g.T


def error(network, g, x):
    moved, expected = moved_and_expected(network, g, x)
    return ((moved - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", ["tensor_emlp", "rpp", "per"])
def test_another_unit_of_length_is_the_same_network_on_other_numbers(name):
    x = normal(5, *SMALL[0])
    network, other = built(name, channels=30), built(name, channels=30, unit=10.0)
    torch.testing.assert_close(other(10 * x), 10 * network(x))
    assert not torch.allclose(network(10 * x), 10 * network(x)), "else a unit would change nothing"
    if name != "tensor_emlp":
        torch.testing.assert_close(other.equivariant_part()(10 * x), 10 * network.equivariant_part()(x))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mlp", {"width": 680, "activation": "swish"}, 1_116_653),
        ("tensor_emlp", {}, 1_092_648),
        ("rpp", {}, 1_091_013 + 3 * 378),
        ("per", {}, 1_092_648 + 3 * 532),
    ],
)
def test_parameters_of_the_motion_capture_networks(name, options, expected):
    """REMUL Table 6's widths, counted with EMLP's code; RPP's and PER's gates weigh each number's swish besides."""
    network = models.build(name, draws(), INPUTS, OUTPUTS, **options)
    assert sum(p.numel() for p in network.parameters()) == expected
    bilinear = sum(p.numel() for n, p in network.named_parameters() if n.startswith("bilinears"))
    assert bilinear == {"tensor_emlp": 306_315, "per": 306_315, "rpp": 217_269, "mlp": 0}[name]
    assert network(torch.randn(2, *INPUTS, generator=draws())).shape == (2, *OUTPUTS)


def test_the_swish_perceptron():
    network = built("mlp", width=8, activation="swish")
    x = normal(5, *SMALL[0])
    h = x.flatten(1)
    for layer in network.layers[:-1]:
        h = torch.nn.functional.linear(h, layer.weight, layer.bias)
        h = h / (1 + (-h).exp())
    torch.testing.assert_close(network(x).flatten(1), torch.nn.functional.linear(h, network.layers[-1].weight, network.layers[-1].bias))
    with pytest.raises(ValueError, match="activation must be one of relu, swish, got 'tanh'"):
        built("mlp", activation="tanh")


@pytest.mark.parametrize("channels", [60, 532])
@pytest.mark.parametrize("group", CLOSED)
def test_emlp_is_equivariant(group, channels):
    network = built("tensor_emlp", group=group, channels=channels)  # built in float32
    x, g = 10 * normal(8, *SMALL[0]), haar(3, (), draws(), DOUBLE)
    found = error(network, g, x), error(network, -g, x)
    print(group, channels, found)
    assert found[0] < 1e-10
    assert found[1] < 1e-10 if group == "O(3)" else found[1] > 1e-6
    y = network(x)
    assert (y.std(0) / y.abs().max() > 1e-3).all(), "the output hardly depends on the input"
    assert (network(2 * x) - 2 * y).abs().max() / y.abs().max() > 1e-2, "it is linear"


def test_emlp_is_equivariant_in_float32():
    network = built("tensor_emlp", channels=60, dtype=torch.float32)
    assert error(network, haar(3, (), draws()), torch.randn(8, *SMALL[0], generator=draws())) < 1e-3


def test_bilinear_layer_is_the_sum_of_its_products():
    """T_i gets w S t, for the tensors S of rank i + j that are read as maps from rank j, and all tensors t of rank j."""
    counts, read = (4, 5, 2, 1), (1, 3, 2, 1)
    layer = Bilinear(counts).double()
    t = [normal(2, c, 3**r, seed=r) for r, c in enumerate(counts)]
    expected = [torch.zeros_like(stack) for stack in t]
    for i, j in ((i, j) for i in range(4) for j in range(4) if 0 < i + j < 4):
        maps = t[i + j][:, : read[i + j]].unflatten(-1, (3**j, 3**i))
        if j == 0:
            before = sum(counts[r] * read[r] for r in range(1, i))
            weight = layer.scaling[before : before + counts[i] * read[i]].view(counts[i], read[i], counts[0])
        else:
            before = sum(read[i + k] * counts[k] for k in range(1, j))
            weight = layer.mixing[i][:, before : before + read[i + j] * counts[j]].view(counts[i], read[i + j], counts[j])
        expected[i] += torch.einsum("okj,bkca,bjc->boa", weight, maps, t[j])
    for found, stack in zip(layer(t), expected, strict=True):
        torch.testing.assert_close(found, stack)


def test_gates_scale_whole_tensors():
    counts = gated((3, 2, 1))
    assert counts == (6, 2, 1)
    t = [normal(2, c, 3**r, seed=r) for r, c in enumerate(counts)]
    scalars, vectors, matrix = Gate()(t)
    torch.testing.assert_close(scalars, t[0][:, :3] * t[0][:, :3].sigmoid())
    torch.testing.assert_close(vectors[:, 1], t[1][:, 1] * t[0][:, 4].sigmoid())
    torch.testing.assert_close(matrix[:, 0], t[2][:, 0] * t[0][:, 5].sigmoid())


@pytest.mark.parametrize(("name", "options"), [("rpp", {}), ("rpp", {"group": "O(3)"}), ("per", {}), ("per", {"groups": ["SO(3)"]})])
def test_soft_networks_have_an_equivariant_part(name, options):
    network = built(name, channels=60, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * normal(*parameter.shape)  # away from the start
    part, g, x = network.equivariant_part(), haar(3, (), draws(), DOUBLE), normal(8, *SMALL[0])
    sign = -1 if network.group == "O(3)" else 1
    assert error(part, sign * g, x) < 1e-10
    assert error(network, sign * g, x) > 1e-2
    for mine, projected in zip(network.linears, part.linears, strict=True):
        torch.testing.assert_close(mine.weight, projected.weight)
    equivariant_(network, part)
    torch.testing.assert_close(network(x), part(x))


def equivariant_(network, part):
    """Take from a soft network all that its equivariant part has not."""
    with torch.no_grad():
        for mine, its in zip((*network.linears, network.last), (*part.linears, part.last), strict=True):
            if isinstance(network, RPP):
                mine.basic_weight.zero_()
                mine.basic_bias.zero_()
            else:
                mine.weight.copy_(its.project(its.weight))
                mine.bias.mul_(its.invariant)
        for gate in network.gates:
            gate.weight.zero_()


def test_rpp_starts_near_its_equivariant_part_and_pays_for_the_rest():
    network = built("rpp", channels=60, basic_wd=2.0, equiv_wd=0.1, gated_wd=3.0)
    x = normal(8, *SMALL[0])
    y, penalty = network.with_penalty(x)
    torch.testing.assert_close(y, network(x))
    layer = network.linears[1]
    torch.testing.assert_close(layer.basic_weight, 1e-3 * layer.weight)
    torch.testing.assert_close(layer.basic_bias, 1e-3 * layer.bias)
    squares = {
        kind: sum((p.detach().numpy() ** 2).sum() for n, p in network.named_parameters() if n.endswith(kind) and "bilinears" not in n)
        for kind in ("basic_weight", ".weight")
    }
    gates = 3 * 60 * 1e-6
    assert penalty.item() == pytest.approx(2 * squares["basic_weight"] + 0.1 * (squares[".weight"] - gates) + 3 * gates)
    torch.testing.assert_close(layer.weight.T @ layer.weight, torch.eye(60, dtype=DOUBLE), atol=1e-5, rtol=0)
    assert layer.bias.min() >= 0 and layer.bias.max() < 1 / math.sqrt(len(layer.bias))


def explicit(network, weight):
    """PER's regulariser from means over the groups, and its gates'."""
    counts = tensor_counts(60)
    widths = [(0, 8), counts, counts, counts]
    total = sum(gate.weight.square().sum() for gate in network.gates)
    for layer, into, out in zip((*network.linears, network.last), widths, [*[gated(counts)] * 3, (0, 4)], strict=True):
        for group in ("O_xy(2)", "O_yz(2)", "O_xz(2)"):
            for matrix, source in ((layer.weight, into), (layer.bias.unsqueeze(1), (1,))):
                total = total + weight / 2 * (matrix - averaged(group, matrix, out, source)).square().sum()
    return total


def test_per_pays_for_what_does_not_commute():
    network = built("per", channels=60, weight=0.7)
    x = normal(8, *SMALL[0])
    y, penalty = network.with_penalty(x)
    torch.testing.assert_close(y, network(x))
    expected = explicit(network, 0.7)
    torch.testing.assert_close(penalty, expected)
    assert penalty > 1
    named = dict(network.named_parameters())
    mine, theirs = (torch.autograd.grad(p, list(named.values()), allow_unused=True, materialize_grads=True) for p in (penalty, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
    equivariant_(network, network.equivariant_part())
    assert abs(network.with_penalty(x)[1].item()) < 1e-12


def test_per_pays_for_the_groups_that_are_broken_only():
    """A layer with the symmetry of turns about z pays nothing for these, half of it for each of two other axes."""
    layer = built("per", channels=60).linears[1]
    both = torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach()
    kept = layer.averages(both, ((1.0, "O_xy(2)"),))
    with torch.no_grad():
        layer.weight.copy_(kept[:, :-1])
        layer.bias.copy_(kept[:, -1])
    costs = [layer.distance(((1.0, group),)).item() for group in ("O_xy(2)", "SO_xy(2)", "O_yz(2)", "O_xz(2)", "O(3)")]
    assert max(map(abs, costs[:2])) < 1e-12
    assert min(costs[2:]) > 0.1
    both = layer.distance(((0.5, "O_yz(2)"), (2.0, "O_xz(2)"))).item()
    assert both == pytest.approx(0.5 * costs[2] + 2 * costs[3])


def test_per_starts_halfway_to_its_equivariant_part(double):
    torch.manual_seed(0)
    free = PER(*SMALL, channels=60).linears[1]
    project = BlockTrace("O(3)", irreps_of(gated(tensor_counts(60))), irreps_of(tensor_counts(60)))
    kept, rest = project(free.weight), free.weight - project(free.weight)
    drawn = kept + 2 * rest  # W of (W + P W) / 2
    torch.testing.assert_close(drawn.T @ drawn, torch.eye(60))


@pytest.mark.parametrize("name", ["tensor_emlp", "rpp", "per"])
def test_networks_train_as_one_program(name):
    """vmap over two members, gradients included, gives each member's own."""
    network = built(name, channels=60)
    x, y = normal(3, *SMALL[0]), normal(3, *SMALL[1])

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self):
            prediction, penalty = network.with_penalty(x) if hasattr(network, "with_penalty") else (network(x), 0.0)
            return (prediction - y).square().mean() + penalty

    loss = Loss()
    members = [{k: (1 + 0.1 * i) * p.detach() for k, p in loss.named_parameters()} for i in range(2)]
    gradient = grad_and_value(lambda p: functional_call(loss, p, ()))
    together, values = vmap(gradient)({k: torch.stack([m[k] for m in members]) for k in members[0]})
    for i, member in enumerate(members):
        alone, value = gradient(member)
        torch.testing.assert_close(values[i], value)
        for k, g in alone.items():
            torch.testing.assert_close(together[k][i], g)


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"must be vectors .*, got \(4, 7\) and \(4, 3\)"):
        TensorEMLP(torch.Size([4, 7]), SMALL[1])
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(\)"):
        RPP(SMALL[0], torch.Size([]))
    with pytest.raises(ValueError, match="at least 6, for fewer are all scalars, got 5"):
        TensorEMLP(*SMALL, channels=5)
    with pytest.raises(ValueError, match=r"group must be one of SO\(3\), O\(3\), got 'SO\(2\)'"):
        RPP(*SMALL, group="SO(2)")
    for groups in (["O_xy(2)"], [], ["O(3)", "SO(2)"]):
        with pytest.raises(ValueError, match="the first one of the first two, got"):
            PER(*SMALL, groups=groups)
