"""What the four sections on augmentation are measured with: a law with two groups, copies made once, layers' parts, the worst case."""

import math
from functools import partial

import pytest
import torch

from lib import tasks
from lib.actions import on_directions, on_points, on_vectors
from lib.experiments.settings import plan
from lib.experiments.training import fit
from lib.groups import haar, homogeneous, so
from lib.lie_derivative import layer_norms, layerwise
from lib.models.mlp import MLP
from lib.models.soft_mlp import PER
from lib.models.tensor_mlp import TensorEMLP, on_flat_vectors, on_tensors
from lib.robustness import equivariance_report, worst_on_grid
from lib.tasks import nbody, pulls
from lib.tasks.copies import copies

SHAPE = torch.Size([3, 3])


@pytest.fixture
def places(generator, dtype):
    return torch.randn(6, 3, 3, generator=generator, dtype=dtype)


# ------------------------------------------------------------------------------------------------------------- the law


def test_pulls_are_plummers_add_to_nothing_and_have_both_symmetries(places, generator, dtype):
    far = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 0, 1e6]]], dtype=dtype)
    assert pulls.law(far)[0, 0, 0].item() == pytest.approx(2 / (4 + pulls.SOFTENING) ** 1.5, rel=1e-5)
    y, tolerance = pulls.law(places), 200 * torch.finfo(dtype).eps
    assert y.sum(1).abs().max() < tolerance, "actio est reactio"
    g = homogeneous(haar(3, (6,), generator, dtype), torch.randn(6, 3, generator=generator, dtype=dtype)).unsqueeze(1)
    torch.testing.assert_close(pulls.law(on_points(g, places).squeeze(1)), on_directions(g, y).squeeze(1), rtol=0, atol=tolerance)


def test_an_affine_map_moves_points_and_turns_what_lies_between_them(places, generator, dtype):
    linear, shift = torch.randn(6, 3, 3, generator=generator, dtype=dtype), torch.randn(6, 3, generator=generator, dtype=dtype)
    moved = on_points(homogeneous(linear, shift).unsqueeze(1), places).squeeze(1)
    torch.testing.assert_close(moved, places @ linear.mT + shift[:, None])
    between = on_directions(homogeneous(linear, shift).unsqueeze(1), places).squeeze(1)
    torch.testing.assert_close(between[:, 0] - between[:, 1], moved[:, 0] - moved[:, 1])


def test_samples_lie_one_way_until_they_are_moved():
    turned, shifted = (pulls.load(scenario, 400, 400) for scenario in pulls.SCENARIOS)
    for task in (turned, shifted):
        for x, y in (task.train, task.val, task.test, *task.further.values()):
            torch.testing.assert_close(pulls.law(x.double()).float(), y, rtol=1e-3, atol=1e-3)
        for x in (task.train[0], task.further["aligned"][0]):
            torch.testing.assert_close(x.mean(0), torch.eye(3) - 1 / 3, rtol=0, atol=5 * pulls.SPREAD / 400**0.5)
            assert x.mean(1).abs().max() < 1e-6
    assert turned.test[0].mean(0).abs().max() < 0.15, "no way is preferred"
    middle = shifted.test[0].mean(1), shifted.further["far"][0].mean(1)
    for found, most in zip(middle, (pulls.NEAR, pulls.FAR), strict=True):
        assert 0.97 * most < found.abs().max() <= most * (1 + 1e-6)
        assert found.std().item() == pytest.approx(most / math.sqrt(3), rel=0.1)
    with pytest.raises(ValueError, match="rotations, translations"):
        pulls.load("shears")


def test_copies_are_the_same_samples_each_moved_by_an_element_of_its_own():
    x, y = pulls.load("rotations", 50, 10).train

    def of(count):
        return copies(x, y, count, pulls.turns, torch.Generator().manual_seed(1), on_points, on_directions)

    assert of(0)[0] is x and len(of(4)[0]) == 200
    assert torch.equal(of(4)[0][:100], of(2)[0]), "the first of many are those of few"
    torch.testing.assert_close(pulls.law(of(4)[0]), of(4)[1], rtol=1e-3, atol=1e-3)
    lengths = of(4)[0].norm(dim=2).unflatten(0, (4, 50))
    torch.testing.assert_close(lengths, x.norm(dim=2).expand_as(lengths), rtol=1e-4, atol=1e-5)
    angles = (of(4)[0].unflatten(0, (4, 50)) * x).sum((2, 3))
    assert angles.std(0).min() > 0, "no two copies are alike"
    with pytest.raises(ValueError, match="at least 0"):
        of(-1)


def test_bodies_seen_in_turned_copies_keep_their_masses_and_their_law():
    once, seen = nbody.load("10deg", 10, 4), nbody.load("10deg", 10, 4, seen=3)
    assert seen.train[0].shape == (30, 4, 7) and torch.equal(seen.test[0], once.test[0])
    torch.testing.assert_close(seen.train[0][..., 0], once.train[0][..., 0].repeat(3, 1))
    mass, x, v = seen.train[0].double().split([1, 3, 3], -1)
    torch.testing.assert_close(nbody.flow(mass.squeeze(-1), x, v).float(), seen.train[1], rtol=0, atol=1e-4)
    heights = (once.train[0][..., 3].abs().max(), seen.train[0][..., 3].abs().max())
    assert heights[1] > 2 * heights[0], "orbits near the plane no more"


# ------------------------------------------------------------------------------------------- where equivariance is lost


@pytest.mark.parametrize("cls", [PER, TensorEMLP])
def test_the_parts_of_all_layers_add_up_to_the_derivative_by_differences(cls, generator):
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        model, x, h = cls(SHAPE, SHAPE, channels=40, blocks=3, unit=2.0), torch.randn(5, 3, 3, generator=generator).double(), 1e-5
    finally:
        torch.set_default_dtype(torch.float32)
    layers = [*((partial(model.block, i), model.turned) for i in range(3)), (model.last, on_flat_vectors)]
    squares = []
    with torch.no_grad():
        for element in so(3).double():
            there, back = (torch.linalg.matrix_exp(t * element) for t in (h, -h))
            differences = (model(x @ there.mT) @ there - model(x @ back.mT) @ back) / (2 * h)  # rho(exp(-tL)) f(exp(tL) x)
            parts = layerwise(layers, x.flatten(1) / model.unit, on_flat_vectors, element)
            whole = model.unit * sum(parts).unflatten(1, (3, 3))
            torch.testing.assert_close(whole, differences, rtol=0, atol=1e-7)
            squares.append(differences.square().sum((1, 2)))
        *parts, whole = model.lie_derivative(x)
    assert whole == pytest.approx(torch.stack(squares).mean(0).sqrt().mean().item(), rel=1e-4, abs=1e-7)
    assert len(parts) == 4
    assert max(parts) < 1e-12 if cls is TensorEMLP else min(parts) > 1e-4


def test_only_the_layer_that_is_broken_has_a_part():
    torch.manual_seed(0)
    model = TensorEMLP(SHAPE, SHAPE, channels=40, blocks=3)
    whole, block = model.block, 1
    model.block = lambda i, x: whole(i, x) + (0.1 * x.roll(1, -1) if i == block else 0.0)
    *parts, _ = model.lie_derivative(torch.randn(5, 3, 3))
    assert parts[block] > 100 * max(part for i, part in enumerate(parts) if i != block)


def test_tensors_move_as_the_group_does(generator):
    """The derivative of g (x) g (x) g on tensors of rank 0 to 3, by differences."""
    element, h = so(3)[1].double(), 1e-6
    for rank in range(4):
        t = torch.randn(2, 4, 3**rank, generator=generator).double()
        there, back = (torch.linalg.matrix_exp(s * element) for s in (h, -h))

        def act(g, t=t, rank=rank):
            whole = torch.ones(1, 1, dtype=torch.float64)
            for _ in range(rank):
                whole = torch.kron(whole, g)
            return t @ whole.mT

        torch.testing.assert_close(on_tensors(element, t, rank), (act(there) - act(back)) / (2 * h), rtol=0, atol=1e-8)


def test_norms_are_over_generators_and_samples():
    double = lambda element, h: 2 * h @ element.mT  # noqa: E731
    x = torch.randn(7, 3)
    single = lambda element, h: h @ element.mT  # noqa: E731
    part, whole = layer_norms([(lambda h: h, double)], x, single, so(3))
    expected = torch.stack([(x @ element.mT).square().sum(1) for element in so(3)]).mean(0).sqrt().mean()
    assert part == whole == pytest.approx(expected.item(), rel=1e-5)


# ------------------------------------------------------------------------------------------------------- the worst case


def test_the_worst_case_is_found_where_gradients_are_off(generator):
    x = torch.randn(6, 2, generator=generator)
    model = MLP(torch.Size([2]), torch.Size([2]), width=32)
    with torch.no_grad():
        off = equivariance_report(model, so(2), x, samples=10)
    assert off.worst == equivariance_report(model, so(2), x, samples=10).worst
    grid = worst_on_grid(model, so(2), x, on_x=on_vectors)
    assert off.worst == pytest.approx(grid, rel=0.01)
    assert grid <= off.worst * (1 + 1e-3)


def test_a_perceptron_that_reads_from_the_mean_sees_no_translation(places):
    model = MLP(SHAPE, SHAPE, width=16, centred=True).to(places)
    free = MLP(SHAPE, SHAPE, width=16).to(places)
    shift = torch.tensor([5.0, -3.0, 1.0]).to(places)
    assert (model(places + shift) - model(places)).abs().max() < 1e3 * torch.finfo(places.dtype).eps
    assert (free(places + shift) - free(places)).abs().max() > 0.01


@pytest.mark.parametrize(("experiment", "exact"), [("capacity_orbits", "emlp"), ("coverage_pulls", "tensor_emlp"), ("depth_pulls", "per")])
def test_records_hold_the_worst_case_and_it_is_no_less_than_the_percentile(experiment, exact):
    run = next(run for run in plan(experiment, "smoke") if run["model"] == exact)
    sizes = {name: run[name] for name in ("n_train", "n_eval")}
    scores = fit(tasks.load(run["task"], scenario=run["scenario"], **sizes), [run])[0]["metrics"]
    splits = {name.removesuffix("_worst") for name in scores if name.endswith("_worst")}
    assert splits == ({"test", "val"} if experiment == "capacity_orbits" else {"test", "aligned"})
    for split in splits:
        rounding = 1e-12 * scores[f"{split}_size"]
        assert scores[f"{split}_mean"] - rounding <= scores[f"{split}_percentile_99"] <= scores[f"{split}_worst"] + rounding
        if exact != "per":
            assert scores[f"{split}_worst"] < 1e-9 * scores[f"{split}_size"], "rounding of float64"
    assert ("lie_2" in scores) == (exact != "emlp") and ("test_grid" in scores) == (exact == "emlp")
