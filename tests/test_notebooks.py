"""Notebooks as people open them: what is recorded is shown at once, and a beta of one's own trains one run."""

import json
import shutil
from pathlib import Path

import papermill
import pytest

from lib.files import ROOT
from lib.views.catalogue import FIGURES, TABLES
from lib.views.figures.bases import YOURS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DIALS = ("nbody", "mocap", "md17", "loss_surface")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_short_and_clean_and_show_records_unless_told_otherwise(notebook: Path):
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    lines = [sum(bool(line.strip()) for line in cell["source"]) for cell in cells]
    assert max(lines) <= 25, f"a cell of {max(lines)} lines"
    given = papermill.inspect_notebook(str(notebook))
    assert given and all(given[name]["default"] == "None" for name in ("profile", "folder") if name in given)
    assert (notebook.stem not in DIALS) or given["beta"]["default"] == "None"
    assert all(not cell["outputs"] for cell in cells if "keep_output" not in cell["metadata"].get("tags", [])), "nbstripout it"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that notebooks may write into; its smoke records are those that every run of the notebooks shares."""
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("results", "figures", "paper", "params.yaml", *(name for name in ("data", "md17") if (ROOT / name).exists())):
        (tmp_path / name).symlink_to(ROOT / name)
    (ROOT / "build" / "smoke").mkdir(parents=True, exist_ok=True)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "smoke").symlink_to(ROOT / "build" / "smoke")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", DIALS)
def test_a_beta_trains_one_run_which_stands_beside_the_others(project, name):
    place = {"cwd": str(project / "notebooks"), "progress_bar": False}
    told = {"profile": "smoke", "beta": 0.3}
    executed = papermill.execute_notebook(str(project / "notebooks" / f"{name}.ipynb"), str(project / "executed.ipynb"), told, **place)
    (record,) = (project / "build" / "yours").rglob("runs/*/*.json")
    assert json.loads(record.read_text())["run"]["lambda_equiv"] == 0.3
    written = {file.stem for file in (project / "build" / "yours").rglob("*.csv") if f"REMUL{YOURS}" in file.read_text()}
    assert written & {key for key, spec in FIGURES.items() if spec.experiment == name}
    measured = {key for key, spec in TABLES.items() if spec.experiment == name and not (spec.hyperparameters or spec.profile)}
    assert written & measured or not measured
    assert "1 to train" in json.dumps(executed)
