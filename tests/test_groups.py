"""Closed forms of the exponential map, its gradients against torch's, samplers and bases."""

import math

import pytest
import torch

from lib.groups import MAX_SQUARINGS, RADIUS, bracket, exp_map, haar, matrix_exp, rotations, rotations_between, se, so, taylor_degree

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


def test_taylor_degree_leaves_less_than_rounding():
    for kind in (torch.float32, torch.float64):
        degree = taylor_degree(RADIUS, kind)
        assert RADIUS ** (degree + 1) / math.factorial(degree + 1) <= torch.finfo(kind).eps / 2
        assert RADIUS**degree / math.factorial(degree) > torch.finfo(kind).eps / 2


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
