"""Statements of both papers that are mathematics, each computed: `paper/claims.yaml` names these tests as proofs, or as refutations."""

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from lib import GroupAugmenter, LieAugmenter, Objective, models
from lib.actions import on_vectors
from lib.draws import random_stream
from lib.experiments.settings import labelled_plan
from lib.experiments.values import parameters_of
from lib.groups import haar
from lib.metrics import equivariance_errors
from lib.tasks.files.prepared import DataError, read


def draws(seed: int):
    """Rotations from a stream of their own."""
    generator = random_stream(seed, "stated")
    return lambda count: haar(3, (count,), generator, torch.float64)


def radial(x):
    """An equivariant map of vectors."""
    return x * x.norm(dim=-1, keepdim=True).sin()


def test_the_equivariance_term_of_an_equivariant_map_is_its_task_loss_and_not_zero():
    """With labels as targets (REMUL eq. 8) and a norm that rotations keep, the term measures the prediction's error, not equivariance."""
    x, y = torch.randn(2, 64, 3, generator=random_stream(0, "x"), dtype=torch.float64)
    augmenter = GroupAugmenter.haar(3, dtype=torch.float64)
    objective = Objective("remul", augmenter, loss=mse_loss, beta=1.0, on_y=on_vectors, seed=0)
    _, terms = objective(Radial(), x, y)
    assert terms["equiv"].item() == pytest.approx(terms["task"].item(), rel=1e-12) and terms["task"].item() > 0.5


class Radial(torch.nn.Module):
    """`radial` as a network."""

    def forward(self, x):
        return radial(x)


def test_e_of_a_matrix_that_commutes_with_no_rotation_vanishes_with_more_draws_and_e_prime_does_not():
    """Both group means of a linear map tend to zero: a small E is no sign of equivariance. E falls as 1 / sqrt(M)."""
    x = torch.randn(50, 3, generator=random_stream(0, "x"), dtype=torch.float64)
    matrix = torch.randn(3, 3, generator=random_stream(1, "matrix"), dtype=torch.float64)
    few, many = (
        equivariance_errors(lambda x: x @ matrix, x, draws(count), count, rho_x=on_vectors, rho_y=on_vectors) for count in (100, 10_000)
    )
    assert few[0] / many[0] == pytest.approx(10, rel=0.15)
    assert few[1] / many[1] == pytest.approx(1, rel=0.03) and many[0] < 0.02 * many[1]


def test_e_prime_is_proportional_to_how_far_a_map_is_from_equivariant():
    x, away = torch.randn(2, 50, 3, generator=random_stream(0, "x"), dtype=torch.float64)
    found = [
        equivariance_errors(lambda x, t=t: radial(x) + t * away, x, draws(3), 20, rho_x=on_vectors, rho_y=on_vectors)[1]
        for t in (0.1, 0.2, 1.0)
    ]
    assert found[1] / found[0] == pytest.approx(2, rel=1e-9) and found[2] / found[0] == pytest.approx(10, rel=1e-9)


@pytest.mark.parametrize(("experiment", "plain", "taught"), [("nbody", "Transformer", "REMUL"), ("md17", "GNN", "REMUL")])
def test_the_network_that_remul_trains_has_no_parameters_of_its_own(experiment, plain, taught):
    first = dict(reversed(labelled_plan(experiment, "paper")))
    assert parameters_of(first[plain]) == parameters_of(first[taught]) > 0


def test_each_rotation_is_the_exponential_of_an_element_of_the_algebra():
    """exp(t K) = R for Rodrigues' axis K and angle t of R."""
    g = haar(3, (200,), random_stream(0, "g"), torch.float64)
    angle = ((g.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()[:, None, None]
    algebra = angle / (2 * angle.sin()) * (g - g.mT)
    torch.testing.assert_close(algebra, -algebra.mT)
    torch.testing.assert_close(torch.linalg.matrix_exp(algebra), g, atol=1e-6, rtol=0)


def test_no_exponential_is_a_reflection():
    """det exp A = exp tr A > 0: components of a group that are not connected with the identity stay out of reach."""
    a = 2 * torch.randn(500, 3, 3, generator=random_stream(0, "a"), dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.matrix_exp(a).det(), a.diagonal(dim1=1, dim2=2).sum(1).exp(), rtol=1e-6, atol=0)
    assert (torch.linalg.matrix_exp(a).det() > 0).all()


def test_the_alternative_generator_of_two_bodies_turns_what_is_relative_twice_as_far_and_leaves_the_rest():
    """SEMoLA A.4.5: with P the projection on differences of the two bodies, exp(w L_alt) = 1 - P + P exp(2 w L)."""
    j, two = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    apart = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    alternative, truth = torch.kron(apart, torch.kron(two, j)), torch.kron(two, torch.kron(two, j))
    projection = torch.kron(apart / 2, torch.eye(4, dtype=torch.float64))
    for w in (0.3, 1.7):
        expected = torch.eye(8, dtype=torch.float64) - projection + projection @ torch.linalg.matrix_exp(2 * w * truth)
        torch.testing.assert_close(torch.linalg.matrix_exp(w * alternative), expected)


def test_the_gcnn_is_not_invariant_to_translations():
    """It pools by two and ends in a layer over the whole map."""
    network = models.build("gcnn", torch.Generator().manual_seed(0), torch.Size([1, 28, 28]), torch.Size([10])).double()
    x = torch.randn(4, 1, 28, 28, generator=random_stream(0, "x"), dtype=torch.float64)
    x[..., :2], x[..., -2:] = 0, 0
    y = network(x)
    assert (network(x.roll(1, dims=-1)) - y).norm() > 0.05 * y.norm() and (network(torch.rot90(x, 1, (-2, -1))) - y).norm() < 1e-10


@pytest.mark.parametrize("planes", [1, 2, 4])
def test_with_a_norm_of_the_root_of_the_dimension_a_turn_of_all_planes_is_by_the_same_angle_in_any_number_of_them(planes):
    """With a constant norm it would be by an angle that falls with the root of their number."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    augmenter = LieAugmenter(2 * planes, generators=7.0 * torch.kron(torch.eye(planes, dtype=torch.float64), turn)[None]).double()
    plane = augmenter(torch.tensor([[[0.4]]], dtype=torch.float64)).squeeze()[:2, :2]
    torch.testing.assert_close(plane, torch.linalg.matrix_exp(0.4 * turn))


def test_next_to_no_molecule_of_qm9_is_without_carbon():
    try:
        arrays, _ = read("qm9")
    except DataError as error:
        pytest.skip(str(error))
    starts = np.cumsum(arrays["count"], dtype=np.int64) - arrays["count"]
    assert 0 < np.mean(np.add.reduceat(arrays["z"] == 6, starts, dtype=np.int64) == 0) < 1e-3
