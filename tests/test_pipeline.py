"""The pipeline's parts name each other rightly, and everybody gets the same versions."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import papermill
import pytest
import yaml

from lib.artefacts import FIGURES, TABLES
from lib.data import DATASETS
from lib.plan import parameters
from lib.records import ROOT
from lib.report import notebook_of

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text())
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def commands(stage: dict) -> list[str]:
    return [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]


def outputs(stage: dict) -> set[str]:
    return {next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]}


def test_papermill_gives_only_parameters_that_notebooks_have():
    called = [c for name, stage in STAGES.items() if name != "train" for c in commands(stage) if c.startswith("papermill")]
    assert called
    for command in called:
        known = papermill.inspect_notebook(str(ROOT / command.split()[1])).keys()
        given = set(re.findall(r"-p (\w+)", command))
        assert given <= known, f"{given - known} are no parameters of {command.split()[1]}"
        assert {"profile", "train", "results", "figures"} <= given


@pytest.mark.parametrize("notebook", sorted({notebook_of(experiment) for experiment in STAGES["train"]["foreach"]}))
def test_every_artefact_is_an_output_of_its_stage(notebook):
    expected = {f"results/tables/{name}.csv" for name, spec in TABLES.items() if notebook_of(spec.experiment) == notebook}
    drawn = {name for name, spec in FIGURES.items() if notebook_of(spec.experiment) == notebook}
    expected |= {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "csv")}
    assert outputs(STAGES[notebook]) == expected
    assert all(not flags.get("cache", True) for out in STAGES[notebook]["outs"] for flags in out.values()), "git keeps them"


def test_every_experiment_is_in_the_pipeline():
    assert set(STAGES["train"]["foreach"]) == {name for name, section in PARAMETERS.items() if isinstance(section, dict)}


def test_data_is_pinned_as_it_is_on_disk():
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "data", "status", "--json", "--granular"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    uncommitted = json.loads(status.stdout).get("uncommitted", {})
    left_out = {dataset.file for dataset in DATASETS.values() if dataset.left_out}
    missing = [file for file in uncommitted.get("deleted", []) if file not in left_out]
    modified = [file for file in uncommitted.get("modified", []) if file != "data/"]  # whose listing differs where a file is missing
    assert not modified and not missing, uncommitted


def test_conda_and_pip_users_get_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _pip, through_pip = environment["dependencies"]
    assert project["requires-python"] == ">=3.11"
    assert python == "python=3.11"
    assert through_pip["pip"] == ["-c constraints.txt", "-e .[test]"]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert pinned["torch"] == "2.13.0"
    wanted = {re.split(r"[\[<>=]", name)[0].lower() for name in project["dependencies"] + project["optional-dependencies"]["test"]}
    assert wanted <= {name.lower().replace("_", "-") for name in pinned}, "every dependency is pinned"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_short_clean_and_smoke_by_default(notebook: Path):
    content = json.loads(notebook.read_text())
    cells = [c for c in content["cells"] if c["cell_type"] == "code"]
    lines = [sum(bool(line.strip()) for line in c["source"]) for c in cells]
    assert max(lines) <= 25, f"a cell of {max(lines)} lines"
    given = papermill.inspect_notebook(str(notebook))
    assert given["profile"]["default"] == '"smoke"'
    assert given["results"]["default"].startswith('"../build/'), "smoke never writes into results/"
    assert all(not c["outputs"] for c in cells if "keep_output" not in c["metadata"].get("tags", [])), "nbstripout it"


def test_profiles_of_every_experiment():
    for name, section in PARAMETERS.items():
        if isinstance(section, dict):
            assert {"smoke", "quick", "paper"} <= parameters(name)["profiles"].keys()
