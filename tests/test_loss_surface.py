"""Loss surfaces: filter-normalised directions, the grid against direct evaluation, ruggedness of known surfaces."""

import math

import pytest
import torch
from torch import nn

from lib.draws import random_stream
from lib.experiments.loss_surface import direction, loss_surface, ruggedness


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def test_every_filter_of_a_direction_is_as_long_as_the_weights(network):
    d = direction(network, torch.Generator().manual_seed(0))
    assert set(d) == {"0.weight", "2.weight"}
    for name, part in d.items():
        torch.testing.assert_close(part.norm(dim=1), network.get_parameter(name).norm(dim=1))


def test_the_grid_is_the_loss_at_moved_weights(network):
    x, y = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    loss = lambda f: (f(x) - y[:, :2]).square().mean()  # noqa: E731
    grid = loss_surface(network, loss, 5, seed=3)
    assert grid[2, 2] == loss(network)
    before = {name: p.clone() for name, p in network.state_dict().items()}
    again = loss_surface(network, loss, 5, seed=3)
    assert torch.equal(grid, again)
    assert all(torch.equal(p, before[name]) for name, p in network.state_dict().items())
    assert not torch.equal(grid, loss_surface(network, loss, 5, seed=4))
    draws = random_stream(3, "surface")
    first, second = direction(network, draws), direction(network, draws)
    with torch.no_grad():
        for name in first:
            network.get_parameter(name).add_(-0.5 * first[name] + second[name])
        torch.testing.assert_close(grid[1, 4], loss(network))


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_ruggedness_tells_a_bowl_from_an_egg_box(scale):
    t = torch.linspace(-1, 1, 31)
    r2 = t[:, None] ** 2 + t[None, :] ** 2
    bowl = ruggedness(scale * torch.exp(2 * r2))
    box = ruggedness(scale * torch.exp(2 * r2 + 0.5 * (torch.cos(20 * t)[:, None] + torch.cos(20 * t)[None, :])))
    assert bowl["saddles"] == 0.0 and bowl["minima"] == 1
    assert box["saddles"] > 0.4 and box["minima"] > 10
    assert box["roughness"] > 5 * bowl["roughness"]
    assert bowl["roughness"] == pytest.approx(8 / math.log(10), rel=1e-3)  # the Laplacian of 2 r^2, in decades


@pytest.mark.parametrize("surface", [torch.ones(2, 2), torch.full((5, 5), math.nan), torch.zeros(5, 5)])
def test_surfaces_without_a_logarithm_are_refused(surface):
    with pytest.raises(ValueError, match="finite positive values"):
        ruggedness(surface)
