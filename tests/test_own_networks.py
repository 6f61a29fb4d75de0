"""Networks of one's own: layers that draw at random in training, layers that keep statistics, penalties."""

import pytest
import torch
from torch import nn

from lib import models, tasks
from lib.experiments.evaluation import evaluating, validation_loss
from lib.experiments.settings import labelled_plan
from lib.experiments.trainable import Trainable
from lib.experiments.training import fit
from lib.losses import WHOLE

LAYERS = {
    "dropout": lambda: nn.Dropout(0.5),
    "noise": lambda: Noise(),
    "group": lambda: nn.GroupNorm(4, 16),
    "batch": lambda: nn.BatchNorm1d(16),
    "batch without statistics": lambda: nn.BatchNorm1d(16, track_running_stats=False),
    "instance": lambda: nn.InstanceNorm1d(16, track_running_stats=True),
}


class Noise(nn.Module):
    """Its modes differ, and it is none of PyTorch's layers."""

    def forward(self, x):
        return x + torch.randn_like(x) if self.training else x


class Mine(nn.Module):
    def __init__(self, inputs, outputs, generators=None, *, layer: str):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs[0], 16), LAYERS[layer](), nn.ReLU(), nn.Linear(16, 4), nn.Linear(4, 1))

    def forward(self, x):
        return self.net(x).squeeze(1)


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    monkeypatch.setitem(models.MODELS, "mine", (__name__, "Mine"))


@pytest.fixture(scope="module")
def task():
    return tasks.load("discrete_rotation", n_train=64, n_eval=40)


@pytest.fixture
def run():
    small = {"batch_size": 16, "steps": 8, "error_samples": 4, "error_draws": 3, "n_train": 64, "n_eval": 40}
    planned = dict(labelled_plan("discrete_rotation", "smoke", **small))["SEMoLA"]
    return lambda layer, seed=0: {**planned, "model": "mine", "model_options": {"layer": layer}, "seed": seed}


def numbers(result):
    return {key: result[key] for key in ("metrics", "curves", "basis")}


@pytest.mark.parametrize("layer", ["dropout", "noise"])
def test_what_a_network_draws_hangs_on_the_runs_seed_alone(task, run, layer):
    found = []
    for start in (0, 1):
        torch.manual_seed(start)
        before = torch.random.get_rng_state()
        found.append(numbers(fit(task, [run(layer)])[0]))
        assert torch.equal(before, torch.random.get_rng_state()), "the global stream is left as it was"
    assert found[0] == found[1]
    together = [numbers(result) for result in fit(task, [run(layer, seed) for seed in (1, 0, 2)])]
    assert together[1] == found[0] and together[0]["curves"] != together[1]["curves"]


def test_it_draws_anew_at_every_step_and_in_training_only(task, run, monkeypatch):
    seen = {True: [], False: []}

    def forward(self, x):
        draw = torch.rand(()).item()
        seen[self.training].append(draw)
        return x * (1 + draw) if self.training else x

    monkeypatch.setattr(Noise, "forward", forward)
    fit(task, [run("noise")])
    drawn = seen[True][1:]  # the first asks whether it draws
    assert len(set(drawn)) == len(drawn) == 2 * 8, "two passes a step"
    assert len(seen[False]) > 0


def test_layers_are_evaluated_in_their_evaluation_mode(task, run):
    trainable = Trainable(run("dropout"), task)
    trainable.model.net[3].eval()
    found = validation_loss(trainable.model, task)
    assert [layer.training for layer in trainable.model.net] == [True, True, True, False, True], "as they were"
    x, y = task.val
    linear = trainable.model.net
    expected = task.loss(linear[4](linear[3](linear[0](x).relu())).squeeze(1), y)
    torch.testing.assert_close(found, expected.detach())
    with evaluating(trainable.model):
        assert not any(layer.training for layer in trainable.model.modules())


@pytest.mark.parametrize(
    ("layer", "name"),
    [("batch", "BatchNorm1d"), ("batch without statistics", "BatchNorm1d"), ("instance", "InstanceNorm1d")],
)
def test_layers_that_keep_statistics_are_refused_by_name(task, run, layer, name):
    with pytest.raises(ValueError, match=rf"mine: net\.1 is a {name}.*take GroupNorm or LayerNorm"):
        fit(task, [run(layer)])
    assert fit(task, [run("group")])[0]["metrics"]["test_mse"] > 0


@pytest.mark.parametrize(("label", "options"), [("RPP", {"channels": 24}), ("PER", {"channels": 24}), ("GATr", {"blocks": 1})])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 10.0)])
def test_a_penalty_is_charged_once_a_step(label, options, weights):
    """Of the weights alone it is that of one pass; of GATr's outputs, the mean over the passes."""
    experiment, remul = ("nbody", "REMUL") if label == "GATr" else ("mocap_mlp", "MLP + REMUL")
    planned = dict(reversed(labelled_plan(experiment, "smoke")))
    options = {**planned[label]["model_options"], **options}
    task = tasks.load_tiny(planned[label]["task"], scenario=planned[label]["scenario"])
    trainable = Trainable({**planned[remul], "model": planned[label]["model"], "model_options": options}, task)
    x, y = task.train
    g = trainable.augmenter.coefficients(len(x), 1, torch.Generator().manual_seed(0))
    total, terms = trainable(x, y, g, dict(zip(("lambda_task", "lambda_equiv"), weights, strict=True)), WHOLE)
    passes = [trainable.model.with_penalty(at)[1] for at, weight in ((x, weights[0]), (task.rho_x(g, x).squeeze(1), weights[1])) if weight]
    torch.testing.assert_close(terms["penalty"], sum(passes) / len(passes))
    if label != "GATr":
        torch.testing.assert_close(terms["penalty"], passes[0])
    assert terms["penalty"] > 0
    data = weights[0] * terms.get("task", 0.0) + weights[1] * terms.get("equiv", 0.0)
    torch.testing.assert_close(total, data + terms["penalty"])
