"""Notebooks whose data are not there are left out of the tests, with the message that says how to get them."""

from lib import tasks
from lib.data import DataError

NEEDED = {"mocap": ("walk", "run"), "md17": ("ethanol", "toluene")}  # experiments and their scenarios that need files one may not have

missing = {}
for experiment, scenarios in NEEDED.items():
    try:
        for scenario in scenarios:
            tasks.load(experiment, scenario=scenario)
    except DataError as error:
        missing[experiment] = error

collect_ignore = [f"{notebook}.ipynb" for notebook in missing]


def pytest_report_header() -> list[str]:
    return [f"without {notebook}.ipynb: {error}" for notebook, error in missing.items()]
