"""Autocast and half precision: group elements stay exact, and so do the data that they move and the scores."""

import itertools
import math

import pytest
import torch

from lib import actions, metrics, models, tasks
from lib.augmenter import LieAugmenter, averaged_prediction
from lib.experiments import training
from lib.experiments.canary import shrunk
from lib.experiments.settings import labelled_plan
from lib.experiments.trainable import Trainable
from lib.exponential import exp_map, matrix_exp
from lib.groups import bracket, haar, normalised, rotations, rotations_between, so

HALVES = [torch.bfloat16, torch.float16]


def draws():
    return torch.Generator().manual_seed(1)


SENSITIVE = {
    "one generator": lambda a: exp_map(a[:, 0, :1], so(3)[:1].to(a), 6.0),
    "three generators": lambda a: exp_map(a[:, 0], so(3).to(a), 12.0),
    "no bound": lambda a: exp_map(a[:, 0, :1], so(3)[:1].to(a)),
    "matrix_exp": matrix_exp,
    "bracket": lambda a: bracket(a, a.mT),
    "normalised": normalised,
    "haar": lambda a: haar(3, (50,), draws(), a.dtype),
    "uniform axes": lambda a: rotations_between(0.5, 3.0, (50,), draws(), a.dtype),
    "euler": lambda a: rotations_between(0.5, 3.0, (50,), draws(), a.dtype, axes="euler"),
    "rotations": lambda a: rotations(a[:, 0, 0]),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", SENSITIVE)
def test_autocast_changes_nothing(name, half, dtype, generator):
    a = torch.randn(50, 3, 3, generator=generator, dtype=dtype)
    expected = SENSITIVE[name](a)
    with torch.autocast("cpu", half):
        found = SENSITIVE[name](a)
    assert found.dtype == dtype and torch.equal(found, expected)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", SENSITIVE)
def test_half_precision_is_rounded_once(name, half, generator):
    """The result differs by a few units of the last place from that of the same numbers in float64; draws are those of float32."""
    a = torch.randn(50, 3, 3, generator=generator).to(half)
    found = SENSITIVE[name](a)
    assert found.dtype == half
    expected = SENSITIVE[name](a.float() if name in ("haar", "uniform axes", "euler") else a.double()).double()
    error = (found.double() - expected).abs() / expected.abs().amax((-2, -1), keepdim=True)
    assert error.max() <= 3 * torch.finfo(half).eps, f"{error.max() / torch.finfo(half).eps:.1f} eps"


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_bound_in_half_precision_is_kept(n, half, generator):
    basis = normalised(torch.randn(200, n, n, generator=generator).to(half))
    for gamma in (0.3, 1.0, math.pi):
        w = torch.tensor([[gamma], [-gamma]], dtype=half)
        g = torch.func.vmap(lambda basis, c=gamma, w=w: exp_map(w, basis, c * math.sqrt(n)))(basis[:, None])
        assert not g.isnan().any()


# --------------------------------------------------------------------------------------------------- augmenter and data


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    "options", [{"generators": so(3)[:1]}, {"generators": so(3)}, {"generators": so(3), "draw": "widths", "norm": None}]
)
def test_an_augmenter_keeps_its_inverses_under_autocast(options, half, dtype, generator):
    augmenter = LieAugmenter(3, gamma=2.0, **options).to(dtype)
    w = augmenter.coefficients(256, 4, generator)
    with torch.autocast("cpu", half):
        product = augmenter(-w) @ augmenter(w) if dtype == torch.float64 else torch.linalg.solve(augmenter(w), augmenter(w))
        inverse = bracket(augmenter(-w), augmenter(w))  # 0, as they commute
    assert (product - torch.eye(3, dtype=dtype)).abs().max() <= 20 * torch.finfo(dtype).eps
    assert inverse.abs().max() <= 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_no_element_is_nan_in_half_precision(n, half, generator):
    learnable = LieAugmenter(n, gamma=0.3)
    with torch.no_grad():
        learnable.raw.normal_(generator=generator)
    for augmenter in (LieAugmenter(n, gamma=0.3, generators=so(n)[:1]), LieAugmenter(n, gamma=math.pi, generators=so(n)), learnable):
        g = augmenter.to(half)(augmenter.coefficients(4096, 4, generator))
        assert g.dtype == half and not g.isnan().any()


SHAPES = {"on_vectors": (3,), "on_stacks": (5, 3), "on_bodies": (5, 7), "on_images": (1, 8, 8)}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", SHAPES)
def test_autocast_does_not_reach_the_actions(name, half, dtype, generator):
    """Nor does the half precision of a network's output coarsen what g does to it."""
    act, x = getattr(actions, name), torch.rand(4, *SHAPES[name], generator=generator, dtype=dtype)
    g = haar(3, (4, 2), generator, dtype)
    with torch.autocast("cpu", half):
        moved, there, output = act(g, x), metrics.there_and_back(act)(g[:, :1], x), act(g, x.to(half))
    assert torch.equal(moved, act(g, x))
    assert torch.equal(there, metrics.there_and_back(act)(g[:, :1], x))
    assert torch.equal(output, act(g, x.to(half).to(dtype)))


@pytest.mark.parametrize("half", HALVES)
def test_data_more_precise_than_g_are_refused(half, generator):
    with pytest.raises(RuntimeError, match=r"dtype|scalar type"):
        actions.on_vectors(haar(3, (4, 2), generator, half), torch.randn(4, 3))


@pytest.mark.parametrize("half", HALVES)
def test_there_and_back_in_half_precision(half, generator):
    x, g = torch.randn(6, 3, generator=generator).to(half), haar(3, (6, 1), generator, half)
    back = metrics.there_and_back(actions.on_vectors)(g, x).squeeze(1)
    assert back.dtype == half and (back - x).abs().max() <= 4 * torch.finfo(half).eps * x.abs().max()


@pytest.mark.parametrize("half", HALVES)
def test_errors_and_averages_of_an_exact_predictor_stay_rounding_under_autocast(half, generator):
    x = torch.randn(20, 3, generator=generator)
    radial = lambda x: x * x.norm(dim=-1, keepdim=True)  # noqa: E731
    augmenter = LieAugmenter(3, gamma=2.0, generators=so(3))
    options = {"rho_x": actions.on_vectors, "rho_y": actions.on_vectors}
    with torch.autocast("cpu", half):
        errors = metrics.equivariance_errors(radial, x, lambda count: haar(3, (count,), generator), **options)
        averaged = averaged_prediction(radial, augmenter, x, copies=4, generator=generator, **options)
    assert max(errors) <= 1e-5
    torch.testing.assert_close(averaged, radial(x), atol=1e-5, rtol=1e-5)


def test_errors_of_a_half_precision_predictor_are_summed_in_float32(generator):
    """An error of 1 in each of 1,000 elements is E' = 1; a sum in bfloat16 stops growing at 1,000 parts of 2^-8 of it."""
    x = torch.randn(5, 3, generator=generator)
    outputs = itertools.chain([torch.zeros(5, 1)], itertools.repeat(torch.ones(5, 1)))
    errors = metrics.equivariance_errors(
        lambda x: next(outputs).bfloat16(), x, lambda count: torch.eye(3).expand(count, 3, 3), 1000, rho_x=actions.on_vectors
    )
    assert errors == pytest.approx((1.0, 1.0), rel=1e-4)


@pytest.mark.parametrize("half", HALVES)
def test_scores_of_a_basis_do_not_hang_on_autocast(half, generator):
    truth, points = so(3), torch.randn(300, 3, generator=generator)
    basis = truth + 0.1 * torch.randn(3, 3, 3, generator=generator)
    law = lambda x: x.square().sum(-1, keepdim=True)  # noqa: E731

    def scores(basis, truth, points):
        draw = torch.Generator().manual_seed(0)
        residual = metrics.symmetry_residual(law, basis, points, draw, rho_x=actions.on_vectors, rho_y=actions.trivially)
        return (
            metrics.basis_cosine(basis, truth), metrics.basis_mae(basis, truth), *metrics.inclusions(basis, truth, points),
            metrics.bracket_closure(basis), metrics.share_inside(basis, truth), residual,
        )  # fmt: skip

    expected = scores(basis, truth, points)
    with torch.autocast("cpu", half):
        assert scores(basis, truth, points) == expected
    coarse = scores(basis.to(half), truth.to(half), points.to(half))
    assert coarse[:-1] == pytest.approx(expected[:-1], abs=2 * torch.finfo(half).eps)


EXACT = {"two_body": "EMLP + GT", "nbody": "SE(3)-Transformer", "loss_surface": "GATr", "mocap_mlp": "EMLP", "md17": "EGNN"}
EXACT |= {"flow": "E2CNN"}


@pytest.mark.parametrize("experiment", EXACT)
def test_errors_of_exactly_equivariant_networks_are_measured_in_float64(experiment):
    run = dict(labelled_plan(experiment, "quick"))[EXACT[experiment]]
    run = {name: value for name, value in shrunk(run).items() if name not in ("restarts", "surface")} | {"steps": 2}
    task = tasks.load_tiny(run["task"], **{name: run[name] for name in tasks.OPTIONS if name in run})
    assert models.class_of(run["model"]).equivariant and task.generators.dtype == torch.float32
    scores = training.fit(task, [run])[0]["metrics"]
    assert all(value < 1e-13 for name, value in scores.items() if name.startswith("E"))
    trainable = Trainable(run, task)
    x, twin = task.test[0], trainable.in_double()
    assert twin.model(x.double()).dtype == torch.float64 and torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(twin.model(x.double()).float(), trainable.model(x), rtol=1e-4, atol=1e-5)


def test_networks_say_that_they_are_exactly_equivariant_where_they_are():
    says = {name for name in models.MODELS if getattr(models.class_of(name), "equivariant", False)}
    assert says == {"emlp", "tensor_emlp", "se3_transformer", "gatr", "egnn", "e2cnn"}
