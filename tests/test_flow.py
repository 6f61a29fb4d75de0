"""Currents: the solver against closed forms, real currents against known numbers, what is held out, films against their definition."""

import math
import warnings

import numpy as np
import pytest
import torch

from lib import models, tasks
from lib.actions import on_films
from lib.draws import random_stream
from lib.groups import so
from lib.models.e2cnn import E2CNN, STARTS, C4Convolution
from lib.models.rollout import FlowCNN
from lib.models.rsteer import RelaxedConvolution, RSteer
from lib.tasks import flow
from lib.tasks.files import jetflow
from lib.tasks.files.prepared import read
from lib.tasks.files.sources import DataError
from lib.tasks.turbulence import STEP, Turbulence

QUARTERS = [torch.matrix_exp(q * math.pi / 2 * so(2, dtype=torch.float64)[0]) for q in range(4)]


def turned(film: torch.Tensor, quarters: int) -> torch.Tensor:
    """A film (B, T, 2, h, w) turned by quarters about its middle, rows from the south: by array operations alone."""
    u, v = torch.rot90(film, -quarters, (-2, -1)).unbind(2)
    for _ in range(quarters):
        u, v = -v, u
    return torch.stack([u, v], 2)


# ---------------------------------------------------------------------------------------------------------- the solver


@pytest.mark.parametrize("strength", [0.0, 20.0])
def test_without_force_and_viscosity_energy_and_enstrophy_stay(strength):
    solver = Turbulence(32, strength, growth=0.0, drag=0.0, viscosity=0.0)
    w = solver.start(3, random_stream(0, "test"))

    def sums(w):
        return torch.stack([solver.velocity(w).square().sum(-3).mean((-2, -1)), torch.fft.irfft2(w, s=(32, 32)).square().mean((-2, -1))])

    before = sums(w)
    for _ in range(round(1 / STEP)):
        w = solver.step(w, STEP)
    assert (sums(w) / before - 1).abs().max() < 1e-6  # in a time unit, in which speed 1 crosses five points
    assert (w - solver.start(3, random_stream(0, "test"))).abs().max() > 1, "nothing moved"


def test_a_single_wave_travels_west_and_decays_as_its_dispersion_says():
    """One plane wave is carried by no velocity of its own: w ~ exp(i kx s t / k^2 - (drag + viscosity k^2) t)."""
    solver, (kx, ky), time = Turbulence(32, 7.0, growth=0.0, drag=0.2, viscosity=0.01), (2, 3), 0.6
    w = torch.zeros(1, 32, 17, dtype=torch.complex128)
    w[0, ky, kx] = 5.0
    for _ in range(12):
        w = solver.step(w, time / 12)
    rate = 7.0 * kx / (kx**2 + ky**2) * 1j - 0.2 - 0.01 * (kx**2 + ky**2)
    assert (w[0, ky, kx] / 5.0 - np.exp(rate * time)).abs() < 1e-12
    assert w.abs().sum() == pytest.approx(w[0, ky, kx].abs().item(), rel=1e-12)


def test_runge_kutta_is_of_fourth_order():
    solver = Turbulence(32, 5.0)
    ends = []
    for steps in (10, 20, 40):
        w = solver.start(1, random_stream(0, "test"))
        for _ in range(steps):
            w = solver.step(w, 1.0 / steps)
        ends.append(w)
    coarse, fine = (ends[1] - ends[0]).norm(), (ends[2] - ends[1]).norm()
    assert 10 < coarse / fine < 25


@pytest.mark.parametrize(("strength", "broken"), [(0.0, False), (10.0, True)])
def test_quarter_turns_commute_with_time_unless_the_force_breaks_them(strength, broken):
    solver = Turbulence(16, strength)
    w = solver.start(1, random_stream(0, "test"))

    def turn(w):  # about the point (0, 0): the last row and column of a rot90 move to the front; a vorticity is a scalar
        field = torch.rot90(torch.fft.irfft2(w, s=(16, 16)), -1, (-2, -1))
        return torch.fft.rfft2(field.roll(1, -1))

    later, turned_first = solver.step(w, 0.1), solver.step(turn(w), 0.1)
    gap = ((turn(later) - turned_first).abs().max() / later.abs().max()).item()
    assert gap > 1e-3 if broken else gap < 1e-13


def test_the_films_do_not_hang_on_the_last_digits():
    """Rounding of 1e-16 must stay far below the 1e-6 to which records compare their data."""
    solver = Turbulence(32, 40.0)
    w = solver.start(2, random_stream(flow.SEED, "turbulence"))
    other = w * (1 + 1e-10)
    for _ in range(round((4 + 57 * 0.05) / STEP)):
        w, other = solver.step(w, STEP), solver.step(other, STEP)
    assert ((w - other).abs().norm() / w.abs().norm()) < 1e-10 * 1e7


# ------------------------------------------------------------------------------------------------------ real currents


@pytest.fixture(scope="module")
def currents():
    arrays, _ = read("ocean")
    return flow.geostrophic(arrays["level"], arrays["latitude"], arrays["longitude"])


@pytest.mark.parametrize(("days", "error"), [(1, 0.013), (2, 0.021), (5, 0.043), (10, 0.071)])
def test_currents_change_as_fast_as_they_are_known_to(currents, days, error):
    assert np.sqrt(np.nanmean((currents[days:] - currents[:-days]) ** 2)) == pytest.approx(error, abs=5e-4)


def test_a_slope_of_the_sea_level_drives_a_current_along_it():
    """One centimetre in 100 km at 45 degrees north, high in the east: 9.5 mm/s to the north; high in the north: to the west."""
    latitude, longitude = np.array([44.875, 45.0, 45.125]), np.array([5.0, 5.125, 5.25])
    step = 6.371e6 * np.deg2rad(0.125)
    speed = 9.81 * 1e-7 / (2 * 7.2921e-5 * np.sin(np.pi / 4))
    east = np.broadcast_to(1e-7 * step * np.cos(np.pi / 4) * np.arange(3) * 1e4, (1, 3, 3))
    north = np.broadcast_to(1e-7 * step * np.arange(3)[:, None] * 1e4, (1, 3, 3))
    u, v = flow.geostrophic(east, latitude, longitude)[0, :, 1, 1]
    assert (abs(u) < 1e-12, v) == (True, pytest.approx(speed, rel=1e-9))
    u, v = flow.geostrophic(north, latitude, longitude)[0, :, 1, 1]
    assert (abs(v) < 1e-12, u) == (True, pytest.approx(-speed, rel=1e-9))
    assert speed == pytest.approx(9.5e-3, rel=0.01)


def test_squares_are_of_sea_and_share_no_point(currents):
    sea = np.isfinite(currents).all((0, 1))
    covered = np.zeros(sea.shape, int)
    corners = flow.squares(sea)
    for y, x in corners:
        covered[y : y + 16, x : x + 16] += 1
    assert len(corners) == 28 and covered.max() == 1 and sea[covered > 0].all()


@pytest.mark.parametrize("films", [flow.ocean, lambda: flow.simulated(0.0)], ids=["ocean", "simulated"])
def test_what_is_tested_was_not_trained_on(films):
    films = films()
    sets = {}
    for part, starts in films.starts.items():
        stamps = torch.arange(films.velocity.shape[1]) + 1000.0 * torch.arange(len(films.velocity))[:, None]
        marked = films._replace(velocity=stamps[:, :, None, None, None].expand(-1, -1, 2, 1, 1))
        places = [i for i in range(len(films.velocity)) if (i in films.held_out) == (part == "domain")]
        frames = 6 if part == "train" else films.frames
        sets[part] = flow.windows(marked, places, starts, frames, random_stream(0, part), None, part)
        assert len(sets[part][0]) == len(places) * len(starts)
    trained = torch.cat([part.flatten() for part in sets["train"]])
    foretold = sets["test"][1].flatten()
    assert not torch.isin(foretold, trained).any()  # other times of the same places
    assert not torch.isin((sets["domain"][1] // 1000).unique(), (trained // 1000).unique()).any()  # other places
    x, y = sets["train"]
    assert (x.diff(dim=1) == films.interval).all() and (y[:, 0] - x[:, -1] == films.interval).all()


def test_targets_are_in_units_and_the_metric_in_those_of_the_data():
    films = flow.simulated(0.0)
    task = flow.task_of(films, {"train": 50, "val": 10, "test": 10, "domain": 10})
    scale = task.reported(torch.ones(())).item()
    assert task.train[0].square().mean() == pytest.approx(1.0, rel=1e-5)
    assert task.metric(task.test[1] + 0.5, task.test[1]).item() == pytest.approx(0.5 * scale, rel=1e-5)


@pytest.mark.parametrize(("options", "message"), [
    ({"scenario": "sea"}, "unknown scenario 'sea'"),
    ({"scenario": "ocean", "strength": 1.0}, "ocean has none"),
    ({"scenario": "simulated", "n_train": 1153}, "n_train must be between 1 and 1152"),
    ({"scenario": "simulated", "n_eval": 0}, "n_eval must be between 1 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.load("flow", **options)


# ------------------------------------------------------------------------------------------------------------- JetFlow


def test_jetflow_is_read_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(jetflow, "FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"raw_data_1_1\.pt"):
        jetflow.stations()
    draws = torch.Generator().manual_seed(0)
    films = [torch.randn(282 + i % 2, 2, 62, 23, generator=draws) for i in range(24)]
    for (i, j), film in zip(jetflow.STATIONS, films, strict=True):
        torch.save(film, tmp_path / f"raw_data_{i}_{j}.pt")
    velocity, held_out, digest = jetflow.stations()
    assert velocity.shape == (24, 282, 2, 62, 23) and len(digest) == 64
    assert velocity[held_out[0]].equal(films[8 + 2][:282].double())  # station (2, 3)
    task = tasks.load("flow", scenario="official", n_train=20, n_eval=10)
    assert task.data == "official" and task.train[0].shape == (20, 10, 2, 23, 23) and task.test[1].shape == (10, 20, 2, 23, 23)


@pytest.mark.parametrize(("bad", "message"), [
    (torch.zeros(281, 2, 62, 23), "at least 282 times"),
    (torch.full((282, 2, 62, 23), math.nan), "not finite"),
    (print, "cannot be read as a tensor"),
])  # fmt: skip
def test_a_file_that_is_not_jetflows_is_named(tmp_path, monkeypatch, bad, message):
    monkeypatch.setattr(jetflow, "FOLDER", tmp_path)
    for i, j in jetflow.STATIONS:
        (tmp_path / f"raw_data_{i}_{j}.pt").touch()
    torch.save(bad, tmp_path / "raw_data_1_1.pt")
    with pytest.raises(DataError, match=rf"(?s)raw_data_1_1\.pt.*{message}"):
        jetflow.stations()


# ------------------------------------------------------------------------------------------------- actions and networks


def test_a_film_turns_with_its_vectors():
    film = torch.randn(2, 3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g = torch.stack(QUARTERS).expand(2, 4, 2, 2)
    moved = on_films(g, film)
    for q in range(4):
        assert (moved[:, q] - turned(film, q)).abs().max() < 1e-13
    place = torch.arange(9, dtype=torch.float64) - 4
    vortex = torch.stack([-place[:, None].expand(9, 9), place.expand(9, 9)])[None, None]  # looks alike however it is turned
    g = torch.matrix_exp(0.3 * so(2, dtype=torch.float64))[None]
    assert (on_films(g, vortex)[0, 0, 0, :, 2:7, 2:7] - vortex[0, 0, :, 2:7, 2:7]).abs().max() < 1e-12


@pytest.mark.parametrize(("into", "out"), STARTS)
def test_the_convolution_is_that_of_the_e2cnn_package(into, out):
    """Theirs counts rows from the north: their kernels stand on their heads. Ours of their weights are theirs, and so is the bias."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from e2cnn import gspaces
        from e2cnn import nn as theirs

        space = gspaces.Rot2dOnR2(4)
        kinds = {"vector": space.irrep(1), "regular": space.regular_repr}
        into_type, out_type = (theirs.FieldType(space, count * [kinds[kind]]) for count, kind in ((3, into), (2, out)))
        layer = theirs.R2Conv(into_type, out_type, kernel_size=3, padding=1, bias=out == "regular")
        if out == "regular":
            torch.nn.init.normal_(layer.bias)
        layer.eval()
        x = torch.randn(4, into_type.size, 7, 7)
        expected = layer(theirs.GeometricTensor(x, into_type)).tensor.detach()
    channels = layer.filter.flip(-2).unflatten(0, (2, -1)).unflatten(2, (3, -1))  # fields, from field to field
    ours = C4Convolution(3, 2, into, out)
    ours.weight.data = (channels[:, 0] if out == "regular" else channels[:, :, :, 0].transpose(1, 2)).clone()
    if out == "regular":
        ours.bias.data = layer.expanded_bias[::4].detach().clone()  # what it adds to each of a field's four channels
    assert (ours(x.flip(-2)).flip(-2) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("cls", "options"), [(E2CNN, {"fields": 3}), (RSteer, {"fields": 3}), (FlowCNN, {"width": 12})])
def test_which_network_is_exactly_equivariant(cls, options, double):
    torch.manual_seed(0)
    film = torch.randn(2, 4, 2, 8, 8)
    network = cls(film.shape[1:], torch.Size([5, 2, 8, 8]), **options).eval()

    def gap():
        return max(
            ((network(turned(film, q)) - turned(network(film), q)).abs().max() / network(film).abs().max()).item() for q in (1, 2, 3)
        )

    assert (gap() < 1e-10) == (cls is not FlowCNN)
    if cls is RSteer:
        network.convolutions[1].weight.data[..., 3] += 0.1
        assert gap() > 1e-4, "relaxed weights relax nothing"


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("into", "out"), STARTS)
def test_a_relaxed_kernel_is_the_sum_over_its_basis_and_its_penalty_the_published(into, out, double):
    """K(p) = sum_b w_b(p) B_b(p), element by element; alpha sum_layers mean |w_p - w_(p + 1)|, as in the authors' code."""
    torch.manual_seed(0)
    layer, plain = RelaxedConvolution(2, 3, into, out), C4Convolution(2, 3, into, out)
    plain.weight.data = layer.weight.data[..., 0].unflatten(-1, plain.weight.shape[2:])
    assert layer.kernel().equal(plain.kernel()) and layer.relaxation() == 0
    layer.weight.data += torch.randn(layer.weight.shape)
    kernel = torch.zeros_like(layer.kernel()).unflatten(0, (3, -1)).unflatten(2, (2, -1))
    for b in range(layer.basis.shape[0]):
        element = layer.basis[b].unflatten(-1, (3, 3))
        for o in range(3):
            for i in range(2):
                kernel[o, :, i] += layer.weight[o, i, b].detach().reshape(3, 3) * element
    assert (layer.kernel() - kernel.flatten(2, 3).flatten(0, 1)).abs().max() < 1e-12
    network = RSteer(torch.Size([2, 2, 6, 6]), torch.Size([3, 2, 6, 6]), fields=2, relaxed_wd=0.7)
    for convolution in network.convolutions:
        convolution.weight.data += torch.randn(convolution.weight.shape)
    differences = [np.abs(np.diff(c.weight.detach().numpy(), axis=-1)).mean() for c in network.convolutions]
    assert network.with_penalty(torch.randn(1, 2, 2, 6, 6))[1].item() == pytest.approx(0.7 * sum(differences), rel=1e-12)


@pytest.mark.parametrize("name", ["flow_cnn", "e2cnn", "rsteer"])
def test_frames_come_one_after_another_from_those_before(name):
    task = tasks.load_tiny("flow", scenario="simulated")
    network = models.build(name, torch.Generator().manual_seed(0), task.train[0].shape[1:], task.outputs)
    x, y = task.test
    with torch.no_grad():
        assert network.train()(x).shape[1] == 6
        film = network.eval()(x)
        past = x
        for t in range(8):
            following = past[:, -1] + network.increment(past.flatten(1, 2), network.kernels())
            assert (following - film[:, t]).abs().max() < 1e-6
            past = torch.cat([past[:, 1:], following[:, None]], 1)
        six = network.train()(x)
    assert task.loss(six, y).item() == pytest.approx((six - y[:, :6]).square().mean().item())
    assert task.loss(film, y[:, :3]).item() == pytest.approx((film[:, :3] - y[:, :3]).square().mean().item())


@pytest.mark.parametrize(("inputs", "outputs"), [((4, 2, 8, 6), (5, 2, 8, 6)), ((4, 2, 8, 8), (5, 2, 6, 6)), ((8, 8, 8), (5, 2, 8, 8))])
def test_films_of_another_form_are_refused(inputs, outputs):
    with pytest.raises(ValueError, match="films"):
        FlowCNN(torch.Size(inputs), torch.Size(outputs))
