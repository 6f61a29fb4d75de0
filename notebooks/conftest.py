"""Notebooks whose data are not there are left out of the tests, with the message that says how to get them."""

from lib import tasks
from lib.data import DataError

MOTION, MOLECULES = (("mocap", "walk"), ("mocap", "run")), (("md17", "ethanol"), ("md17", "toluene"))
NEEDED = {"mocap": MOTION, "md17": MOLECULES, "discovery": MOTION + MOLECULES}  # notebooks and tasks whose files one may not have

missing = {}
for notebook, needed in NEEDED.items():
    try:
        for task, scenario in needed:
            tasks.load(task, scenario=scenario)
    except DataError as error:
        missing[notebook] = error

collect_ignore = [f"{notebook}.ipynb" for notebook in missing]


def pytest_report_header() -> list[str]:
    return [f"without {notebook}.ipynb: {error}" for notebook, error in missing.items()]
