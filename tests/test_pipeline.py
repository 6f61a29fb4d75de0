"""The pipeline's parts name each other rightly, and everybody gets the same versions."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from lib.__main__ import main
from lib.experiments import sweep, timing
from lib.experiments.sections import parameters
from lib.experiments.settings import plan
from lib.files import ROOT
from lib.tasks.files.prepared import DATASETS
from lib.views.budgets import SHARED
from lib.views.catalogue import FIGURES, TABLES
from lib.views.tables import notebook_of

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES, TEXTS = PIPELINE["stages"], {name: text for part in PIPELINE["vars"] for name, text in part.items()}
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text())


def commands(stage: dict) -> list[str]:
    """With the texts that several stages share in their places."""
    found = [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]
    return [re.sub(r"\$\{(\w+)\}", lambda name: TEXTS.get(name[1], name[0]), command) for command in found]


def outputs(stage: dict) -> set[str]:
    return {next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]}


def test_papermill_gives_only_parameters_that_notebooks_have():
    called = [c for name, stage in STAGES.items() if name != "train" for c in commands(stage) if c.startswith("papermill")]
    assert called
    for command in called:
        known = papermill.inspect_notebook(str(ROOT / command.split()[1])).keys()
        given = set(re.findall(r"-p (\w+)", command))
        assert given <= known, f"{given - known} are no parameters of {command.split()[1]}"
        assert "profile" in given or "profile" not in known


@pytest.mark.parametrize("notebook", sorted({notebook_of(experiment) for experiment in STAGES["train"]["foreach"]}))
def test_every_artefact_is_an_output_of_its_stage(notebook):
    expected = {f"results/tables/{name}.csv" for name, spec in TABLES.items() if notebook_of(spec.experiment) == notebook}
    drawn = {name for name, spec in FIGURES.items() if notebook_of(spec.experiment) == notebook}
    expected |= {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "csv")}
    assert outputs(STAGES[notebook]) == expected
    kept = {"cache": False, "persist": True}
    assert all(flags == kept for out in STAGES[notebook]["outs"] for flags in out.values()), "git keeps them, and no run deletes them"


@pytest.mark.parametrize("notebook", sorted({notebook_of(experiment) for experiment in STAGES["train"]["foreach"]}))
def test_a_stage_depends_on_all_that_it_shows_and_on_no_data(notebook):
    shown = {name for name in STAGES["train"]["foreach"] if notebook_of(name) == notebook}
    experiments = shown | {source for name in shown for source in SHARED.get(name, ())}  # whose searches chose its settings
    published = {f"paper/published/{spec.published or name}.csv" for name, spec in TABLES.items() if spec.experiment in shown}
    expected = {"lib", f"notebooks/{notebook}.ipynb", *(name for name in published if (ROOT / name).is_file())}
    expected |= {file for name in experiments for file in (f"results/runs/{name}", f"results/settings/{name}.yaml")}
    text = (ROOT / "notebooks" / f"{notebook}.ipynb").read_text()
    expected |= {f"results/{spec.measured}" for spec in FIGURES.values() if spec.measured and spec.experiment in shown}
    expected |= set(re.findall(r"results/(?:tables/\w+|benchmarks)\.csv", text))
    expected |= {"paper/claims.yaml"} if "experiment.ledger()" in text else set()
    assert set(STAGES[notebook]["deps"]) == expected
    assert "-p profile ${profile}" in commands(STAGES[notebook])[-1], "a command's text is what DVC compares too"


def test_the_paper_shows_every_table_and_figure_with_its_notebook_and_depends_on_them():
    shown = re.findall(r'^#(tidy|drawn)\("(\w+)", \[[^\]]+\], "(\w+)"', (ROOT / "paper" / "main.typ").read_text(), re.M)
    expected = [("tidy", name, notebook_of(spec.experiment)) for name, spec in TABLES.items()]
    expected += [("drawn", name, notebook_of(spec.experiment)) for name, spec in FIGURES.items()]
    assert sorted(shown) == sorted([*expected, ("drawn", "published", "claims")])
    read = {f"paper/{file}" for file in re.findall(r'(?:yaml|bibliography)\("([\w.]+)"', (ROOT / "paper" / "main.typ").read_text())}
    assert set(STAGES["paper"]["deps"]) == {"figures", "paper/main.typ", "results/claims.csv", "results/tables", *read} and len(read) == 2


def test_one_command_trains_and_times(monkeypatch):
    done = []
    monkeypatch.setattr(sweep, "train_missing", lambda *_, which, **__: done.append(which) or (which == "all"))
    monkeypatch.setattr(timing, "probe_missing", lambda *place, device: done.append((place[0], len(place[1]), device)))
    assert main(["train", "timing", "--profile", "smoke"]) == 0
    assert done == ["missing", ("timing", len(plan("timing", "smoke")), "cpu")]
    assert main(["train", "timing", "--profile", "smoke", "--which", "all"]) == 1 and done[2:] == ["all"], "with runs left nothing is timed"
    assert STAGES["train"]["do"]["cmd"] == "python -m lib train ${item} --profile ${profile}"


# ---------------------------------------------------------------- DVC itself, in a copy without data, mirror, git and git's program


COMPARED = (
    "settings",
    "rotated_mnist",
    "nbody",
    "timing",
    *(f"train@{name}" for name in ("rotated_mnist", "nbody", "nbody_samples", "timing")),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project as it was downloaded, and what runs DVC in it; the lock file is of today's files."""
    root = tmp_path_factory.mktemp("archive") / "project"
    for name in ("lib", "notebooks", "results", "figures", "paper"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.partial", ".ipynb_checkpoints"))
    for name in ("dvc.yaml", "params.yaml", "data.dvc", ".dvcignore", ".dvc/config"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    given = {name: value for name, value in os.environ.items() if name != "DATA_MIRROR"}
    given |= {"PYTHONPATH": str(root), "PATH": str(Path(sys.executable).parent)}

    def dvc(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, env=given, capture_output=True, text=True, check=False)

    committed = dvc("commit", "--force", *COMPARED)
    assert not committed.returncode, committed.stderr
    return root, dvc


def test_dvc_renders_anew_what_a_setting_changed_and_nothing_else(copy):
    root, dvc = copy
    text = (root / "params.yaml").read_text()
    changed = yaml.safe_load(text)
    changed["rotated_mnist"]["rows"][0]["label"] += " by another name"
    changed["nbody_samples"]["settings"] = {**changed["nbody_samples"]["settings"], "seeds": [0, 1]}
    (root / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    try:
        made = dvc("repro", "--quiet", "settings")
        stages = json.loads(dvc("status", "--json", *COMPARED).stdout)
    finally:
        (root / "params.yaml").write_text(text)
        dvc("repro", "--quiet", "settings")
    assert not made.returncode, made.stderr
    assert set(stages) == {"rotated_mnist", "train@rotated_mnist", "nbody", "train@nbody_samples"}


@pytest.fixture(scope="module")
def reproduced(copy):
    """What DVC does after a comment in lib and with a notebook that fails, to the last stage of training and the one that renders it;
    and, by file, the bytes and the time of what git has, before and after."""
    root, dvc = copy

    def kept() -> dict:
        files = [file for folder in ("results", "figures", "paper") for file in (root / folder).rglob("*") if file.is_file()]
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    before = kept()
    with open(root / "lib" / "groups.py", "a") as file:
        file.write("# what a comment says is no code\n")
    notebook = root / "notebooks" / "timing.ipynb"
    broken = nbformat.read(notebook, as_version=4)
    broken.cells[1:] = [broken.cells[1], nbformat.v4.new_code_cell("raise RuntimeError('in the middle')")]
    nbformat.write(broken, notebook)
    return dvc("repro", "--single-item", "train@timing", "timing"), before, kept()


def test_a_comment_in_lib_retrains_nothing(reproduced):
    done, before, after = reproduced
    assert "Running stage 'train@timing'" in done.stdout and "runs, 0 to train" in done.stdout
    assert "failed to reproduce 'train@timing'" not in done.stderr, done.stderr
    records = {file for file in before if file.suffix == ".json"}
    assert records and {file: after[file] for file in records} == {file: before[file] for file in records}


def test_a_stage_that_fails_leaves_every_committed_file_in_place(reproduced):
    done, before, after = reproduced
    assert done.returncode and "in the middle" in done.stdout + done.stderr and "failed to reproduce 'timing'" in done.stderr
    assert {file: content for file, (content, _) in after.items()} == {file: content for file, (content, _) in before.items()}


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
    extras = project["optional-dependencies"]
    asked = {re.split(r"[\[<>=]", name)[0].lower() for name in [*project["dependencies"], *extras["paper"], *extras["test"]]}
    assert asked - {project["name"]} <= {name.lower().replace("_", "-") for name in pinned}, "every dependency is pinned"


def test_profiles_of_every_experiment():
    for name, section in PARAMETERS.items():
        if isinstance(section, dict):
            assert {"smoke", "quick", "paper"} <= parameters(name)["profiles"].keys()
