"""The objective, term by term, recomputed; and its table of methods."""

import pytest
import torch
from torch import nn

from lib.actions import on_vectors, trivially
from lib.augmenter import LieAugmenter
from lib.groups import affine, so
from lib.losses import METHODS, Phase, cosine_penalty, fourier_penalty, method_named, objective, orthogonality_penalty, sparsity_penalty
from tests.counted import Counted

WEIGHTS = {"lambda_task": 0.7, "lambda_equiv": 1.3, "lambda_aug": 0.2, "lambda_ortho": 0.4, "lambda_sparse": 0.05}


@pytest.fixture
def problem(generator):
    """A linear network, two generators in three dimensions, a batch of five with two copies each; float64."""
    augmenter = LieAugmenter(3, 2).double()
    with torch.no_grad():
        augmenter.raw.normal_(generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Linear(3, 3).double()
    x, y = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    return {"model": network, "augmenter": augmenter, "x": x, "y": y, "coefficients": augmenter.coefficients(5, 2, generator)}


def value(method, problem, weights=WEIGHTS, **options):
    options = {"loss": nn.functional.mse_loss, "rho_x": on_vectors, "rho_y": on_vectors, **options}
    return objective(METHODS[method], weights, **problem, **options)


def test_objective_is_the_weighted_sum_of_its_five_terms(problem):
    f, augmenter, x, y, w = problem.values()
    total, terms = value("semola", problem)
    g, basis = torch.linalg.matrix_exp(torch.einsum("bkc,cij->bkij", w, augmenter.basis())), augmenter.basis()
    gx, gy = torch.einsum("bkij,bj->bki", g, x), torch.einsum("bkij,bj->bki", g, y)
    expected = {
        "task": (f(x) - y).square().mean(),
        "equiv": (f(gx) - gy).square().mean(),
        "aug": ((gx * x[:, None]).sum(-1) / gx.norm(dim=-1) / x.norm(dim=-1)[:, None]).mean().abs(),
        "ortho": (basis[0] * basis[1]).sum().abs(),
        "sparse": basis.abs().sum(),
    }
    assert terms.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(terms[name], expected[name])
    torch.testing.assert_close(total, sum(weight * expected[name.removeprefix("lambda_")] for name, weight in WEIGHTS.items()))


def test_prediction_target_puts_the_prediction_in_place_of_the_label(problem):
    f, augmenter, x, _, w = problem.values()
    _, terms = value("semola", problem, target="prediction")
    g = augmenter(w)
    gap = f(torch.einsum("bkij,bj->bki", g, x)) - torch.einsum("bkij,bj->bki", g, f(x))
    torch.testing.assert_close(terms["equiv"], gap.square().mean())


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_no_gradient_moves_a_prediction_that_serves_as_the_target(problem, alpha):
    """Of f(x) = W x + b and the weights (alpha, 1): the derivative in closed form, with f(x) a constant of the second term."""
    f, augmenter, x, y, w = problem.values()
    problem["model"] = counted = Counted(f)
    total, _ = value("augmented", problem, {"lambda_task": alpha, "lambda_equiv": 1.0}, target="prediction")
    assert counted.passes == 2, "f(x) once, f(g x) once"
    found = torch.autograd.grad(total, f.bias)[0]
    g, fx = augmenter(w), f(x)
    gap = f(torch.einsum("bkij,bj->bki", g, x)) - torch.einsum("bkij,bj->bki", g, fx)
    torch.testing.assert_close(found, 2 * (alpha * (fx - y).mean(0) + gap.mean((0, 1))) / 3)  # / 3: the mean over the entries


def test_an_invariant_target_is_not_moved(problem):
    _, terms = value("semola", problem, rho_y=trivially)
    f, augmenter, x, y, w = problem.values()
    gx = torch.einsum("bkij,bj->bki", augmenter(w), x)
    torch.testing.assert_close(terms["equiv"], (f(gx) - y[:, None]).square().mean())


@pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if method.beta in (0.0, "lambda_equiv") and not method.adversarial]
)
def test_beta_zero_is_plain_training_bit_for_bit(problem, method):
    plain, _ = objective(
        METHODS["standard"], {}, problem["model"], None, problem["x"], problem["y"], None,
        loss=nn.functional.mse_loss, rho_x=on_vectors, rho_y=on_vectors,
    )  # fmt: skip
    expected = torch.autograd.grad(plain, list(problem["model"].parameters()))
    total, _ = value(method, problem, {**WEIGHTS, "lambda_task": 1.0, "lambda_equiv": 0.0})
    found = torch.autograd.grad(total, list(problem["model"].parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_reach_weighs_what_looks_at_the_basis_alone_by_its_square(problem):
    _, full = value("semola", problem)
    _, half = value("semola", problem, phase=Phase(reach=0.5, square=0.25))
    for name, factor in {"task": 1.0, "equiv": 1.0, "aug": 1.0, "ortho": 0.25, "sparse": 0.25}.items():
        torch.testing.assert_close(half[name], factor * full[name])


def test_push_weighs_the_regularisers_alone(problem):
    full, terms = value("semola", problem)
    faded, same = value("semola", problem, phase=Phase(push=0.25))
    regularisers = sum(WEIGHTS[f"lambda_{name}"] * terms[name] for name in ("aug", "ortho", "sparse"))
    torch.testing.assert_close(full - faded, 0.75 * regularisers)
    assert all(torch.equal(terms[name], same[name]) for name in terms)


def test_augerino_rewards_width(problem):
    augmenter = LieAugmenter(3, generators=affine(so(2)), gamma=1.3, draw="widths").double()
    narrowed = {**problem, "augmenter": augmenter, "coefficients": problem["coefficients"][..., :1]}
    total, terms = value("augerino", narrowed, {"lambda_width": 0.1})
    assert terms["width"].item() == pytest.approx(-1.3)
    torch.testing.assert_close(total, terms["equiv"] + 0.1 * terms["width"])


def test_augerino_plus_sees_augmented_samples_only(problem):
    weights = {"lambda_aug": 0.7, "lambda_ortho": 0.3}
    total, terms = value("augerino_plus", problem, weights)
    assert list(terms) == ["equiv", "aug", "ortho"]
    torch.testing.assert_close(total, terms["equiv"] + 0.7 * terms["aug"] + 0.3 * terms["ortho"])


def test_alpha_zero_leaves_the_augmented_samples_alone(problem):
    total, terms = value("augmented", problem, {"lambda_task": 0.0, "lambda_equiv": 1.0})
    assert list(terms) == ["equiv"]
    assert torch.equal(total, terms["equiv"])


def test_cosine_penalty_is_one_for_the_identity_and_zero_for_a_quarter_turn():
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    assert cosine_penalty(x, x[:, None]).item() == pytest.approx(1.0)
    assert cosine_penalty(x, torch.stack([-x[:, 1], x[:, 0]], -1)[:, None]).item() == pytest.approx(0.0, abs=1e-7)


def test_cosine_penalty_is_that_of_each_time_step(dtype, generator):
    """A long step that stays, a short one turned by a right angle and another turned about: (1 + 0 - 1) / 3 in the place of about 1."""
    long, short = torch.tensor([[1e3, 2e3]], dtype=dtype), torch.tensor([[3.0, -1.0]], dtype=dtype)
    x = torch.stack([long, short, short], 1)
    turned = torch.stack([long, short.flip(1) * torch.tensor([1.0, -1.0], dtype=dtype), -short], 1)
    assert cosine_penalty(x, turned[:, None]).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_penalty(x, torch.stack([x, turned], 1)).item() == pytest.approx(0.5)
    x, gx = (torch.randn(size, generator=generator, dtype=dtype) for size in ((2, 4, 5), (2, 3, 4, 5)))
    every = [torch.dot(x[b, t], gx[b, k, t]) / x[b, t].norm() / gx[b, k, t].norm() for b in range(2) for k in range(3) for t in range(4)]
    torch.testing.assert_close(cosine_penalty(x, gx), torch.stack(every).mean().abs())
    images, moved = torch.rand(2, 1, 4, 4, generator=generator, dtype=dtype), torch.rand(2, 3, 1, 4, 4, generator=generator, dtype=dtype)
    torch.testing.assert_close(cosine_penalty(images, moved), cosine_penalty(images.flatten(1), moved.flatten(2)))


@pytest.mark.parametrize("method", ["augerino_plus", "liegan"])
def test_the_baselines_correlate_their_generators_before_the_mask(method, problem):
    """And normalised, as long as they themselves may be."""
    augmenter = LieAugmenter(3, 2, mask=torch.eye(3), norm=None, draw="normal").double()
    with torch.no_grad():
        augmenter.raw.copy_(7 * problem["augmenter"].raw)
    a, b = augmenter.raw / augmenter.raw.norm(dim=(1, 2), keepdim=True)
    _, terms = value(method, {**problem, "augmenter": augmenter}, {"lambda_aug": 0.0, "lambda_ortho": 1.0})
    torch.testing.assert_close(terms["ortho"], 3 * (a * b).sum().abs())


def test_fourier_penalty_does_not_see_a_cyclic_shift(generator):
    x = torch.rand(3, 1, 8, 8, generator=generator, dtype=torch.float64)
    shifted = torch.roll(x, (2, 3), (2, 3)).unsqueeze(1)
    assert fourier_penalty(x, shifted).item() == pytest.approx(1.0)
    assert cosine_penalty(x, shifted).item() < 0.99


def test_basis_penalties_in_closed_form():
    basis = torch.tensor([[[1.0, 0.0], [0.0, -1.0]], [[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 1.0]]])
    assert orthogonality_penalty(basis).item() == 1.0 + 1.0 + 0.0
    assert orthogonality_penalty(basis[:1]).item() == 0.0
    assert sparsity_penalty(basis).item() == 9.0


def test_an_unknown_method_is_named_with_the_known_ones():
    with pytest.raises(KeyError, match=r"unknown method 'semolla': did you mean semola. Choose one of standard, augmentation, remul"):
        method_named("semolla")
