"""Weights that move. Gradual: Algorithm 1 by plain autograd, last-layer gradients from one backward pass. Dual: a constrained minimum in
closed form. Both: runs in stacks, and bad options."""

import math

import pytest
import torch
from torch import nn

from lib import tasks
from lib.experiments.settings import ConfigError, labelled_plan
from lib.experiments.trainable import Trainable
from lib.experiments.training import fit
from lib.experiments.values import checked
from lib.losses import WHOLE
from lib.weights import AVERAGED, FLOOR, PRICES, Dual, Gradual, last_name, moving, twice

DTYPES = [torch.float32, torch.float64]


def algorithm_1(weights, losses, first_losses, norms, eta, exponent):
    """One literal step for one member, by autograd; `norms` are those of the unweighted losses' gradients."""
    weights = weights.clone().requires_grad_()
    sizes = (weights * norms).abs()  # ||w grad L|| = |w| ||grad L||
    relative = losses / first_losses
    target = sizes.mean().detach() * (relative / relative.mean()).detach() ** exponent
    return weights.detach() - eta * torch.autograd.grad((sizes - target).abs().sum(), weights)[0]


def problem(dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
        return network, torch.randn(16, 3, dtype=dtype), torch.randn(16, 3, dtype=dtype), torch.randn(16, 2, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("eta", "exponent"), [(0.025, 1.5), (0.3, 0.5)])
def test_literal_steps_are_algorithm_1_by_autograd(dtype, eta, exponent):
    """Over a training in which each step's gradient norms and losses are those of a real network."""
    network, x, gx, y = problem(dtype)
    gradual = Gradual(torch.tensor([[1.0], [3.0]], dtype=dtype), eta=eta, exponent=exponent, relative=False)
    weights, first = gradual.weights[:, 0], None
    for _ in range(20):
        losses = torch.stack([(network(z) - y).square().mean() for z in (x, gx)])
        norms = torch.stack([torch.autograd.grad(loss, network[2].weight, retain_graph=True)[0].norm() for loss in losses])
        first = losses.detach() if first is None else first
        gradual.step(losses.detach()[:, None], (weights.abs() * norms)[:, None])
        weights = algorithm_1(weights, losses.detach(), first, norms, eta, exponent)
        torch.testing.assert_close(gradual.weights[:, 0], weights, rtol=1e-6, atol=1e-6)
        (weights[0] * losses[0] + weights[1] * losses[1]).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.05 * parameter.grad
                parameter.grad = None
    assert (weights - torch.tensor([1.0, 3.0], dtype=dtype)).abs().max() > 0.05  # the weights did move


def test_relative_steps_are_algorithm_1_on_rescaled_losses():
    """Units of the losses and the weights at the start drop out: the same path, in parts of the initial weights."""
    losses = torch.tensor([[2.0, 1.5, 1.4], [3.0, 2.9, 1.0]], dtype=torch.float64)
    norms = torch.tensor([[5.0, 4.0, 6.0], [7.0, 8.0, 3.0]], dtype=torch.float64)  # of the unweighted losses
    scaled = torch.ones(2, dtype=torch.float64)
    for units, initial in ((torch.ones(2, 1), (1.0, 1.0)), (torch.tensor([[100.0], [0.01]]), (1.0, 10.0))):
        start = torch.tensor(initial, dtype=torch.float64)[:, None]
        gradual, expected = Gradual(start), scaled
        for step in range(3):
            loss, norm = losses[:, step : step + 1], norms[:, step : step + 1]
            gradual.step(units * loss, gradual.weights * units * norm)
            expected = algorithm_1(expected, loss[:, 0], losses[:, 0], norm[:, 0] / norms[:, 0], 0.025, 1.5)
            torch.testing.assert_close(gradual.weights, start * expected[:, None])


def test_a_weight_does_not_cross_zero_but_to_the_letter_it_does():
    start, losses = torch.ones(2, 1), torch.tensor([[1.0], [1.0]])
    literal, relative = Gradual(start, relative=False), Gradual(start, eta=0.6)
    literal.step(losses, torch.tensor([[250.0], [1.0]]))
    assert literal.weights[0] < -5
    for factor in (1.0, 2.0, 2.0, 2.0):  # of the first gradient's norm
        relative.step(losses, relative.weights * torch.tensor([[250.0 * factor], [1.0]]))
    assert relative.weights.min().item() == pytest.approx(FLOOR)
    assert relative.floored.item() >= 1


@pytest.mark.parametrize(("renormalise", "total"), [("initial", 4.0), ("tasks", 2.0)])
def test_weights_are_brought_back_to_their_sum(renormalise, total):
    gradual = Gradual(torch.tensor([[1.0], [3.0]]), renormalise=renormalise)
    for step in range(5):
        gradual.step(torch.tensor([[1.0], [2.0 + step]]), torch.tensor([[1.0], [1.0 + step]]))
        assert gradual.weights.sum().item() == pytest.approx(total)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_backward_pass_gives_both_last_layer_gradients(dtype):
    network, x, gx, y = problem(dtype)
    offsets = torch.zeros(2, *network[2].weight.shape, dtype=dtype, requires_grad=True)
    first, second = twice(network, offsets)
    total = 2.0 * (first(x) - y).square().mean() + 5.0 * (second(gx) - y).square().mean()
    found, whole = torch.autograd.grad(total, [offsets, network[0].weight])
    for k, (weight, z) in enumerate(((2.0, x), (5.0, gx))):
        expected = torch.autograd.grad(weight * (network(z) - y).square().mean(), network[2].weight)[0]
        torch.testing.assert_close(found[k], expected)
    plain = 2.0 * (network(x) - y).square().mean() + 5.0 * (network(gx) - y).square().mean()
    torch.testing.assert_close(whole, torch.autograd.grad(plain, network[0].weight)[0])
    assert last_name(network) == "2.weight"


@pytest.mark.parametrize(("experiment", "label"), [("rotated_mnist", "SEMoLA"), ("two_body", "SEMoLA_2")])
@pytest.mark.parametrize("kind", [{"gradual": {"eta": 0.1}}, {"dual": {"epsilon": 0.1, "eta": 0.1}}], ids=["gradual", "dual"])
def test_a_run_with_moving_weights_is_the_same_alone_and_in_a_stack(experiment, label, kind):
    small = {"n_train": 64, "n_eval": 40, "steps": 20, "scenarios": ["in"]}
    run = {**dict(labelled_plan(experiment, "smoke", **small))[label], **kind}
    task = tasks.load_tiny(run["task"], scenario="in")
    stack = [{**run, "seed": seed, "lambda_equiv": 1.0 + seed} for seed in range(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    together, alone = fit(task, stack), fit(task, stack[1:2])[0]
    torch.set_num_threads(threads)
    assert alone["curves"] == together[1]["curves"]
    assert alone["curves"]["beta"][-1] != pytest.approx(2.0, abs=1e-3)  # it moved
    assert together[0]["curves"]["beta"] != together[2]["curves"]["beta"]
    assert (alone["curves"]["alpha"][-1] == 1.0) == ("dual" in kind)  # of a constraint alpha stays
    constant = fit(task, [{name: value for name, value in stack[1].items() if name not in kind}])[0]
    assert constant["curves"]["equiv"] != alone["curves"]["equiv"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [0.04, 0.25])
def test_a_constraint_is_met_at_its_lagrange_multiplier(dtype, epsilon):
    """min (w - 1)^2 where w^2 <= epsilon: w = sqrt(epsilon), and 2 (w - 1) + 2 beta w = 0 there; from any beta, whatever the others do."""
    start = torch.tensor([[1.0, 1.0], [0.01, 50.0]], dtype=dtype)
    dual, w = Dual(start, epsilon=epsilon, eta=0.05), torch.ones(2, dtype=dtype)
    for _ in range(3000):
        alpha, beta = dual.weights
        w = w - 0.1 * (alpha * (w - 1) + beta * w) / (alpha + beta)
        dual.step(torch.stack([(w - 1).square(), w.square()]))
    torch.testing.assert_close(w, torch.full_like(w, epsilon**0.5), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(dual.weights, torch.tensor([[1.0], [epsilon**-0.5 - 1]], dtype=dtype).expand(2, 2), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(dual.level, torch.full_like(w, epsilon), rtol=2e-3, atol=0.0)


def test_a_constraint_that_holds_by_itself_costs_ever_less():
    dual = Dual(torch.ones(2, 1, dtype=torch.float64), epsilon=1.0, eta=0.02)
    for _ in range(10):
        dual.step(torch.tensor([[3.0], [0.25]]))
    assert dual.weights.flatten().tolist() == pytest.approx([1.0, math.exp(-10 * 0.02 * 0.75)])


def test_one_step_of_a_broken_constraint_is_bounded_and_its_level_is_a_mean():
    dual, levels = Dual(torch.ones(2, 1, dtype=torch.float64), epsilon=0.1, eta=0.02), torch.arange(1.0, AVERAGED + 1).double()
    for level in levels:
        dual.step(torch.stack([torch.ones(1).double(), level[None]]))
    assert dual.weights[1].item() == pytest.approx(math.exp(0.02 * AVERAGED))
    assert dual.level.item() == pytest.approx(levels.mean().item())
    dual.step(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    assert dual.level.item() == pytest.approx(levels.mean().item() * (1 - 1 / AVERAGED))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("gradual", {name: value}) for name, value in (("eta", 0.0), ("exponent", -1.0), ("gamma", 1.5), ("renormalise", "all"))]
    + [("dual", {"epsilon": 0.0}), ("dual", {"eta": 0.0, "epsilon": 1.0}), ("dual", {"bound": 1.0}), ("dual", {})],
)
def test_options_that_cannot_be_meant_are_named(kind, options):
    with pytest.raises(ConfigError, match=next(iter(options), "need epsilon")):
        checked({**dict(labelled_plan("rotated_mnist", "smoke"))["SEMoLA"], kind: options})


def test_weights_do_not_move_in_two_ways():
    with pytest.raises(ConfigError, match="in one way, got gradual and dual"):
        checked({**dict(labelled_plan("rotated_mnist", "smoke"))["SEMoLA"], "gradual": {}, "dual": {"epsilon": 1.0}})
    assert moving({"gradual": None}, torch.ones(2, 1)) is None


def test_a_beta_of_zero_cannot_become_the_price_of_a_constraint():
    with pytest.raises(ConfigError, match=r"within 0.001 and 100, got \[0.0\]"):
        checked({**dict(labelled_plan("rotated_mnist", "smoke"))["SEMoLA"], "dual": {"epsilon": 1.0}, "lambda_equiv": 0})
    with pytest.raises(ValueError, match=r"within 0.001 and 100, got \[0.0\]"):
        Dual(torch.tensor([[1.0], [0.0]]), epsilon=1.0)


@pytest.mark.parametrize(("term", "end"), [(1e6, PRICES[1]), (0.0, PRICES[0])])
def test_a_bound_out_of_reach_does_not_take_beta_so_far_that_it_never_comes_back(term, end):
    dual = Dual(torch.ones(2, 1, dtype=torch.float64), epsilon=1.0, eta=0.1)
    for _ in range(1000):
        dual.step(torch.tensor([[1.0], [term]]))
    assert dual.weights[1].item() == end
    dual.step(torch.tensor([[1.0], [1.5 if term == 0 else 0.5]]))
    assert dual.weights[1].item() == pytest.approx(end * math.exp(0.05 if term == 0 else -0.05))


def test_a_network_without_a_weight_matrix_is_refused():
    with pytest.raises(ValueError, match="no weight matrix"):
        last_name(nn.LayerNorm(3))


@pytest.mark.parametrize("start", [[[1.0], [0.0]], [[0.0], [2.0]]])
def test_a_weight_of_zero_leaves_both_what_they_are(start):
    gradual = Gradual(torch.tensor(start))
    for _ in range(50):
        gradual.step(torch.tensor([[1.0], [2.0]]), 3 * gradual.weights)
    assert gradual.weights.tolist() == start


def test_literal_weights_are_not_renormalised():
    with pytest.raises(ValueError, match="needs relative weights"):
        Gradual(torch.ones(2, 1), relative=False, renormalise="tasks")


def test_a_prediction_as_target_does_not_mix_the_two_gradients():
    """f(x) serves both terms, yet the second one's gradient is at its own offset alone."""
    run = {**dict(labelled_plan("two_body", "smoke", n_train=64, n_eval=40, scenarios=["in"]))["SEMoLA_2"], "target": "prediction"}
    task = tasks.load_tiny("two_body", scenario="in")
    trainable = Trainable({**run, "gradual": {}}, task)
    offsets = torch.zeros(2, *trainable.model.get_parameter(last_name(trainable.model)).shape, requires_grad=True)
    coefficients = trainable.augmenter.coefficients(16, run["copies"], torch.Generator().manual_seed(0))
    _, terms = trainable(*task.train, coefficients, dict.fromkeys(trainable.method.hyperparameters, 1.0), WHOLE, offsets)
    of_task, of_equiv = (torch.autograd.grad(terms[name], offsets, retain_graph=True)[0] for name in ("task", "equiv"))
    assert of_task[1].abs().max() == of_equiv[0].abs().max() == 0
    assert min(of_task[0].norm(), of_equiv[1].norm()) > 0
