"""LieGAN: its losses recomputed, its discriminators' shapes, and that it finds a rotation where there is one."""

import math

import pytest
import torch

from lib import tasks
from lib.experiments import adversarial
from lib.experiments.canary import canary
from lib.protocol import NonFiniteLossError

RUN = {
    "task": "two_body", "scenario": "in", "method": "liegan", "model": "vector", "model_options": {"width": 32}, "seed": 0, "steps": 4,
    "batch_size": 8, "cardinality": 1, "mask": "mask_2", "sigma": 1.0, "draw": "normal", "lambda_aug": 0.7, "lambda_ortho": 1.0,
    "similarity": "features", "start": "unit", "lr": 1e-3, "lr_discriminator": 2e-4,
}  # fmt: skip


def test_losses_recomputed():
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([2.0, 0.1])
    probability = lambda logit: 1 / (1 + math.exp(-logit))  # noqa: E731
    told = sum(-math.log(probability(r)) for r in real.tolist()) / 2 + sum(-math.log(1 - probability(f)) for f in fake.tolist()) / 2
    assert adversarial.discriminator_loss(real, fake).item() == pytest.approx(told / 2, rel=1e-6)

    x, gx = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.6, 0.8], [0.0, -1.0]])
    basis = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 4.0]]])
    fooled = sum(-math.log(probability(f)) for f in fake.tolist()) / 2
    similarity = abs((0.6 - 1.0) / 2)
    correlation = 2 * 7 / (math.sqrt(2) * 5)  # both at Frobenius norm sqrt 2
    expected = fooled + 0.7 * similarity + 1.0 * correlation
    assert adversarial.generator_loss(fake, x, gx, basis, RUN).item() == pytest.approx(expected, rel=1e-6)


def test_generators_are_correlated_before_the_mask(monkeypatch):
    """Two that meet outside of the mask alone are pushed apart there."""
    task = tasks.load_tiny("two_body", scenario="in")
    seen = []
    loss = lambda fake, x, gx, basis, run: seen.append(basis.detach().clone()) or generator_loss(fake, x, gx, basis, run)  # noqa: E731
    generator_loss = adversarial.generator_loss
    monkeypatch.setattr(adversarial, "generator_loss", loss)
    adversarial.discover(task, {**RUN, "cardinality": 2, "steps": 2})
    outside = 1 - task.masks["mask_2"]
    assert (seen[0] * outside).abs().max() > 0.1
    assert ((seen[1] - seen[0]) * outside).abs().max() > 0


def test_coefficients():
    draw = torch.Generator().manual_seed(0)
    w = adversarial.coefficients({**RUN, "sigma": 3.0, "cardinality": 2}, 4000, draw, torch.float64)
    assert w.shape == (4000, 1, 2) and w.std().item() == pytest.approx(3.0, rel=0.05)
    grid = adversarial.coefficients({**RUN, "draw": "integers", "sigma": 10}, 4000, draw, torch.float64)
    assert set(grid.unique().tolist()) == set(range(-10, 10))


def test_a_run_is_reproducible_and_stays_within_its_mask():
    task = tasks.load_tiny("two_body", scenario="in")
    before = torch.random.get_rng_state()
    one, two = (adversarial.discover(task, RUN) for _ in range(2))
    assert one["basis"] == two["basis"] and one["curves"] == two["curves"]
    assert torch.equal(before, torch.random.get_rng_state()), "the global stream is left as it was"
    assert (torch.tensor(one["basis"]) * (1 - task.masks["mask_2"])).abs().max() == 0
    assert adversarial.discover(task, {**RUN, "seed": 1})["basis"] != one["basis"]
    assert canary(RUN) == canary(RUN)


def test_a_traced_game_is_to_the_bit_the_plain_one(monkeypatch):
    task, run = tasks.load_tiny("two_body", scenario="in"), {**RUN, "steps": 50}
    with torch.random.fork_rng():
        game = adversarial.Game(task, run)
        for _ in range(4):
            game.step()
    assert game.slopes.program is not None
    traced = adversarial.discover(task, run)
    monkeypatch.setattr(adversarial, "TRACED_FROM", 51)
    plain = adversarial.discover(task, run)
    assert traced["basis"] == plain["basis"] and traced["curves"] == plain["curves"]


def test_images_have_a_discriminator_of_their_own():
    task = tasks.load_tiny("rotated_mnist", scenario="out")
    run = {**RUN, "task": "rotated_mnist", "scenario": "out", "model": "image", "model_options": {"k": 4}, "similarity": "fourier"}
    del run["mask"]
    basis = torch.tensor(adversarial.discover(task, run)["basis"])
    assert basis.shape == (1, 3, 3) and basis[0, 2].abs().max() == 0


def test_it_finds_the_rotation_of_a_ring():
    """A plane with data on a ring, the target the radius: what preserves it is the rotation."""
    task = tasks.load("discrete_rotation", n_train=2000, n_eval=100)
    x = task.train[0]
    x = torch.cat([2 * torch.nn.functional.normalize(x[:, :2], dim=1), 0 * x[:, 2:]], 1)
    ring = tasks.Task(**{**vars(task), "train": (x, x[:, :2].norm(dim=1)), "points": x})
    run = {**RUN, "steps": 200, "batch_size": 64, "model_options": {"width": 64}, "lambda_aug": 1.0, "start": "kaiming", "lr": 3e-3}
    del run["mask"]
    found = torch.tensor(adversarial.discover(ring, run)["basis"])[0, :2, :2]
    assert abs(found[1, 0] - found[0, 1]) / (math.sqrt(2) * found.norm()) > 0.95


def test_a_loss_that_is_not_finite_stops_the_run():
    task = tasks.load_tiny("two_body", scenario="in")
    with pytest.raises(NonFiniteLossError, match="lower a learning rate"):
        adversarial.discover(task, {**RUN, "sigma": 1e4})
