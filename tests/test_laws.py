"""Simulated tasks: conservation laws, distributions, and how large a symmetry each law has."""

import math

import pytest
import torch

from lib import tasks
from lib.actions import on_stacks, on_vectors, trivially
from lib.exponential import exp_map
from lib.groups import so
from lib.metrics import action_score, basis_cosine, basis_mae, share_inside, symmetry_algebra, symmetry_residual
from lib.tasks import discrete_rotation, partial_permutation, two_body

ALTERNATIVE = torch.kron(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.block_diag(so(2)[0], so(2)[0])).unsqueeze(0)
ROTATION = torch.block_diag(*[so(2)[0]] * 4).unsqueeze(0)


@pytest.fixture(scope="module")
def orbits():
    return two_body.simulate(200, (-math.pi, math.pi), torch.Generator().manual_seed(0))


def test_energy_momentum_and_angular_momentum_are_conserved(orbits):
    q1, p1, q2, p2 = orbits.split(2, -1)
    energy = (p1.square().sum(-1) + p2.square().sum(-1)) / 2 - 1 / (q2 - q1).norm(dim=-1)
    spin = sum(q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0] for q, p in ((q1, p1), (q2, p2)))
    for quantity in (energy, spin):
        assert ((quantity - quantity[:, :1]) / quantity[:, :1]).abs().max() < 1e-9
    assert (p1 + p2).abs().max() < 1e-12 and (q1 + q2).abs().max() < 1e-12


def test_a_circular_orbit_turns_at_keplers_rate():
    """omega = 1 / (2 r^1.5) for two unit masses at distance 2 r."""
    r = 2.0
    v = 1 / (2 * math.sqrt(r))
    path = two_body.flow_path(torch.tensor([[r, 0.0, 0.0, v, -r, 0.0, 0.0, -v]], dtype=torch.float64), 19)
    angle = torch.atan2(path[0, :, 1], path[0, :, 0])
    torch.testing.assert_close(angle, v / r * two_body.STEP * torch.arange(20, dtype=torch.float64), atol=1e-8, rtol=0)
    assert angle[1].item() == pytest.approx(0.0722, abs=1e-4)


def test_orbits_fill_the_annulus_by_area(orbits):
    radius = orbits[:, 0, :2].norm(dim=-1)
    assert radius.min() >= 1.5 and radius.max() <= 3.0
    assert radius.square().mean().item() == pytest.approx((1.5**2 + 3.0**2) / 2, abs=0.4)
    assert (orbits[:, 0, 2:4].norm(dim=-1) * 2 * radius.sqrt() - 1).abs().max() < 5e-3


@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("scaled", [True, False])
def test_two_body_scenarios_and_units(timesteps, scaled):
    options = {"n_train": 1000, "n_eval": 500, "timesteps": timesteps, "scaled": scaled}
    for scenario in ("in", "out"):
        task = two_body.load(scenario, **options)
        for (x, y), count in ((task.train, 1000), (task.val, 500), (task.test, 500)):
            assert x.shape == y.shape == (count, timesteps, 8)
            torch.testing.assert_close(task.law(x.double()).float(), y, atol=1e-5, rtol=1e-4)
        x, y = task.train
        raw = task.reported(torch.ones(1, 1, 8)).flatten()
        spread = x.square().mean((0, 1)).sqrt()
        if scaled:
            torch.testing.assert_close(spread[two_body.MOMENTA].square().mean(), torch.tensor(1.0), atol=1e-3, rtol=0)
        else:
            assert torch.equal(raw, torch.ones(8))
        output = y + 0.5
        assert task.metric(output, y).item() == pytest.approx((0.25 * raw.square().mean()).item(), rel=1e-4)
        sign = torch.cat([x, y], 1)[..., 0] * torch.cat([x, y], 1)[..., 1] > 0
        if scenario == "out":
            x, y = task.test
            assert not sign.any() and (torch.cat([x, y], 1)[..., :2].prod(-1) > 0).all()
    assert (two_body.load("in", **options).test[0][..., 1] > 0).double().mean() > 0.7


@pytest.mark.parametrize(("scenario", "error"), [("error_1", 1e-3), ("error_3", 3e-3), ("error_10", 1e-2), ("spliced_20", 1e-3)])
def test_one_velocity_error_a_trajectory(scenario, error):
    """An orbit that starts across q, faster than a circle's by a share s, has the eccentricity (1 + s)^2 - 1, whichever of its states one
    sees. The test set has nothing spliced."""
    x = two_body.load(scenario, 1000, 790 * 18, scaled=False).test[0][:, 0].double()
    q, p = x[:, :2], x[:, 2:4]
    energy = p.square().sum(-1) - 1 / (2 * q.norm(dim=-1))  # of both bodies, unit masses
    momentum = 2 * (q[:, 0] * p[:, 1] - q[:, 1] * p[:, 0])
    eccentricity = (1 + 4 * energy * momentum.square()).clamp(min=0).sqrt()  # of the relative orbit: mu = 1/2, G m1 m2 = 1
    spread = eccentricity.square().mean().sqrt() / 2  # |(1 + s)^2 - 1| is nearly 2 |s|
    assert spread.item() == pytest.approx(error, rel=0.15)


@pytest.mark.parametrize(("scenario", "trajectories"), [("error_1", 0), ("spliced_5", 5), ("spliced_20", 17)])
def test_a_spliced_trajectory_breaks_the_law_once(scenario, trajectories):
    """Of all windows of training: 814 trajectories of 18, the last of whose 19 steps is left out. The test set keeps the law."""
    task = two_body.load(scenario, 814 * 18, 790 * 18, scaled=False)
    for (x, y), most in ((task.train, trajectories), (task.val, trajectories), (task.test, 0)):
        broken = ((task.law(x.double()).float() - y).abs() > 1e-3).flatten(1).any(1).sum().item()
        assert 0.7 * most <= broken <= most


def test_a_trimmed_task_leaves_out_what_errs_most_from_loss_and_metric():
    plain, trimmed = (two_body.load("in", 100, 50, trimmed=share) for share in (0.0, 0.1))
    y = trimmed.val[1]
    prediction = y.clone()
    prediction[:5] += 1.0
    assert trimmed.loss(prediction, y) == trimmed.metric(prediction, y) == 0 < plain.metric(prediction, y)
    assert (plain.metric_name, trimmed.metric_name) == ("mse", "trimmed_mse")
    prediction[:6] += 1.0
    units = trimmed.reported(torch.ones(1, 8, dtype=y.dtype))
    assert trimmed.metric(prediction, y).item() == pytest.approx((units.square().mean() / 45).item(), rel=1e-4)


def test_masks_of_two_body():
    masks = two_body.masks()
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"mask_0": 64, "mask_2": 16, "mask_4": 32}
    assert torch.equal(ROTATION[0] * masks["mask_2"], ROTATION[0])
    assert torch.equal(ALTERNATIVE[0] * masks["mask_4"], ALTERNATIVE[0])
    assert not torch.equal(ALTERNATIVE[0] * masks["mask_2"], ALTERNATIVE[0])


def test_the_alternative_generator_acts_on_data_as_the_rotation_at_twice_the_speed():
    """SEMoLA A.4.5: exp(w L_alt) x = exp(2 w L_GT) x where q2 = -q1 and p2 = -p1; its cosine is 1/sqrt 2, its action score 1."""
    x = two_body.load("in", 500, 10).train[0][:, 0].double()
    w = torch.linspace(-2, 2, 500, dtype=torch.float64)[:, None, None]
    moved = on_vectors(exp_map(w, ALTERNATIVE.double()), x)
    torch.testing.assert_close(moved, on_vectors(exp_map(2 * w, ROTATION.double()), x), atol=1e-6, rtol=0)
    assert basis_cosine(ALTERNATIVE, ROTATION) == pytest.approx(1 / math.sqrt(2), abs=1e-6)
    assert basis_mae(ALTERNATIVE, ROTATION) == pytest.approx(0.125, abs=1e-6)
    blocks = {"positions": two_body.POSITIONS, "momenta": two_body.MOMENTA}
    assert action_score(ALTERNATIVE.double(), ROTATION.double(), x, blocks) == pytest.approx(1.0, abs=1e-6)


def test_a_rotation_of_positions_only_fails_the_action_score_and_is_no_symmetry():
    task = two_body.load("in", 500, 500)
    positions = torch.zeros(8)
    positions[two_body.POSITIONS] = 1.0
    half = ROTATION * positions
    assert action_score(half, task.generators, task.points, task.blocks) == pytest.approx(0.0, abs=1e-6)
    draw = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    actions = {"rho_x": on_stacks, "rho_y": on_stacks}
    x = task.test[0].double()
    good, bad = (symmetry_residual(task.law, basis.double(), x, draw(), **actions) for basis in (ROTATION, half))
    assert good < 1e-12 and bad > 0.01


def test_symmetry_residual_in_closed_form():
    """law(x) = (cos 3a, sin 3a) of the angle a: a gap of 2 |sin(3w/2)|, w ~ U(-1, 1), whatever the size of L."""
    angles = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)[:-1]
    x = torch.stack([angles.cos(), angles.sin()], -1)

    def triple(x):
        angle = 3 * torch.atan2(x[:, 1], x[:, 0])
        return torch.stack([angle.cos(), angle.sin()], 1)

    draw = torch.Generator().manual_seed(0)
    found = symmetry_residual(triple, 7 * so(2).double(), x, draw, rho_x=on_vectors, rho_y=trivially)
    assert found == pytest.approx(2 * math.sin(3 / 4), rel=0.05)


def test_a_law_that_overflows_has_a_finite_residual():
    """A sample counts as two at most; so does a generator that moves no data."""
    x = 200 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(0)
    steep = lambda x: torch.where(x[:, :1] > -100, torch.full_like(x, torch.inf), x)  # noqa: E731
    known = lambda y: steep(y) if y is not x else x  # noqa: E731
    assert symmetry_residual(known, so(2), x, draw, rho_x=on_vectors, rho_y=on_vectors) == 2.0
    idle = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    flat = x * torch.tensor([1.0, 0.0])  # L x = 0
    assert symmetry_residual(lambda y: y, idle, flat, draw, rho_x=on_vectors, rho_y=on_vectors) == 2.0


@pytest.mark.parametrize(("scenario", "dimension"), [("none", 0), ("so2", 1), ("so3", 3)])
def test_planted_symmetries_have_as_many_generators_as_they_say(scenario, dimension):
    task = tasks.load("planted_symmetry", scenario=scenario, n_train=16, n_eval=400)
    x = task.test[0].double()
    algebra = symmetry_algebra(task.law, x, 3, rho_x=on_vectors)
    assert len(algebra) == dimension
    g = next(iter(task.groups.values()))(400, torch.Generator().manual_seed(0), torch.float64)
    gap = (task.law(on_vectors(g.unsqueeze(1), x).squeeze(1)) - task.law(x)).abs().max()
    assert (gap < 1e-12) == (dimension > 0)
    if dimension:
        assert share_inside(task.generators, algebra) == pytest.approx(1.0)


def test_partial_permutation_has_an_algebra_of_eleven_dimensions():
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    algebra = symmetry_algebra(partial_permutation.law, x, 5, rho_x=on_vectors, rho_y=trivially)
    assert algebra.shape == (11, 5, 5)
    columns = algebra[:, :3, :3].sum(1)  # of x1..x3 among themselves: what keeps the sum has columns that sum to zero
    assert columns.abs().max() < 1e-8
    assert share_inside(partial_permutation.generator(), algebra) == pytest.approx(1.0, abs=1e-6)
    boost = torch.zeros(1, 5, 5)
    boost[0, 3, 4] = boost[0, 4, 3] = 1.0
    assert share_inside(boost, algebra) == pytest.approx(1.0, abs=1e-6)
    chance = torch.randn(4000, 5, 5, generator=torch.Generator().manual_seed(1))
    shares = [share_inside(element.unsqueeze(0), algebra) for element in chance[:500]]
    assert sum(shares) / len(shares) == pytest.approx(11 / 25, abs=0.02)


def test_the_symmetry_algebra_of_the_dot_product_is_so3_and_of_a_generic_function_nothing():
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    actions = {"rho_x": on_vectors, "rho_y": trivially}
    algebra = symmetry_algebra(lambda x: x.square().sum(1), x, 3, **actions)
    assert len(algebra) == 3
    assert share_inside(so(3).double(), algebra) == pytest.approx(1.0)
    assert len(symmetry_algebra(lambda x: (x @ x.new_tensor([1.0, 2.0, 3.0])).sin() + x[:, 0] ** 3 + x[:, 1] ** 5, x, 3, **actions)) == 0


def test_partial_permutation_is_the_permutations():
    task = partial_permutation.load("in", 50, 50)
    x, y = task.test
    permuted = x[:, [2, 0, 1, 3, 4]]
    torch.testing.assert_close(task.law(permuted), y)
    cycle = exp_map(torch.tensor([[[2 * math.pi / 3]]]), partial_permutation.generator())
    torch.testing.assert_close(on_vectors(cycle.expand(50, 1, 5, 5), x).squeeze(1), permuted, atol=1e-5, rtol=0)
    assert (task.law(x[:, [0, 1, 2, 4, 3]]) - y).abs().max() > 1


def test_discrete_rotation_is_invariant_to_sevenths_only():
    x, y = discrete_rotation.load("in", 500, 500).test
    x, y = x.double(), discrete_rotation.law(x.double())
    draw = torch.Generator().manual_seed(0)
    for sample, limit in ((discrete_rotation.sevenths, 0.0), (discrete_rotation.turns, 0.1)):
        gap = (discrete_rotation.law(on_vectors(sample(500, draw, torch.float64).unsqueeze(1), x).squeeze(1)) - y).abs()
        assert gap.median() <= max(limit, 1e-12) if limit == 0.0 else gap.mean() > limit


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_is_reproducible_and_names_what_it_does_not_know(name):
    scenario = tasks.scenarios(name)[0]
    one, two = (tasks.load_tiny(name, scenario=scenario) for _ in range(2))
    assert torch.equal(one.train[0], two.train[0]) and torch.equal(one.test[1], two.test[1])
    with pytest.raises(ValueError, match="unknown scenario 'sideways'"):
        tasks.load_tiny(name, scenario="sideways")
    for sample in one.groups.values():
        assert sample(3, torch.Generator().manual_seed(0), torch.float64).shape == (3, one.size, one.size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": 10}, "between 1 and 9, got 10"),
        ({"n_train": 10**6}, "n_train must be between"),
        ({"n_eval": 0}, "n_eval must be"),
        ({"trimmed": 1.0}, "trimmed must be in"),
    ],
)
def test_two_body_refuses_what_it_cannot_give(options, message):
    with pytest.raises(ValueError, match=message):
        two_body.load("in", **options)
