"""An experiment as its notebook sees it: its folders wherever the kernel starts, artefacts built once, what needs data."""

import pandas as pd
import pytest

from lib.experiments.store import RESULTS
from lib.files import ROOT
from lib.tasks.files.prepared import DataError
from lib.views import notebook
from lib.views.notebook import Experiment, ahead, needs_data


@pytest.fixture
def opened(monkeypatch):
    """Opens an experiment without reading any record."""
    monkeypatch.setattr(notebook, "results_of", lambda *place, **_: place)
    return lambda profile=None, folder=None: Experiment("timing", profile, folder)


@pytest.mark.parametrize("kernel", ["notebooks", ".", "/"])
def test_an_experiment_shows_the_projects_records_wherever_the_kernel_starts(kernel, opened, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / kernel)
    monkeypatch.delenv("EQUIVARIANCE_PROFILE", raising=False)
    assert opened().frame == ("timing", "best", RESULTS)
    assert opened("quick", tmp_path).frame == ("timing", "quick", tmp_path / "results")
    monkeypatch.setattr(notebook, "train_missing", lambda *_, results: results)
    monkeypatch.setattr(notebook, "probe_missing", lambda *_: None)
    smoke = "timing", "smoke", ROOT / "build" / "smoke" / "results"
    assert opened("smoke").frame == smoke
    monkeypatch.setenv("EQUIVARIANCE_PROFILE", "smoke")
    assert opened().frame == smoke and opened("quick").frame[1] == "quick"


def test_an_artefact_is_built_once(opened, monkeypatch, tmp_path):
    built = []
    monkeypatch.setattr(notebook, "build", lambda *place: built.append(place) or place[0])
    timing = opened("quick", tmp_path)
    assert [timing.artefact(name) for name in ("a", "b", "a")] == ["a", "b", "a"]
    assert built == [(name, "quick", tmp_path / "results", tmp_path / "figures", tmp_path / "results" / "tables", None) for name in "ab"]


def test_what_needs_data_is_left_out_with_one_line(capsys):
    with needs_data():
        print("before")
        raise DataError("MNIST is missing:\n  run this")
    assert capsys.readouterr().out == "before\nleft out: MNIST is missing: run this\n"
    with pytest.raises(ValueError, match="another"), needs_data():
        raise ValueError("another")


def test_less_than_two_standard_errors_apart_is_a_tie():
    """Of means over three seeds each, with errors of 0.1: 0.1 sqrt(2/3) is the standard error of their difference."""
    ours, step = pd.Series([0.9, 1.0, 1.1]), 0.1 * (2 / 3) ** 0.5
    for gap, verdict in ((2.1, True), (1.9, "tie"), (0.0, "tie"), (-1.9, "tie"), (-2.1, False)):
        ratio, found = ahead(ours, ours + gap * step)
        assert (ratio, found) == (pytest.approx(1 + gap * step), verdict)
    assert [ahead(pd.Series([1.0]), pd.Series([other]))[1] for other in (0.9, 1.1)] == [False, True]
