"""The N-body simulator against laws of mechanics, its ranges and its turns."""

import math

import pytest
import torch

from lib import tasks
from lib.actions import on_bodies, on_stacks
from lib.groups import haar
from lib.tasks import nbody


@pytest.fixture(scope="module")
def bodies():
    return nbody.systems(400, torch.Generator().manual_seed(0))


def test_two_bodies_keep_to_kepler():
    """A light planet on a circle of radius r goes on by TIME * sqrt(M / r^3) radians; the integrator's own error is of first order."""
    m, r = 4.0, 0.5
    mass = torch.tensor([[m, 1e-9]], dtype=torch.float64)
    x = torch.tensor([[[0, 0, 0], [r, 0, 0]]], dtype=torch.float64)
    v = torch.tensor([[[0, 0, 0], [0, math.sqrt(m / r), 0]]], dtype=torch.float64)
    angle = nbody.TIME * math.sqrt(m / r**3)
    expected = torch.tensor([r * math.cos(angle), r * math.sin(angle), 0.0], dtype=torch.float64)
    errors = [(nbody.flow(mass, x, v, steps)[0, 1] - expected).norm().item() for steps in (100, 200, 10_000)]
    assert errors[0] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[2] < 2e-5


def test_a_step_keeps_momentum_and_angular_momentum(bodies):
    """Semi-implicit Euler keeps the momentum exactly: the centre of mass goes on at its velocity. Run back with -v it almost returns."""
    mass, x, v, end = bodies
    weight = (mass / mass.sum(1, keepdim=True)).unsqueeze(-1)
    torch.testing.assert_close((weight * end).sum(1), (weight * (x + nbody.TIME * v)).sum(1), atol=1e-12, rtol=0)
    before = nbody.flow(mass, x, v, 99, 0.099)
    velocity = (end - before) / 1e-3  # of the last step
    spin = [(mass.unsqueeze(-1) * torch.linalg.cross(p, u)).sum(1) for p, u in ((x, v), (end, velocity))]
    torch.testing.assert_close(spin[0], spin[1], atol=1e-10, rtol=1e-9)


def test_samples_are_what_they_are_said_to_be(bodies):
    mass, x, v, end = bodies
    star = mass.argmax(1)
    assert mass.max(1).values.min() >= 1 and mass.max() <= 10
    planets = mass < 0.5
    assert planets.sum(1).eq(3).all() and mass[planets].min() >= 0.01 and mass[planets].max() <= 0.1
    assert star.unique().numel() == 4  # in random order
    radius = (x - x.gather(1, star[:, None, None].expand(-1, 1, 3))).norm(dim=-1)[planets]
    assert radius.min() >= 0.1 and radius.max() <= 1.0
    assert radius.square().mean().item() == pytest.approx((0.1**2 + 1) / 2, rel=0.05)  # uniform over the area
    assert x[..., 2].abs().max() == 0.0 and v[..., 2].std() < 0.011
    assert (end - x).norm(dim=-1).max() <= 2.0


def test_the_law_is_equivariant(bodies):
    mass, x, v, _ = bodies
    g = haar(3, (len(x),), torch.Generator().manual_seed(1), torch.float64).unsqueeze(1)
    turned = nbody.flow(mass, on_stacks(g, x).squeeze(1), on_stacks(g, v).squeeze(1))
    torch.testing.assert_close(turned, on_stacks(g, nbody.flow(mass, x, v)).squeeze(1), atol=1e-10, rtol=0)


def test_the_law_commutes_with_translations(bodies):
    mass, x, v, _ = bodies
    away = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(nbody.flow(mass, x + away, v), nbody.flow(mass, x, v) + away, atol=1e-10, rtol=0)


@pytest.mark.parametrize("axes", ["uniform", "euler"])
def test_only_the_test_set_out_is_turned_far(axes):
    """How far the orbits' plane, z = 0 before the turn, is tilted."""
    task = tasks.load("nbody", scenario="10deg", n_train=50, n_eval=300, axes=axes)

    def tilt(x):
        normal = torch.linalg.svd(x[..., 1:4].double()).Vh[:, -1]
        return normal[:, 2].abs().clamp(max=1.0).acos().rad2deg()

    limit = 10.0 if axes == "uniform" else 10.0 * math.sqrt(2) + 0.2
    for x, _ in (task.train, task.val, task.test):
        assert tilt(x).max() <= limit
        torch.testing.assert_close(x[..., 1:4].mean(1), torch.zeros(len(x), 3), atol=1e-6, rtol=0)
    assert tilt(task.further["out"][0]).mean() > 30


def test_masses_stay_and_vectors_turn():
    x, g = torch.randn(5, 4, 7), haar(3, (5, 2), torch.Generator().manual_seed(0))
    moved = on_bodies(g, x)
    assert torch.equal(moved[..., 0], x[:, None, :, 0].expand(5, 2, 4))
    torch.testing.assert_close(moved[:, 1, :, 1:4], x[..., 1:4] @ g[:, 1].mT)
    torch.testing.assert_close(moved[:, 1, :, 4:], x[..., 4:] @ g[:, 1].mT)
