"""The slider's run: the recorded one with another beta, beside the records."""

import matplotlib.pyplot as plt
import pytest

from lib.experiments.settings import labelled_plan
from lib.experiments.values import ConfigError
from lib.views import live
from lib.views.live import CHOICES, Dial, run_of


@pytest.mark.parametrize("choice", CHOICES.values(), ids=list(CHOICES))
def test_a_run_is_the_recorded_one_but_for_beta_and_the_looks(choice):
    run = run_of(choice, "quick", 0.37)
    recorded = [found for label, found in labelled_plan(choice.experiment, "quick") if label == choice.row]
    differing = [{key for key in {*run, *found} if run.get(key) != found.get(key)} for found in recorded]
    assert {"lambda_equiv", "evaluations"} in differing and run["lambda_equiv"] == 0.37 and run["scenario"] == choice.scenario
    with pytest.raises(ConfigError, match=r"lambda_equiv .* must be at least 0, got -1"):
        run_of(choice, "quick", -1.0)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a panel shows, in their order."""
    shown = []
    monkeypatch.setattr(live, "picture", lambda _, *figures: shown.extend(figures))
    yield shown
    plt.close("all")


@pytest.mark.parametrize("name", CHOICES)
def test_a_press_trains_one_run_whose_curve_grows_and_whose_star_stands_among_the_records(name, drawn):
    dial = Dial("smoke")
    dial.what.value, dial.beta.value = name, 2.0
    del drawn[:]
    dial.button.click()
    scores, steps = dial.yours[name][0], run_of(CHOICES[name], "smoke", 2.0)["steps"]
    assert scores.beta == 2.0 and scores[CHOICES[name].error] > 0 and scores.E_prime >= 0
    assert dial.bar.value == dial.bar.max == steps and not dial.button.disabled
    *growing, last, turned, among = drawn
    points = [len(figure.axes[0].lines[0].get_xdata()) for figure in growing]
    assert points == list(range(1, len(points) + 1)) and len(last.axes[0].lines[0].get_xdata()) == points[-1]
    assert "yours, 2" in [text.get_text() for text in among.axes[0].texts]
    assert len(turned.axes) in (1, 2 * live.TURNS)


def test_a_run_that_fails_leaves_the_button_to_be_pressed_again(drawn, monkeypatch):
    dial = Dial("smoke")
    monkeypatch.setattr(live, "trained", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dial.train()
    assert not dial.button.disabled and not dial.yours
