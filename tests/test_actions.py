"""Actions: closed forms, the group law, and one K for every shape."""

import math

import pytest
import torch

from lib.actions import on_images, on_stacks, on_vectors, rotate_images, trivially
from lib.exponential import exp_map
from lib.groups import affine, haar, so


def test_vectors_and_stacks_multiply(generator, dtype):
    g = torch.randn(5, 4, 3, 3, generator=generator, dtype=dtype)
    x = torch.randn(5, 7, 3, generator=generator, dtype=dtype)
    for b in range(5):
        for k in range(4):
            torch.testing.assert_close(on_stacks(g, x)[b, k], x[b] @ g[b, k].T)
            torch.testing.assert_close(on_vectors(g, x[:, 0])[b, k], g[b, k] @ x[b, 0])


@pytest.mark.parametrize("action", [on_vectors, on_stacks])
def test_action_keeps_the_group_law(action, generator):
    g, h = haar(3, (2, 6, 1), generator, torch.float64)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    x = x if action is on_vectors else x.unsqueeze(1).expand(6, 2, 3)
    torch.testing.assert_close(action(g, action(h, x).squeeze(1)), action(g @ h, x))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_of_images_are_exact(turns, generator, dtype):
    x = torch.rand(3, 2, 28, 28, generator=generator, dtype=dtype)
    angle = torch.full((3,), turns * math.pi / 2, dtype=dtype)
    torch.testing.assert_close(
        rotate_images(x, angle), torch.rot90(x, turns, (2, 3)), atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=0
    )


def test_copies_of_an_image_are_its_single_transformations(generator):
    x = torch.rand(3, 2, 12, 12, generator=generator, dtype=torch.float64)
    g = exp_map(torch.randn(3, 5, 1, generator=generator, dtype=torch.float64), affine(so(2, dtype=torch.float64)))
    together = on_images(g, x)
    assert together.shape == (3, 5, 2, 12, 12)
    for k in range(5):
        torch.testing.assert_close(together[:, k], on_images(g[:, k : k + 1], x)[:, 0])


def test_a_translation_moves_the_image_by_whole_pixels():
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[..., 2, 2] = 1.0
    g = torch.eye(3, dtype=torch.float64).reshape(1, 1, 3, 3).clone()
    g[..., 0, 2] = 0.5  # the grid spans [-1, 1] in four steps: one pixel
    moved = on_images(g, x)[0, 0, 0]
    assert moved[2, 1].item() == pytest.approx(1.0)
    assert moved.sum().item() == pytest.approx(1.0)


def test_trivial_action_repeats(generator):
    y = torch.arange(4)
    assert torch.equal(trivially(torch.zeros(4, 3, 2, 2), y), y.unsqueeze(1).expand(4, 3))
