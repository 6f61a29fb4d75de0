"""Closed forms of the exponential map, its gradients against torch's, samplers and bases."""

import itertools
import math

import mpmath
import pytest
import torch

from lib import tasks
from lib.draws import random_stream
from lib.exponential import MAX_SQUARINGS, RADIUS, exp_map, matrix_exp, taylor_degree
from lib.groups import bracket, haar, normalised, rotations, rotations_between, se, so
from lib.tasks import partial_permutation

TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-13}


def test_exp_of_so2_is_the_rotation(dtype):
    angles = torch.linspace(-7, 7, 101, dtype=dtype)
    for bound in (None, 7 * math.sqrt(2)):
        torch.testing.assert_close(
            exp_map(angles[:, None], so(2, dtype=dtype), bound), rotations(angles), atol=4 * TOLERANCE[dtype], rtol=0
        )


def test_exp_of_so3_is_rodrigues_formula(dtype, generator):
    w = torch.randn(50, 3, generator=generator, dtype=dtype)
    matrix = torch.einsum("bc,cij->bij", w, so(3, dtype=dtype))
    angle = w.norm(dim=1)[:, None, None]
    rodrigues = torch.eye(3, dtype=dtype) + angle.sin() / angle * matrix + (1 - angle.cos()) / angle**2 * matrix @ matrix
    torch.testing.assert_close(exp_map(w, so(3, dtype=dtype)), rodrigues, atol=TOLERANCE[dtype], rtol=0)


def test_exp_of_se3_turns_and_moves(dtype, generator):
    w = torch.randn(50, 6, generator=generator, dtype=dtype)
    g = exp_map(w, se(3, dtype=dtype))
    turn = exp_map(w[:, :3], so(3, dtype=dtype))
    matrix, angle = torch.einsum("bc,cij->bij", w[:, :3], so(3, dtype=dtype)), w[:, :3].norm(dim=1)[:, None, None]
    left = torch.eye(3, dtype=dtype) + (1 - angle.cos()) / angle**2 * matrix + (angle - angle.sin()) / angle**3 * matrix @ matrix
    torch.testing.assert_close(g[:, :3, :3], turn, atol=TOLERANCE[dtype], rtol=0)
    torch.testing.assert_close(g[:, :3, 3], torch.einsum("bij,bj->bi", left, w[:, 3:]), atol=4 * TOLERANCE[dtype], rtol=0)
    assert torch.equal(g[:, 3], torch.tensor([0.0, 0, 0, 1], dtype=dtype).expand(50, 4))


@pytest.mark.parametrize("basis", [so(2), so(3), se(2), se(3)], ids=["so2", "so3", "se2", "se3"])
def test_negated_coefficients_give_the_inverse(basis, dtype, generator):
    w = torch.randn(30, len(basis), generator=generator, dtype=dtype)
    product = exp_map(w, basis.to(dtype)) @ exp_map(-w, basis.to(dtype))
    identity = torch.eye(basis.shape[1], dtype=dtype).expand_as(product)
    torch.testing.assert_close(product, identity, atol=20 * TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("norm", [0.0, 1e-3, 1.0, 1.99, 2.01, 5.0, 9.0, 20.0])
@pytest.mark.parametrize("cardinality", [1, 3])
@pytest.mark.parametrize("n", [3, 8])
def test_value_and_gradients_agree_with_torch_up_to_the_bound_and_beyond(n, cardinality, norm, generator):
    basis = torch.randn(cardinality, n, n, generator=generator, dtype=torch.float64)
    w = torch.rand(40, cardinality, generator=generator, dtype=torch.float64) * 2 - 1
    largest = torch.linalg.matrix_norm(torch.einsum("bc,cij->bij", w, basis)).max()
    w = w * norm / largest
    direction = torch.randn(40, n, n, generator=generator, dtype=torch.float64)

    def value_and_gradients(exponential):
        variables = w.clone().requires_grad_(), basis.clone().requires_grad_()
        g = exponential(*variables)
        return g, *torch.autograd.grad((g * direction).sum(), variables)

    expected = value_and_gradients(lambda w, basis: torch.linalg.matrix_exp(torch.einsum("bc,cij->bij", w, basis)))
    for bound in (None, max(norm, 1e-3)):
        for ours, theirs in zip(value_and_gradients(lambda w, basis, b=bound: exp_map(w, basis, b)), expected, strict=True):
            error = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.0)
            assert error <= 1e-9, f"bound {bound}: {error:.1e}"

    # beyond a promised bound the result is NaN where the promise is broken, and right where it is not
    if norm > 1:
        g, promised = exp_map(w, basis, norm / 2), torch.linalg.matrix_norm(torch.einsum("bc,cij->bij", w, basis)) <= norm / 2
        torch.testing.assert_close(g[promised], expected[0][promised], atol=1e-9, rtol=1e-9)
        wrong = (g - expected[0]).abs().amax((1, 2)) > 1e-9 * expected[0].abs().amax((1, 2)).clamp(min=1.0)
        assert not wrong.any(), "a matrix beyond the bound is wrong and not NaN"  # NaN compares false
        if norm / 2 > RADIUS:
            assert g[torch.linalg.matrix_norm(torch.einsum("bc,cij->bij", w, basis)).argmax()].isnan().all()


def test_beyond_the_last_squaring_the_result_is_nan():
    largest = RADIUS * 2**MAX_SQUARINGS
    rotation = so(2, dtype=torch.float64)[0] / math.sqrt(2)
    good, bad = matrix_exp(torch.stack([rotation * largest * 0.999, rotation * largest * 1.001]))
    torch.testing.assert_close(good, rotations(torch.tensor(largest * 0.999 / math.sqrt(2), dtype=torch.float64)), atol=1e-9, rtol=0)
    assert bad.isnan().all()


def test_zero_generator_has_the_right_gradient():
    basis = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([[0.3], [-0.8]], dtype=torch.float64)
    g = exp_map(w, basis, 1.0)
    assert torch.equal(g, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    (gradient,) = torch.autograd.grad(g.sum(), basis)
    torch.testing.assert_close(gradient, torch.full((1, 3, 3), -0.5, dtype=torch.float64))  # d exp(wL) = w dL at L = 0


def test_exp_map_runs_under_vmap(generator):
    bases, w = torch.randn(4, 1, 3, 3, generator=generator), torch.rand(4, 10, 1, generator=generator)
    bound = (torch.linalg.matrix_norm(bases).max() * 1.01).item()
    together = torch.func.vmap(lambda w, basis: exp_map(w, basis, bound))(w, bases)
    for one, w_i, basis in zip(together, w, bases, strict=True):
        torch.testing.assert_close(one, exp_map(w_i, basis, bound))


@pytest.mark.parametrize("radius", [1e-9, 3e-4, 0.5, RADIUS])
def test_taylor_degree_leaves_less_than_rounding_in_the_derivative_too(radius, dtype):
    """The derivative of a series of degree D ends with r^(D-1) / (D-1)!: r^D / D! is its first term left out."""
    degree = taylor_degree(radius, dtype)
    assert radius**degree / math.factorial(degree) <= torch.finfo(dtype).eps / 2
    assert degree == 1 or radius ** (degree - 1) / math.factorial(degree - 1) > torch.finfo(dtype).eps / 2


def reference(matrix, direction):
    """exp(A), and the gradient of <D, exp(A)> with respect to A: the upper right block of exp [[A', D], [0, A']], at 40 digits."""
    n = len(matrix)
    with mpmath.workdps(40):
        block = mpmath.zeros(2 * n)
        for i, j in itertools.product(range(n), range(n)):
            block[i, j] = block[n + i, n + j] = mpmath.mpf(matrix[j, i].item())
            block[i, n + j] = mpmath.mpf(direction[i, j].item())
        whole = torch.tensor([[float(entry) for entry in row] for row in mpmath.expm(block).tolist()], dtype=torch.float64)
    return whole[:n, :n].T, whole[:n, n:]


@pytest.mark.parametrize("bound", [1e-6, 1e-5, 3e-4, 1e-2, 0.5, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("kind", ["rotation", "general"])
@pytest.mark.parametrize("cardinality", [1, 2])
def test_value_and_derivatives_are_exact_to_a_few_roundings(cardinality, kind, bound, dtype, generator):
    """Rounding of the argument alone moves exp(A) by ||A|| eps."""
    basis = torch.randn(cardinality, 3, 3, generator=generator, dtype=dtype)
    basis = normalised(basis - basis.mT if kind == "rotation" else basis)
    w = torch.tensor([[1.0], [-0.7], [0.31]], dtype=dtype).repeat(1, cardinality) * bound / cardinality / math.sqrt(3)
    direction = torch.randn(3, 3, 3, generator=generator, dtype=dtype)
    variables = w.clone().requires_grad_(), basis.clone().requires_grad_()
    exact = torch.einsum("bc,cij->bij", w.double(), basis.double())
    values, slopes = (torch.stack(parts) for parts in zip(*map(reference, exact, direction), strict=True))
    expected = values, torch.einsum("bij,cij->bc", slopes, basis.double()), torch.einsum("bc,bij->cij", w.double(), slopes)
    for promised in (bound, None):
        g = exp_map(*variables, promised)
        found = g, *torch.autograd.grad((g * direction).sum(), variables)
        for name, ours, theirs in zip(("value", "by w", "by L"), found, expected, strict=True):
            error = (ours.double() - theirs).abs().max() / theirs.abs().max() / torch.finfo(dtype).eps
            assert error <= 5 + bound, f"{name}, bound {promised}: {error:.1f} eps"


@pytest.mark.parametrize("n", [2, 3, 8, 24])
@pytest.mark.parametrize("cells", [1.0, 7.0])
def test_a_bound_that_is_exactly_the_norm_is_kept(n, cells, dtype, generator):
    """Rounding may carry coefficient times generator past its norm by a few units of the last place."""
    basis = normalised(torch.randn(100, n, n, generator=generator, dtype=dtype), 1)
    w = torch.tensor([[cells * RADIUS], [-cells * RADIUS]], dtype=dtype)
    for promised in (0.1, 1.0):
        g = torch.func.vmap(lambda basis, c=promised: exp_map(c * w, basis, c * cells * RADIUS))(basis[:, None])
        assert not g.isnan().any()
    assert not matrix_exp(cells * RADIUS * basis, cells * RADIUS).isnan().any()


def test_a_normalised_basis_is_normalised_at_every_size(dtype, generator):
    tiny, huge = torch.finfo(dtype).tiny, torch.finfo(dtype).max / 8
    matrix = torch.randn(3, 3, generator=generator, dtype=dtype)
    unit = normalised(torch.stack([matrix, tiny * matrix, huge * matrix / matrix.abs().max()]), 1)
    torch.testing.assert_close(torch.linalg.matrix_norm(unit), torch.ones(3, dtype=dtype))
    torch.testing.assert_close(unit, unit[:1].expand(3, 3, 3), atol=1e-6, rtol=0)


def test_normalising_a_zero_matrix_has_the_gradient_of_the_identity(dtype, generator):
    direction = torch.randn(2, 3, 3, generator=generator, dtype=dtype)
    zero = torch.zeros(2, 3, 3, dtype=dtype, requires_grad=True)
    assert torch.equal(normalised(zero), zero)
    assert torch.equal(torch.autograd.grad((normalised(zero) * direction).sum(), zero)[0], direction)
    assert torch.equal(
        torch.func.vmap(torch.func.grad(lambda m: (normalised(m[None]) * direction[:1]).sum()))(zero.detach())[1], direction[0]
    )


@pytest.mark.parametrize(("name", "scenario"), [(name, scenario) for name in tasks.TASKS for scenario in tasks.scenarios(name)])
def test_samplers_of_all_tasks_draw_rotations(name, scenario, dtype, generator):
    for group, sample in tasks.load_tiny(name, scenario=scenario).groups.items():
        g = sample(20_000, generator, dtype)
        if group == "se3":  # and shifts, of homogeneous coordinates
            assert g[:, 3].equal(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype).expand(20_000, 4))
            assert (g[:, :3, 3].std(0) - 0.5).abs().max() < 0.02 and g[:, :3, 3].mean(0).abs().max() < 0.02
            g = g[:, :3, :3]
        if (name, scenario) == ("pulls", "translations"):  # shifts alone, uniform up to 1
            shift = g[:, :3, 3].clone()
            assert shift.abs().max() <= 1 and (shift.std(0) - 3**-0.5).abs().max() < 0.02
            g[:, :3, 3] = 0.0
            assert g.equal(torch.eye(4, dtype=dtype).expand(20_000, 4, 4))
        assert g.dtype == dtype and not g.isnan().any(), group
        assert (g @ g.mT - torch.eye(g.shape[-1], dtype=dtype)).abs().max() <= 30 * torch.finfo(dtype).eps, group
        assert (torch.linalg.det(g) - 1).abs().max() <= 50 * torch.finfo(dtype).eps, group


def test_the_widest_turn_of_the_partial_permutation_keeps_its_bound(dtype):
    """The generator's norm is sqrt 2 to the precision that is asked for, not to float32's."""
    angles = torch.tensor([[math.pi], [-math.pi]], dtype=dtype)
    g = exp_map(angles, partial_permutation.generator(dtype), bound=math.pi * math.sqrt(2))
    torch.testing.assert_close(g[0], g[1], atol=20 * torch.finfo(dtype).eps, rtol=0)
    assert torch.linalg.matrix_norm(partial_permutation.generator(dtype)).item() == pytest.approx(
        math.sqrt(2), rel=2 * torch.finfo(dtype).eps
    )


def test_a_stream_is_the_same_everywhere_and_its_own():
    """The first is numpy's SeedSequence(3, spawn_key=b"augment") on any machine; a CPU's generator reads 32 bits of it."""
    assert random_stream(3, "augment").initial_seed() == 107784174479284377
    purposes = [
        "augment",
        "augmentation",
        "batches",
        "network",
        "networks",
        "basis",
        "errors",
        "inference",
        "train",
        "trials",
        "a",
        "a\0",
        "",
    ]
    seeds = [*range(200), *(10**6 * i for i in range(1, 30)), -1, 2**32, 2**40]
    streams = {random_stream(seed, purpose).initial_seed() % 2**32 for seed in seeds for purpose in purposes}
    assert len(streams) == len(seeds) * len(purposes)
    assert not torch.equal(*(torch.rand(3, generator=random_stream(0, purpose)) for purpose in ("augment", "augmentation")))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_haar_elements_are_rotations_and_uniform(n, generator):
    g = haar(n, (20_000,), generator, torch.float64)
    torch.testing.assert_close(g @ g.mT, torch.eye(n, dtype=torch.float64).expand_as(g), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(g), torch.ones(20_000, dtype=torch.float64), atol=1e-12, rtol=0)
    # uniform: E[g] = 0, E[g_ij^2] = 1/n and, for n = 2, E[trace^2] = 2 against 1 for n > 2 (irreducible over the complex numbers)
    assert g.mean(0).abs().max() < 5 / math.sqrt(n * 20_000)
    torch.testing.assert_close((g**2).mean(0), torch.full((n, n), 1 / n, dtype=torch.float64), atol=0.02, rtol=0)
    trace = torch.diagonal(g, dim1=1, dim2=2).sum(1)
    assert abs((trace**2).mean().item() - (2 if n == 2 else 1)) < 0.06


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (2.0, 3.0)])
def test_rotations_between_are_by_those_angles(low, high, generator):
    g = rotations_between(low, high, (500,), generator, torch.float64)
    torch.testing.assert_close(g @ g.mT, torch.eye(3, dtype=torch.float64).expand_as(g), atol=1e-12, rtol=0)
    angle = ((torch.diagonal(g, dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()
    assert low - 1e-9 <= angle.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < angle.max() <= high + 1e-9
    axis = torch.stack([g[:, 2, 1] - g[:, 1, 2], g[:, 0, 2] - g[:, 2, 0], g[:, 1, 0] - g[:, 0, 1]], 1)  # of either sign
    assert (torch.nn.functional.normalize(axis, dim=1).mean(0).abs() < 0.1).all()


def test_euler_rotations_turn_about_x_then_y_then_z(generator):
    """Entries of Rz Ry Rx, read back as angles of the range, and of either sign."""
    g = rotations_between(0.1, 0.3, (500,), generator, torch.float64, axes="euler")
    read = torch.stack([torch.atan2(g[:, 2, 1], g[:, 2, 2]), -g[:, 2, 0].asin(), torch.atan2(g[:, 1, 0], g[:, 0, 0])])
    assert ((read.abs() >= 0.1 - 1e-9) & (read.abs() <= 0.3 + 1e-9)).all()
    assert ((read > 0).double().mean(1) - 0.5).abs().max() < 0.1


def test_brackets_of_so3_cycle():
    a, b, c = so(3)
    torch.testing.assert_close(bracket(a, b).abs(), c.abs())
    assert torch.equal(bracket(a, a), torch.zeros(3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exp_map(torch.zeros(5, 2), so(2)), "1 generators need as many coefficients"),
        (lambda: so(1), "so\\(n\\) needs n >= 2"),
        (lambda: rotations_between(0.0, 0.1, (1,), torch.Generator(), axes="xyz"), "uniform, euler, got 'xyz'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
