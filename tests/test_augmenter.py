"""The augmenter: start, mask, normalisation, coefficients, the averaged predictor."""

import math

import pytest
import torch

from lib import tasks
from lib.actions import on_vectors, trivially
from lib.augmenter import GroupAugmenter, LieAugmenter, averaged_prediction
from lib.experiments.settings import labelled_plan
from lib.experiments.training import fit
from lib.groups import affine, affine_mask, gaussian_start, so
from lib.losses import METHODS, objective
from lib.metrics import basis_cosine


@pytest.mark.parametrize(("norm", "size"), [("sqrt_dim", math.sqrt(3)), (1, 1.0), (2.5, 2.5)])
def test_basis_has_the_norm_asked_for(norm, size):
    augmenter = LieAugmenter(3, 2, norm=norm)
    with torch.no_grad():
        augmenter.raw.normal_(generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.linalg.matrix_norm(augmenter.basis()), torch.full((2,), size))


def test_a_basis_that_is_not_normalised_is_left_alone():
    augmenter = LieAugmenter(4, norm=None)
    assert torch.equal(augmenter.basis(), torch.full((1, 4, 4), 1e-2))
    assert augmenter.bound is None


def test_start_is_constant_and_the_mask_comes_before_the_norm():
    basis = LieAugmenter(3, mask=affine_mask(2)).basis()[0]
    torch.testing.assert_close(basis[:2], torch.full((2, 3), math.sqrt(3 / 6)))
    assert torch.equal(basis[2], torch.zeros(3))


def test_masked_entries_never_move():
    augmenter = LieAugmenter(3, mask=affine_mask(2))
    optimiser = torch.optim.Adam(augmenter.parameters(), 0.1)
    for _ in range(2):
        g = augmenter(augmenter.coefficients(8, 2, torch.Generator().manual_seed(1)))
        optimiser.zero_grad()
        g.square().sum().backward()
        optimiser.step()
    assert torch.equal(augmenter.basis()[0, 2], torch.zeros(3))
    assert torch.equal(g[..., 2, :], torch.tensor([0.0, 0.0, 1.0]).expand(8, 2, 3))


def test_coefficients_are_uniform_and_their_own():
    augmenter = LieAugmenter(3, 2, gamma=1.5)
    w = augmenter.coefficients(4000, 4, torch.Generator().manual_seed(0))
    assert w.shape == (4000, 4, 2)
    assert w.abs().max() <= 1.5
    assert w.std().item() == pytest.approx(1.5 / math.sqrt(3), rel=0.02)
    assert torch.equal(w, augmenter.coefficients(4000, 4, torch.Generator().manual_seed(0)))


def test_normal_coefficients_and_a_gaussian_start():
    """Augerino+, as in LieGAN's code: kaiming_normal_ of the (C, n, n) tensor, N(0, gamma^2), not normalised, so no bound is promised."""
    start = gaussian_start("kaiming", 50, 8, torch.Generator().manual_seed(0))
    expected = torch.nn.init.kaiming_normal_(torch.empty(50, 8, 8), generator=torch.Generator().manual_seed(1))
    assert start.std().item() == pytest.approx(expected.std().item(), rel=0.05)
    augmenter = LieAugmenter(8, 50, draw="normal", gamma=1.5, norm=None, init=start)
    assert augmenter.bound is None
    assert torch.equal(augmenter.basis(), start)
    w = augmenter.coefficients(4000, 1, torch.Generator().manual_seed(0))
    assert w.std().item() == pytest.approx(1.5, rel=0.02) and w.abs().max() > 4


def test_learned_widths_scale_the_coefficients():
    """Augerino: w ~ U(-1/2, 1/2) softplus(s); the start is the width asked for, and the widths get a gradient."""
    augmenter = LieAugmenter(3, generators=affine(so(2)), draw="widths", gamma=0.8, norm=None)
    w = augmenter.coefficients(1000, 1, torch.Generator().manual_seed(0))
    assert 0.49 < w.abs().max() <= 0.5
    g = augmenter(w)
    torch.testing.assert_close(torch.atan2(g[..., 1, 0], g[..., 0, 0]), 0.8 * w[..., 0])
    torch.testing.assert_close(augmenter.basis().detach(), 0.8 * affine(so(2)))
    g.square().sum().backward()
    assert augmenter.widths.grad is not None and augmenter.raw.grad is None


def test_a_fixed_basis_has_no_parameters_and_gives_rotations(generator):
    augmenter = LieAugmenter(2, generators=so(2), gamma=3.0)
    assert list(augmenter.parameters()) == []
    g = augmenter(augmenter.coefficients(10, 3, generator))
    torch.testing.assert_close(g @ g.mT, torch.eye(2).expand_as(g))


def test_averaged_prediction_is_the_average_of_inverted_predictions(generator):
    augmenter = LieAugmenter(2, generators=so(2), gamma=3.0)
    x, matrix = torch.randn(6, 2, generator=generator), torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    seed = torch.Generator().manual_seed(3)
    averaged = averaged_prediction(lambda x: x @ matrix.T, augmenter, x, copies=5, generator=seed, rho_x=on_vectors, rho_y=on_vectors)
    w = augmenter.coefficients(6, 5, torch.Generator().manual_seed(3))
    expected = torch.stack([
        torch.stack([torch.linalg.inv(g) @ matrix @ g @ x[b] for g in augmenter(w)[b]]).mean(0) for b in range(6)
    ])  # fmt: skip
    torch.testing.assert_close(averaged, expected)


def test_averaging_an_invariant_function_changes_nothing(generator):
    augmenter = LieAugmenter(2, generators=so(2), gamma=3.0)
    x = torch.randn(6, 2, generator=generator)
    predict = lambda x: x.square().sum(-1, keepdim=True)  # noqa: E731
    averaged = averaged_prediction(predict, augmenter, x, copies=4, generator=generator, rho_x=on_vectors, rho_y=trivially)
    torch.testing.assert_close(averaged, predict(x))


@pytest.mark.parametrize("init", [1e-2, 1e-4, 0.0])
def test_a_start_of_any_size_learns(init):
    """|x|^2 is invariant to turns: the first gradient is finite and, from zero, no larger than the later ones."""
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1))
    augmenter = LieAugmenter(2, init=init)
    optimiser = torch.optim.Adam([*model.parameters(), *augmenter.parameters()], 1e-2)
    weights = {"lambda_task": 1.0, "lambda_equiv": 1.0, "lambda_aug": 0.1, "lambda_ortho": 0.0, "lambda_sparse": 0.0}
    for step in range(300):
        x = torch.randn(64, 2, generator=draws)
        y, w = x.square().sum(1, keepdim=True), augmenter.coefficients(64, 4, draws)
        loss, _ = objective(
            METHODS["semola"], weights, model, augmenter, x, y, w,
            loss=torch.nn.functional.mse_loss, rho_x=on_vectors, rho_y=trivially,
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        assert augmenter.raw.grad.isfinite().all()
        assert step > 0 or init > 0 or augmenter.raw.grad.norm() < 10
        optimiser.step()
    assert basis_cosine(augmenter.basis().detach(), so(2)) > 0.99


def test_a_start_next_to_zero_is_refused_where_it_cannot_learn():
    inside = torch.full((1, 3, 3), 1e-12)
    inside[:, 2] = 1.0  # where the mask is zero
    with pytest.raises(ValueError, match=r"init must be 0 or have entries of at least 0\.0001 for a normalised basis, got 1e-12"):
        LieAugmenter(3, init=inside, mask=affine_mask(2))
    assert LieAugmenter(3, init=1e-12, norm=None).raw.max() > 0
    assert LieAugmenter(3, generators=1e-12 * so(3)).basis().max() == pytest.approx(math.sqrt(1.5))


def test_reach_scales_coefficients_and_never_group_elements():
    """Half of w is a smaller turn; half of a rotation matrix is no rotation."""
    for draw in LieAugmenter.DRAWS:
        augmenter = LieAugmenter(3, generators=so(3), draw=draw)
        whole, half = (augmenter.coefficients(50, 2, torch.Generator().manual_seed(0), reach) for reach in (1.0, 0.5))
        torch.testing.assert_close(half, 0.5 * whole)
    known = GroupAugmenter.haar(3, torch.float64)
    g = known(known.coefficients(50, 2, torch.Generator().manual_seed(0), 1.0))
    torch.testing.assert_close(g @ g.mT, torch.eye(3, dtype=torch.float64).expand_as(g))
    with pytest.raises(ValueError, match=r"elements of a known group are drawn whole, got reach 0\.5: leave warmup out"):
        known.coefficients(50, 2, torch.Generator().manual_seed(0), 0.5)


def test_training_with_a_known_group_has_no_warm_up():
    run = next(run for _, run in labelled_plan("nbody", "smoke") if run["method"] == "remul")
    with pytest.raises(ValueError, match="leave warmup out"):
        fit(tasks.load_tiny("nbody", scenario="10deg"), [{**run, "steps": 4, "batch_size": 4, "warmup": 0.5}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma must be positive, got 0.0"),
        ({"gamma": -1.0}, "gamma must be positive"),
        ({"cardinality": 0}, "cardinality must be at least 1"),
        ({"norm": "frobenius"}, "norm must be"),
        ({"norm": -2.0}, "norm must be"),
        ({"generators": torch.zeros(1, 2, 2)}, r"generators must have shape \(C, 3, 3\), got \(1, 2, 2\)"),
        ({"mask": torch.ones(2, 2)}, r"mask must have shape \(3, 3\), got \(2, 2\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LieAugmenter(3, **options)
