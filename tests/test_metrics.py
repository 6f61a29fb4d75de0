"""E and E', scores of a basis, bracket closure: closed forms and independent recomputation."""

import math
from functools import partial

import pytest
import torch

from lib import tasks
from lib.actions import on_vectors, trivially
from lib.experiments.evaluation import basis_scores
from lib.groups import haar, se, so
from lib.metrics import (
    accuracy,
    action_score,
    basis_cosine,
    basis_mae,
    bracket_closure,
    dimension,
    equivariance_errors,
    inclusions,
    mean_squared_error,
    smallest_cosine,
    there_and_back,
    trimmed_squared_error,
)


def drawing(n, seed=0, dtype=torch.float64):
    return partial(lambda count, generator: haar(n, (count,), generator, dtype), generator=torch.Generator().manual_seed(seed))


def test_an_invariant_function_has_no_error(generator):
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    e, e_prime = equivariance_errors(lambda x: x.square().sum(-1, keepdim=True), x, drawing(3), rho_x=on_vectors)
    assert e <= e_prime <= 1e-12


def test_an_equivariant_function_has_no_error_and_a_matrix_has(generator):
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    radial = equivariance_errors(lambda x: x * x.norm(dim=-1, keepdim=True), x, drawing(3), rho_x=on_vectors, rho_y=on_vectors)
    assert max(radial) <= 1e-12
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    e, e_prime = equivariance_errors(lambda x: x @ matrix.T, x, drawing(3), rho_x=on_vectors, rho_y=on_vectors)
    assert 0.01 < e < e_prime


@pytest.mark.parametrize("rho_y", [trivially, on_vectors], ids=["invariant", "equivariant"])
def test_errors_are_the_formulas(rho_y, generator):
    x, matrix = torch.randn(5, 3, generator=generator), torch.randn(3, 3, generator=generator)
    f = lambda x: torch.tanh(x @ matrix)  # noqa: E731
    e, e_prime = equivariance_errors(f, x, drawing(3, 7, torch.float32), samples=4, rho_x=on_vectors, rho_y=rho_y)
    draw = drawing(3, 7, torch.float32)
    elements = [draw(5) for _ in range(4)]
    gaps, norms = [], []
    for b in range(5):
        moved = [f(g[b] @ x[b]) for g in elements]
        kept = [g[b] @ f(x[b]) if rho_y is on_vectors else f(x[b]) for g in elements]
        gaps.append((sum(kept) / 4 - sum(moved) / 4).norm())
        norms.append(sum((m - k).norm() for m, k in zip(moved, kept, strict=True)) / 4)
    assert e == pytest.approx((sum(gaps) / 5).item(), rel=1e-5)
    assert e_prime == pytest.approx((sum(norms) / 5).item(), rel=1e-5)
    assert e <= e_prime


def test_there_and_back_does_nothing_to_vectors(generator):
    x, g = torch.randn(6, 3, generator=generator), haar(3, (6, 1), generator)
    torch.testing.assert_close(there_and_back(on_vectors)(g, x).squeeze(1), x, atol=1e-5, rtol=1e-5)


def test_cosine_and_mae_ignore_sign_scale_and_order():
    basis = so(3, dtype=torch.float64)
    shuffled = torch.stack([-3 * basis[2], 0.1 * basis[0], 7 * basis[1]])
    assert basis_cosine(shuffled, basis) == pytest.approx(1.0)
    assert basis_mae(shuffled, basis) == pytest.approx(0.0, abs=1e-15)


def test_alternative_representation_of_two_bodies_scores_as_derived():
    """Two bodies about their centre of mass: cosine 1/sqrt 2 and mean absolute error 1/8, and yet the action is the rotation's."""
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    truth = torch.block_diag(turn, turn, turn, turn)[None]
    pair = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    alternative = torch.kron(pair, torch.kron(torch.eye(2, dtype=torch.float64), turn))[None]
    assert basis_cosine(alternative, truth) == pytest.approx(1 / math.sqrt(2))
    assert basis_mae(alternative, truth) == pytest.approx(0.125)

    generator = torch.Generator().manual_seed(0)
    one = torch.randn(300, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.1, 0.1], dtype=torch.float64)
    points = torch.cat([one, -one], 1)
    blocks = {"positions": [0, 1, 4, 5], "momenta": [2, 3, 6, 7]}
    assert action_score(alternative, truth, points, blocks) == pytest.approx(1.0)

    positions_only = torch.block_diag(turn, 0 * turn, turn, 0 * turn)[None]
    raw = smallest_cosine(*(torch.einsum("cij,pj->cpi", b, points).flatten(1) for b in (positions_only, truth)))
    assert raw > 0.99, "in raw units it would pass"
    assert action_score(positions_only, truth, points, blocks) < 0.1


def test_action_score_compares_spans():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = so(3, dtype=torch.float64)
    mixed = torch.stack([basis[0] + basis[1], basis[0] - 2 * basis[1]])
    assert action_score(mixed, basis[:2], points) == pytest.approx(1.0)
    assert action_score(basis[1:], basis[:2], points) < 0.9


CLOUD = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TURN = so(3, dtype=torch.float64)[:1]


@pytest.mark.parametrize("found", [1, 2])
def test_a_missing_generator_counts_as_zero(found):
    """One or two of so(3)'s three: what is found is right, and not all is found."""
    basis, truth = 5 * so(3, dtype=torch.float64)[:found], so(3, dtype=torch.float64)
    assert basis_cosine(basis, truth) == pytest.approx(found / 3)
    assert basis_mae(basis, truth) == pytest.approx((3 - found) / 3 * 2 / 9)  # two entries of nine are one
    assert inclusions(basis, truth, CLOUD) == (pytest.approx(1.0), 0.0)
    assert action_score(basis, truth, CLOUD) == 0.0
    assert (dimension(basis), dimension(truth)) == (found, 3)


def test_a_surplus_generator_counts_as_zero():
    """Nine random generators span all matrices, the rotation too, and are not the rotation."""
    noise = torch.randn(9, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert basis_cosine(noise, TURN) <= 1 / 9
    assert basis_mae(noise, TURN) > 0.2
    assert inclusions(noise, TURN, CLOUD) == (0.0, pytest.approx(1.0, abs=0.01))
    assert action_score(noise, TURN, CLOUD) == 0.0
    assert dimension(noise) >= 8
    both = torch.cat([-TURN, 3 * so(3, dtype=torch.float64)[1:2]])
    assert basis_cosine(both, TURN) == pytest.approx(1 / 2)
    assert basis_mae(both, TURN) == pytest.approx(1 / 2 * 2 / 9)  # the surplus one at the truth's norm, against zero
    assert inclusions(both, TURN, CLOUD) == (0.0, pytest.approx(1.0))


def test_copies_of_one_generator_are_one_generator():
    tilted = TURN + math.tan(math.radians(5)) * so(3, dtype=torch.float64)[1:2]
    copies = torch.cat([TURN, -2 * tilted])
    assert dimension(copies) == 1 and dimension(torch.cat([TURN, so(3).double()[1:2] + TURN])) == 2
    assert min(inclusions(copies, TURN, CLOUD)) == pytest.approx(math.cos(math.radians(2.5)), abs=2e-4)
    assert basis_cosine(copies, TURN) == pytest.approx(1 / 2)
    assert action_score(copies, so(3, dtype=torch.float64)[:2], CLOUD) == 0.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0])
@pytest.mark.parametrize("cardinality", [1, 3])
def test_a_generator_that_is_none_has_the_worst_scores_and_no_nan(wrong, cardinality):
    task = tasks.load_tiny("planted_symmetry", scenario="so3")
    basis = so(3)[:cardinality].clone()
    basis[0] = wrong
    scores = basis_scores(basis, task)
    assert all(map(math.isfinite, scores.values()))
    assert scores["dimension_found"] == cardinality - 1 and scores["dimension_true"] == scores["dimension_law"] == 3
    assert scores["cosine"] == pytest.approx((cardinality - 1) / 3)
    assert scores["mae"] == pytest.approx((4 - cardinality) / 3 * 2 / 9)
    assert scores["true_in_found"] == scores["action_score"] == scores["share_inside"] == 0.0
    assert scores["residual"] == 2.0
    assert wrong == 0.0 or scores["closure"] == pytest.approx(math.sqrt(2))


def test_a_task_with_more_symmetries_than_the_papers_says_so():
    """The rotation of partial_permutation is one of the eleven dimensions of its law's symmetries; all of them hold it and more."""
    task = tasks.load("partial_permutation", n_train=8, n_eval=300).to("cpu", torch.float64)
    scores = basis_scores(task.generators, task)
    assert (scores["dimension_found"], scores["dimension_true"], scores["dimension_law"]) == (1, 1, 11)
    ones = [scores[name] for name in ("cosine", "found_in_true", "true_in_found", "action_score", "share_inside")]
    assert ones == pytest.approx([1.0] * 5)


def test_closure_is_zero_for_algebras_only():
    for basis in (so(3), se(3), so(4)):
        assert bracket_closure(basis.double()) <= 1e-7
    assert bracket_closure(so(3)[:2].double()) == pytest.approx(1 / math.sqrt(2))  # [a, b] = c lies wholly outside span(a, b)
    assert bracket_closure(so(2)) == 0.0


def test_accuracy_is_in_percent():
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])).item() == 75.0


def test_principal_angles_are_those_of_planes_that_were_turned():
    """Two planes of generators that share a direction and are 30 degrees apart in the other; a missing one is at 90."""
    import math

    from lib.metrics import principal_angles

    e = torch.eye(9, dtype=torch.float64).unflatten(1, (3, 3))
    truth = torch.stack([e[0], e[4]])
    found = torch.stack([e[0], math.cos(math.pi / 6) * e[4] + math.sin(math.pi / 6) * e[8]])
    points = math.sqrt(3) * torch.eye(3, dtype=torch.float64)  # the fields of a generator over these are its entries
    assert principal_angles(found, truth, points).tolist() == pytest.approx([0.0, 30.0], abs=1e-5)
    mixed = torch.stack([found[0] + 2 * found[1], found[0] - found[1]])
    assert principal_angles(mixed, truth, points).tolist() == pytest.approx([0.0, 30.0], abs=1e-5)
    assert principal_angles(found[:1], truth, points).tolist() == pytest.approx([0.0, 90.0], abs=1e-5)
    assert principal_angles(torch.cat([truth, e[8:]]), truth, points).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    flat = points[:2]  # no point moves along the third axis: what differs there alone is no difference
    assert principal_angles(found, truth, flat)[1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_samples_that_err_most_are_left_out(dtype):
    """Of the squares 1, 4, 9 and 100 a share above a quarter leaves two out; what is left out has no gradient."""
    y = torch.zeros(4, 2, dtype=dtype)
    output = torch.tensor([10.0, -1.0, 3.0, 2.0], dtype=dtype)[:, None].expand(4, 2).clone().requires_grad_()
    assert trimmed_squared_error(output, y, 0.25).item() == pytest.approx(14 / 3, rel=1e-6)
    assert trimmed_squared_error(output, y, 0.26).item() == pytest.approx(5 / 2, rel=1e-6)
    assert trimmed_squared_error(output, y, 0.0).item() == mean_squared_error(output, y).item()
    trimmed_squared_error(output, y, 0.25).backward()
    torch.testing.assert_close(output.grad, torch.tensor([0.0, -1.0, 3.0, 2.0], dtype=dtype)[:, None].expand(4, 2) / 3)


def test_each_run_of_a_stack_trims_its_own():
    draws = torch.Generator().manual_seed(0)
    output, y = torch.randn(2, 5, 7, 3, generator=draws, dtype=torch.float64)
    together = torch.vmap(partial(trimmed_squared_error, share=0.2))(output, y)
    torch.testing.assert_close(together, torch.stack([trimmed_squared_error(o, t, 0.2) for o, t in zip(output, y, strict=True)]))
