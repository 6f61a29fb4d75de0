"""The objective in a loop of one's own: the engine's numbers, for tensors and graphs, in both precisions."""

import math
import warnings

import pytest
import torch
from torch import nn

from lib import tasks
from lib.actions import on_vectors
from lib.augmenter import GroupAugmenter, LieAugmenter
from lib.draws import random_stream
from lib.experiments.stack import Adam
from lib.experiments.trainable import Trainable
from lib.experiments.training import fit
from lib.groups import haar, so
from lib.objective import Objective

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    from torch_geometric.data import Batch, Data

RUN = {
    "task": "two_body", "scenario": "in", "model": "mlp", "model_options": {"width": 16}, "seed": 3,
    "batch_size": 8, "steps": 12, "lr": 1e-3,
    "evaluations": 12, "error_samples": 4, "error_draws": 2, "test_copies": 2,
}  # fmt: skip
SEMOLA = {
    "method": "semola", "copies": 3, "lambda_task": 1.0, "lambda_equiv": 0.7, "lambda_aug": 0.1, "lambda_ortho": 0.2, "lambda_sparse": 0.01,
    "cardinality": 2, "norm": "sqrt_dim", "gamma": 1.5, "warmup": 0.5, "decay": 0.8, "similarity": "features", "target": "label",
}  # fmt: skip
REMUL = {"method": "remul", "copies": 2, "group": "rotations", "lambda_task": 1.0, "lambda_equiv": 2.0, "target": "label"}
SHORT = {"lambda_task": "alpha", "lambda_equiv": "beta", "lambda_aug": "aug", "lambda_ortho": "ortho", "lambda_sparse": "sparse"}


@pytest.mark.parametrize("method", ["semola", "remul", "gradual", "dual", "standard"])
def test_in_a_loop_of_ones_own_its_numbers_are_those_of_the_engine(method):
    moving = {"gradual": REMUL | {"gradual": {"eta": 0.3}}, "dual": REMUL | {"dual": {"epsilon": 0.3}}}
    own = {"semola": SEMOLA, "remul": REMUL, "standard": {"method": "standard"}, **moving}[method]
    task = tasks.load_tiny("two_body", scenario="in").to("cpu", torch.float64)
    if "group" in own:
        own = own | {"group": next(iter(task.groups))}
    recorded = fit(task, [RUN | own])[0]["curves"]

    trainable = Trainable(RUN | own, task)
    objective = Objective(
        own["method"], trainable.augmenter, loss=task.loss, on_x=task.rho_x, on_y=task.rho_y, seed=RUN["seed"], steps=RUN["steps"],
        **{name: own[name] for name in ("copies", "warmup", "decay", "gradual", "dual", "target", "similarity") if name in own},
        **{short: own[name] for name, short in SHORT.items() if name in own},
    )  # fmt: skip
    parameters = list(trainable.parameters())
    theta = nn.utils.parameters_to_vector(parameters).detach()[None].clone()
    adam, batches, order = (
        Adam(theta, torch.tensor([[RUN["lr"]]], dtype=torch.float64)),
        random_stream(RUN["seed"], "batches"),
        torch.empty(0, dtype=torch.long),
    )
    (x, y), size = task.train, min(RUN["batch_size"], len(task.train[1]))
    for step in range(RUN["steps"]):
        if len(order) < size:
            order = torch.randperm(len(y), generator=batches)
        chosen, order = order[:size], order[size:]
        loss, terms = objective(trainable.model, x[chosen], y[chosen])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
        adam.step(theta, gradient[None])
        nn.utils.vector_to_parameters(theta[0], parameters)
        for name, value in terms.items():
            assert value.item() == pytest.approx(recorded[name][step], rel=1e-9), (name, step)
        if method in moving:
            assert objective.weights["lambda_equiv"] == pytest.approx(recorded["beta"][step], rel=1e-9)


def test_weights_that_a_method_has_not_do_not_move():
    for options in ({"gradual": {}}, {"dual": {"epsilon": 1.0}}):
        with pytest.raises(ValueError, match="no alpha and beta that could move"):
            Objective("standard", loss=nn.functional.mse_loss, **options)


class Pair(nn.Module):
    """For each node a vector from its position and the graph's sum, or for each graph a number."""

    def __init__(self, whole: bool):
        super().__init__()
        self.layer, self.whole = nn.Linear(6, 1 if whole else 3), whole

    def forward(self, data):
        count = int(data.batch.max()) + 1
        total = torch.zeros(count, 3, dtype=data.pos.dtype).index_add(0, data.batch, data.pos)
        out = self.layer(torch.cat([data.pos, total[data.batch]], 1))
        return torch.zeros(count, 1, dtype=out.dtype).index_add(0, data.batch, out) if self.whole else out


@pytest.mark.parametrize("whole", [False, True])
def test_of_a_graph_one_element_moves_all_nodes(whole, dtype, generator):
    graphs = [Data(pos=torch.randn(size, 3, generator=generator, dtype=dtype)) for size in (2, 4, 3)]
    data, model = Batch.from_data_list(graphs), Pair(whole).to(dtype)
    y = torch.randn(3 if whole else 9, 1 if whole else 3, generator=generator, dtype=dtype)
    augmenter = GroupAugmenter.haar(3, dtype)
    action = {} if whole else {"on_y": on_vectors}
    objective = Objective("remul", augmenter, loss=nn.functional.mse_loss, copies=2, beta=0.5, seed=1, **action)
    loss, terms = objective(model, data, y)
    g = haar(3, (6,), random_stream(1, "augment"), dtype).unflatten(0, (3, 2))
    expected = 0.0
    for k in range(2):
        moved = Batch.from_data_list([Data(pos=graph.pos @ g[i, k].T) for i, graph in enumerate(graphs)])
        goal = y if whole else torch.einsum("nij,nj->ni", g[data.batch, k], y)
        expected = expected + nn.functional.mse_loss(model(moved), goal) / 2
    torch.testing.assert_close(terms["equiv"], expected)
    torch.testing.assert_close(loss, nn.functional.mse_loss(model(data), y) + 0.5 * expected)


def test_a_basis_is_learned_from_graphs_too(generator):
    data = Batch.from_data_list([Data(pos=torch.randn(4, 3, generator=generator)) for _ in range(5)])
    augmenter = LieAugmenter(3, gamma=1.0)
    objective = Objective("semola", augmenter, loss=nn.functional.mse_loss, beta=1.0, aug=0.1, sparse=0.01)
    loss, terms = objective(Pair(True), data, torch.randn(5, 1, generator=generator))
    loss.backward()
    assert augmenter.raw.grad.abs().sum() > 0 and set(terms) == {"task", "equiv", "aug", "sparse"}


def test_weights_and_phases_that_nothing_reads_are_refused(generator):
    mse, augmenter = nn.functional.mse_loss, LieAugmenter(3)
    for wrong, match in (
        ({"method": "remul", "beta": 1.0, "sparse": 0.1}, "no weight sparse: it reads the weights alpha, beta"),
        ({"method": "semola", "aug": 0.1}, "beta is missing"),
        ({"method": "semola", "beta": 1.0, "aug": -0.1}, "at least 0, got aug = -0.1"),
        ({"method": "semola", "beta": 1.0, "sparse": math.nan}, "at least 0, got sparse = nan"),
        ({"method": "semola", "beta": 1.0, "target": "labels"}, "target must be one of label, prediction, got 'labels'"),
        ({"method": "semola", "beta": 1.0, "similarity": "cosine"}, "similarity must be one of features, fourier, got 'cosine'"),
        ({"method": "semola", "beta": 1.0, "warmup": 0.1}, "steps="),
        ({"method": "semola", "beta": 1.0, "steps": 10, "warmup": 0.0}, "warmup must be a share of the steps"),
        ({"method": "semola", "beta": 1.0, "steps": 10, "decay": 5.0}, "decay must be a share of the steps"),
        ({"method": "semola", "beta": 1.0, "steps": 10, "warmup": 0.5, "decay": 0.3}, "must be larger than 0.5, got 0.3"),
        ({"method": "semola", "beta": 0.0, "dual": {"epsilon": 0.1}}, "from alpha and beta above 0, got 1.0 and 0.0"),
        ({"method": "augmented", "beta": 1.0}, "has a fixed basis, this augmenter's is learned: say"),
        ({"method": "augerino_plus", "augmenter": LieAugmenter(3, generators=so(3))}, "learns its basis, this augmenter's is fixed: leave"),
        (
            {"method": "augerino", "augmenter": LieAugmenter(3, generators=so(3))},
            "draws coefficients by 'widths', got an augmenter with draw='uniform'",
        ),
        ({"method": "liegan"}, "plays against a discriminator"),
        ({"method": "semola", "beta": 1.0, "copies": 0}, "copies must be at least 1, got 0"),
        ({"method": "remul", "beta": 1.0}, "give it a GroupAugmenter, got LieAugmenter, or take method 'augmented'"),
        ({"method": "standard"}, "needs no augmenter"),
    ):
        with pytest.raises(ValueError, match=match):
            Objective(**{"augmenter": augmenter, "loss": mse, **wrong})
    with pytest.raises(KeyError, match="unknown method 'SEMoLo': did you mean semola"):
        Objective("SEMoLo", augmenter, loss=mse, beta=1.0)
    with pytest.raises(ValueError, match="give it a LieAugmenter, got GroupAugmenter"):
        Objective("semola", GroupAugmenter.haar(3), loss=mse, beta=1.0)
    normed = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    objective = Objective("standard", loss=mse)
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) normalises over the batch"):
        objective(normed, torch.randn(4, 3), torch.randn(4, 3))
    objective(normed.eval(), torch.randn(4, 3), torch.randn(4, 3))


@pytest.mark.parametrize("weights", [{"alpha": 0.0, "beta": 1.0}, {"alpha": 1.0, "beta": 0.0}])
def test_where_one_weight_is_zero_there_is_nothing_to_balance(weights):
    objective = Objective("semola", LieAugmenter(3), loss=nn.functional.mse_loss, gradual={}, **weights)
    loss, terms = objective(nn.Linear(3, 3), torch.randn(4, 3), torch.randn(4, 3))
    assert torch.isfinite(loss) and len(terms) == 1
    assert (objective.weights["lambda_task"], objective.weights["lambda_equiv"]) == (weights["alpha"], weights["beta"])


@pytest.mark.parametrize("augmenter", [LieAugmenter(3), GroupAugmenter.haar(3)], ids=["lie", "haar"])
def test_data_of_another_precision_or_dimension_are_refused(augmenter):
    method = "semola" if isinstance(augmenter, LieAugmenter) else "remul"
    objective = Objective(method, augmenter, loss=nn.functional.mse_loss, beta=1.0)
    model = nn.Linear(3, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"call augmenter\.to\(torch\.float64\)"):
        objective(model, torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"on_x=on_vectors moves \(B, n\) with n = 3, as the group has, got \(4, 2\)"):
        objective(nn.Linear(2, 2), torch.randn(4, 2), torch.randn(4, 2))
    with pytest.raises(ValueError, match=r"on_x=on_vectors moves .* got \(4, 5, 3\): take another action"):
        objective(nn.Linear(3, 3), torch.randn(4, 5, 3), torch.randn(4, 5, 3))
    with pytest.raises(ValueError, match=r"the targets torch\.float64: call y\.to\(torch\.float32\)"):
        objective(nn.Linear(3, 3), torch.randn(4, 3), torch.randn(4, 3, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"got Data: make one with Batch\.from_data_list"):
        objective(nn.Linear(3, 3), Data(pos=torch.randn(4, 3)), torch.randn(4, 3))
    equivariant = Objective(method, augmenter, loss=nn.functional.mse_loss, beta=1.0, on_y=on_vectors)
    with pytest.raises(ValueError, match=r"on_y=on_vectors moves .* got \(4, 1\)"):
        equivariant(nn.Linear(3, 3), torch.randn(4, 3), torch.randn(4, 1))
    augmenter.to(torch.float64)
    loss, terms = objective(model, torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64))
    assert loss.dtype == torch.float64 and not any(term.requires_grad for term in terms.values())
