"""A notebook's study: its folders wherever the kernel starts, artefacts built once, what needs data."""

import pandas as pd
import pytest

from lib import study
from lib.data import DataError
from lib.files import ROOT
from lib.records import RESULTS
from lib.study import Study, ahead, needs_data


@pytest.fixture
def opened(monkeypatch):
    """Opens a study without reading any record."""
    monkeypatch.setattr(study, "results_of", lambda *place, **_: place)
    return lambda results, figures: Study("timing", "smoke", "never", results, figures)


@pytest.mark.parametrize("kernel", ["notebooks", ".", "/"])
def test_relative_folders_start_at_the_notebooks_wherever_the_kernel_does(kernel, opened, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / kernel)
    committed, smoke = opened("../results", "../figures"), opened("../build/smoke/results", "../build/smoke/figures")
    assert (committed.results, committed.figures) == (RESULTS, ROOT / "figures")
    assert (smoke.results, smoke.figures) == (ROOT / "build" / "smoke" / "results", ROOT / "build" / "smoke" / "figures")
    assert committed.frame == ("timing", "smoke", RESULTS)
    assert opened(tmp_path, str(tmp_path)).results == tmp_path


def test_an_artefact_is_built_once(opened, monkeypatch, tmp_path):
    built = []
    monkeypatch.setattr(study, "build", lambda *place, **_: built.append(place) or place[0])
    timing = opened(tmp_path, tmp_path)
    assert [timing.artefact(name) for name in ("a", "b", "a")] == ["a", "b", "a"]
    assert built == [(name, "smoke", tmp_path, tmp_path) for name in "ab"]


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
