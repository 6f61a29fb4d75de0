"""The report of a predictor's equivariance, against closed forms and a search over a grid of the whole group."""

import math

import pytest
import torch

from lib.actions import on_images, on_stacks, on_vectors
from lib.augmenter import LieAugmenter
from lib.groups import affine, rotations, so
from lib.metrics import equivariance_errors
from lib.models.mlp import MLP
from lib.robustness import equivariance_report


@pytest.fixture
def points(dtype, generator):
    return torch.randn(20, 3, generator=generator, dtype=dtype)


def test_of_an_equivariant_map_nothing_is_left_but_rounding(points):
    report = equivariance_report(lambda x: 3 * x, so(3), points, on_y=on_vectors, samples=10, steps=5)
    rounding = 50 * torch.finfo(points.dtype).eps * report.size
    assert max(report.E, report.E_prime, report.percentile_99, report.worst, report.floor) < rounding
    assert report.size == pytest.approx(3 * points.norm(dim=1).mean().item(), rel=1e-5)


def test_an_invariant_map_is_charged_nothing_and_a_constant_vector_all_it_moves(points):
    invariant = equivariance_report(lambda x: x.norm(dim=1, keepdim=True), so(3), points, samples=10, steps=5)
    assert invariant.worst < 50 * torch.finfo(points.dtype).eps * invariant.size
    ahead = torch.tensor([1.0, 0.0, 0.0]).to(points)
    constant = equivariance_report(lambda x: ahead + 0 * x, so(3), points, on_y=on_vectors)
    assert constant.worst == pytest.approx(2.0, rel=1e-4), "half a turn, || e - g e || = 2"
    torch.testing.assert_close(constant.worst_element @ ahead, -ahead, rtol=0, atol=0.03)


def test_the_worst_is_that_of_a_search_over_the_whole_circle(dtype, generator):
    x = torch.randn(8, 2, generator=generator, dtype=dtype)
    model = MLP(torch.Size([2]), torch.Size([2]), width=32).to(dtype)
    report = equivariance_report(model, so(2), x, on_y=on_vectors)
    g = rotations(torch.linspace(-math.pi, math.pi, 4001, dtype=dtype)).expand(8, -1, 2, 2)
    with torch.no_grad():
        moved = model(on_vectors(g, x).flatten(0, 1)).unflatten(0, (8, -1))
        errors = (moved - on_vectors(g, model(x))).norm(dim=2)
    assert report.worst == pytest.approx(errors.max().item(), rel=0.01) and report.ascended
    assert report.worst_sample == errors.amax(1).argmax()
    assert report.E <= report.E_prime <= report.percentile_99 <= report.worst
    with torch.no_grad():
        g, worst = report.worst_element, x[report.worst_sample]
        there = model((g @ worst)[None])[0] - g @ model(worst[None])[0]
    assert there.norm().item() == pytest.approx(report.worst, rel=1e-3)


def test_ascent_finds_more_than_was_drawn_and_without_gradients_the_worst_drawn_stands(generator):
    x = torch.randn(6, 3, generator=generator)
    model = MLP(torch.Size([3]), torch.Size([3]), width=32)
    found, drawn = (equivariance_report(f, so(3), x, on_y=on_vectors, samples=5) for f in (model, lambda x: model(x).detach()))
    assert found.worst > drawn.worst and found.ascended and not drawn.ascended
    assert (found.E, found.E_prime) == (drawn.E, drawn.E_prime)
    assert "worst found" in str(found) and "worst drawn" in str(drawn)


def test_its_means_are_those_of_the_papers_measures(generator):
    x, model = torch.randn(400, 3, generator=generator), MLP(torch.Size([3]), torch.Size([3]), width=16)
    augmenter = LieAugmenter(3, generators=so(3)[:1], norm=None, gamma=1.0)
    report = equivariance_report(model, augmenter, x, on_y=on_vectors, steps=1)
    e, e_prime = equivariance_errors(
        model, x, lambda count: augmenter(augmenter.coefficients(count, 1, generator)).squeeze(1), 100, rho_x=on_vectors, rho_y=on_vectors
    )
    assert pytest.approx(e, rel=0.05) == report.E and report.E_prime == pytest.approx(e_prime, rel=0.05)


def test_the_floor_holds_what_interpolation_loses(generator):
    x = torch.rand(4, 1, 12, 12, generator=generator)
    report = equivariance_report(lambda x: x.flatten(1), affine(so(2)), x, on_x=on_images, samples=3)
    assert report.floor > 0.1
    stacks = equivariance_report(
        lambda x: 2 * x, so(2), torch.rand(4, 5, 2, generator=generator), on_x=on_stacks, on_y=on_stacks, samples=3
    )
    assert stacks.floor < 1e-5


def test_what_cannot_be_meant_is_refused(points):
    with pytest.raises(ValueError, match="samples and starts"):
        equivariance_report(lambda x: x, so(3), points, samples=0)
    with pytest.raises(ValueError, match="NaN or infinite"):
        equivariance_report(lambda x: x / 0, so(3), points)


def test_what_cannot_be_compared_is_refused(generator):
    x = torch.randn(8, 3, generator=generator)
    with pytest.raises(ValueError, match=r"on_y=on_vectors moves .* got \(8, 1\)"):
        equivariance_report(lambda x: x.norm(dim=-1, keepdim=True), so(3), x, on_y=on_vectors)
    with pytest.raises(ValueError, match=r"on_x=on_vectors moves .* got \(8, 3\)"):
        equivariance_report(lambda x: x, so(2), x)
    drops = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"1 \(Dropout\) predicts otherwise in training: call eval\(\)"):
        equivariance_report(drops, so(3), x)
    assert equivariance_report(drops.eval(), so(3), x, on_y=on_vectors, samples=5).E > 0
    assert "-" in str(equivariance_report(torch.zeros_like, so(3), x, on_y=on_vectors, samples=5)), "nothing to be a part of"
