"""GNN and EGNN: one edge after the other, their symmetries, their sizes, and how a graph reaches them."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from lib import models, tasks
from lib.actions import on_bodies, on_stacks
from lib.experiments.sweep import stacked
from lib.experiments.trainable import Trainable
from lib.experiments.training import fit
from lib.groups import haar
from lib.models.gnn import silu
from lib.models.molecules import molecule
from lib.tasks import md17
from lib.views.hyperparameters import parameters_of
from lib.weights import last_name
from tests.scattered_gnn import scattered

NAMES = ("gnn", "egnn")
RUN = {
    "task": "md17", "scenario": "aspirin", "method": "remul", "seed": 0, "steps": 8, "batch_size": 8, "lr": 5e-3, "error_samples": 4,
    "error_draws": 3, "group": "haar", "copies": 1, "target": "label", "lambda_task": 1.0, "lambda_equiv": 1.0,
    "model_options": {"layers": 2, "width": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    return tasks.load_tiny("md17", scenario="aspirin").to("cpu", torch.float64)


def network_of(name, task, **options):
    """With every parameter moved, so that zero or tiny starts hide nothing."""
    draws = torch.Generator().manual_seed(0)
    network = models.build(name, draws, task.train[0].shape[1:], task.outputs, None, task.graph, **options).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype)
    return network


def dense(layer, x):
    return layer.weight @ x + layer.bias if layer.bias is not None else layer.weight @ x


def mlp(layers, x):
    first, _, second = layers
    return dense(second, torch.nn.functional.silu(dense(first, x)))


def message(layer, *parts):
    hidden = torch.nn.functional.silu(dense(layer.first, torch.cat(parts)))
    return torch.nn.functional.silu(dense(layer.second, hidden))


def hops(graph):
    """Features by (i, j)."""
    return dict(zip(map(tuple, graph.edge_index.T.tolist()), graph.edge_attr, strict=True))


def gnn_by_edges(network, graph, sample):
    edges, n = hops(graph), len(graph.z)
    h = [dense(network.first, sample[i, :4]) for i in range(n)]
    for messages, update in zip(network.messages, network.updates, strict=True):
        m = {(i, j): message(messages, h[i], h[j], e) for (i, j), e in edges.items()}
        h = [h[i] + mlp(update.mlp, torch.cat([h[i], sum(v for (k, _), v in m.items() if k == i)])) for i in range(n)]
    return torch.stack([mlp(network.last, node) for node in h])


def egnn_by_edges(network, graph, sample):
    edges, n = hops(graph), len(graph.z)
    number, x, v = sample[:, :1], list(sample[:, 1:4]), sample[:, 4:]
    h = [dense(network.first, torch.cat([v[i].norm().view(1), number[i]])) for i in range(n)]
    start = {(i, j): ((x[i] - x[j]) ** 2).sum().view(1) for i, j in edges}
    for layer, (messages, motion) in enumerate(zip(network.messages, network.motions, strict=True)):
        now = {(i, j): ((x[i] - x[j]) ** 2).sum().view(1) for i, j in edges}
        m = {edge: message(messages, *(h[i] for i in edge), now[edge], start[edge], e) for edge, e in edges.items()}
        moved = []
        for i in range(n):
            pulls = [(x[i] - x[j]) * mlp(motion.along_edges, value) for (k, j), value in m.items() if k == i]
            moved.append(x[i] + sum(pulls) / len(pulls) + mlp(motion.along_velocity, h[i]) * v[i])
        if layer < len(network.updates):
            mix = network.updates[layer].mlp
            h = [h[i] + mlp(mix, torch.cat([h[i], sum(value for (k, _), value in m.items() if k == i)])) for i in range(n)]
        x = moved
    return torch.stack(x)


@pytest.mark.parametrize(("name", "by_edges"), [("gnn", gnn_by_edges), ("egnn", egnn_by_edges)])
def test_networks_are_the_sum_over_edges_written_out(task, name, by_edges):
    network, x = network_of(name, task, layers=3, width=8), task.train[0][:3]
    with torch.no_grad():
        expected = torch.stack([by_edges(network, task.graph, sample) for sample in x])
        torch.testing.assert_close(network(x), expected, atol=1e-11, rtol=1e-11)
        assert (expected - x[..., 1:4]).abs().max() > 0.05  # and they do something
        torch.testing.assert_close(network.float()(x.float()), expected.float(), atol=1e-4, rtol=1e-4)


def test_the_gnn_and_its_gradients_are_those_of_gathers(task):
    network, x = network_of("gnn", task, layers=2, width=8), task.train[0]
    found, expected = network(x), scattered(network, x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    parameters = list(network.parameters())
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), parameters) for y in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silu_and_its_derivative_are_torchs(dtype):
    x = torch.linspace(-9, 9, 101, dtype=dtype)
    ours, theirs = silu, torch.nn.functional.silu
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x), **({"atol": 1e-12, "rtol": 1e-12} if dtype == torch.float64 else {}))
        ours, theirs = (grad(lambda x, f=f: f(x).sum()) for f in (ours, theirs))


def moved_and_answers(name, task, shift):
    network, x = network_of(name, task, layers=4, width=16), task.train[0]
    g = haar(3, (len(x), 1), torch.Generator().manual_seed(1), torch.float64)
    moved = on_bodies(g, x).squeeze(1)
    moved[..., 1:4] += shift
    with torch.no_grad():
        return network(moved), on_stacks(g, network(x)).squeeze(1) + shift


def test_egnn_is_equivariant_and_gnn_is_not(task):
    shift = torch.randn(3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, expected = moved_and_answers("egnn", task, shift)
    assert (found - expected).abs().max() < 1e-10
    for offset in (0.0 * shift, shift):
        found, expected = moved_and_answers("gnn", task, offset)
        assert (found - expected).abs().max() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_atoms_does_not_matter(task, name):
    order = torch.tensor([3, 0, 4, 2, 1])
    x, graph = task.train[0], task.graph
    place = order.argsort().tolist()
    again = molecule(graph.z[order], graph.pos[order], [(place[0], place[1])])
    shapes = x.shape[1:], task.outputs
    network, other = (models.build(name, torch.Generator().manual_seed(0), *shapes, None, g).double() for g in (graph, again))
    torch.testing.assert_close(other(x[:, order]), network(x)[:, order], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_network_reads(task, name):
    """The GNN reads no velocity; both read every feature of an edge."""
    network, x = network_of(name, task, layers=2, width=8), task.train[0]
    faster = x.clone()
    faster[..., 4:] *= 2
    assert torch.equal(network(faster), network(x)) == (name == "gnn")
    for feature in range(4):
        changed = task.graph.edge_attr.clone()
        changed[:, feature] += 1
        graph = type(task.graph)(task.graph.z, task.graph.pos, task.graph.edge_index, changed)
        other = models.build(name, torch.Generator(), x.shape[1:], task.outputs, None, graph, layers=2, width=8).double()
        other.load_state_dict(network.state_dict())
        assert (other(x) - network(x)).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "count"), [("gnn", 105_027), ("egnn", 122_436)])
def test_parameters(task, name, count):
    """Weights and biases by hand: 4 layers of 64 channels, four features of an edge; EGNN's two lengths of it."""

    def layer(i, o, bias=1):
        return (i + bias) * o

    update, last = layer(128, 64) + layer(64, 64), layer(64, 64) + layer(64, 3)
    motion = layer(64, 64) + layer(64, 1) + layer(64, 64) + layer(64, 1, bias=0)
    by_hand = {
        "gnn": layer(4, 64) + 4 * (layer(132, 64) + layer(64, 64) + update) + last,
        "egnn": layer(2, 64) + 4 * (layer(134, 64) + layer(64, 64) + motion) + 3 * update,
    }
    assert by_hand["egnn"] + update == 134_852  # GMN's code, whose last layer has an update too
    assert parameters_of({"task": "md17", "scenario": "aspirin", "model": name}) == by_hand[name] == count
    network = models.build(name, torch.Generator().manual_seed(0), task.train[0].shape[1:], task.outputs, None, task.graph)
    network.double()(task.train[0]).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())  # none is idle


def test_starts_are_those_of_torch_and_atoms_hardly_move(task):
    network = models.build("egnn", torch.Generator().manual_seed(0), task.train[0].shape[1:], task.outputs, None, task.graph)
    for m in network.messages:
        reference = nn.Linear(134, 64)
        assert m.first.weight.shape == reference.weight.shape
        assert 0.95 * 134**-0.5 < m.first.weight.abs().max() <= 134**-0.5
    for m in network.motions:
        assert m.along_edges[2].weight.abs().max() <= 1e-3 * (6 / 65) ** 0.5
    still = task.train[0].clone()
    still[..., 4:] = 0
    assert (network.double()(still) - still[..., 1:4]).abs().max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_last_layer_steers_the_output(task, name):
    network = network_of(name, task, layers=2, width=8)
    weight = dict(network.named_parameters())[last_name(network)]
    assert torch.autograd.grad(network(task.train[0]).square().sum(), weight)[0].norm() > 1e-6
    assert last_name(network) == {"gnn": "last.2.weight", "egnn": "motions.1.along_edges.2.weight"}[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_of_three_is_each_alone(task, name):
    network, x = network_of(name, task, layers=2, width=8), task.train[0]
    members = [{k: (1 + 0.1 * i) * p.detach() for k, p in network.named_parameters()} for i in range(3)]
    stacked = {k: torch.stack([m[k] for m in members]) for k in members[0]}
    together = vmap(lambda p: functional_call(network, p, (x,)))(stacked)
    for member, found in zip(members, together, strict=True):
        torch.testing.assert_close(found, functional_call(network, member, (x,)), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_runs_trained_together_are_those_trained_alone(name, monkeypatch):
    """What a GPU runs, vmap over the members, against a plain loop each; in float64 on the CPU."""
    task = tasks.load_tiny("md17", scenario="aspirin").to("cpu", torch.float64)
    runs = [{**RUN, "model": name, "seed": seed, "lambda_equiv": beta} for seed, beta in ((0, 1.0), (1, 10.0), (2, 0.1))]
    alone = [fit(task, [run])[0] for run in runs]
    monkeypatch.setattr(f"lib.models.{name}.{name.upper()}.loops_on_cpu", False)
    together = fit(task, runs)
    for one, other in zip(together, alone, strict=True):
        assert one["curves"]["val_loss"] == pytest.approx(other["curves"]["val_loss"], rel=1e-9)
        assert one["metrics"]["test_mse"] == pytest.approx(other["metrics"]["test_mse"], rel=1e-9)
        assert one["curves"]["val_loss"][-1] < one["curves"]["val_loss"][0]
        assert (one["metrics"]["E_prime"] < 1e-9) == (name == "egnn")


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [1, 1, 1]), ("cuda", [3])])
def test_runs_are_one_stack_on_a_gpu_only(device, sizes):
    runs = [{**RUN, "model": "gnn", "lambda_equiv": beta} for beta in (0.1, 1.0, 10.0)]
    assert [len(stack) for stack in stacked(runs, device)] == sizes


def test_a_task_without_a_graph_is_named():
    run = {**RUN, "model": "egnn", "task": "nbody", "scenario": "10deg"}
    with pytest.raises(ValueError, match="egnn passes messages along the edges of a graph, and task nbody has none"):
        Trainable(run, tasks.load_tiny("nbody", scenario="10deg"))


@pytest.mark.parametrize("shape", [(4, 7), (5, 6)])
def test_samples_that_are_not_of_the_molecule_are_refused(task, shape):
    for name in NAMES:
        with pytest.raises(ValueError, match=rf"a molecule of 5 heavy atoms has samples of shape \(5, 7\), got \({shape[0]}, {shape[1]}\)"):
            models.build(name, torch.Generator(), torch.Size(shape), torch.Size([shape[0], 3]), None, task.graph)


def test_an_atom_without_neighbours_stays_where_its_velocity_leaves_it():
    graph = molecule(torch.tensor([6, 6, 8]), torch.tensor([[0.0, 0, 0], [1.4, 0, 0], [9, 0, 0]], dtype=torch.float64))
    z = torch.tensor([6, 6, 8]).numpy()
    x, _ = md17.tokens(z, *(graph.pos.expand(2, -1, -1).numpy() * size for size in (1.0, 0.0, 1.0)))
    network = models.build("egnn", torch.Generator().manual_seed(0), x.shape[1:], torch.Size([3, 3]), None, graph).double()
    y = network(x.double())
    assert torch.equal(y[:, 2], x[:, 2, 1:4].double()) and y.isfinite().all() and not torch.equal(y[:, 0], x[:, 0, 1:4].double())
