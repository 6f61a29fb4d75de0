"""Configurations: what is planned, and what is refused before anything starts."""

import copy
import json

import pytest
import yaml

from lib.experiments import settings as planning
from lib.experiments.sections import experiments, parameters, parsed, write_sections
from lib.experiments.settings import ConfigError, labelled_plan, plan, profile_of
from lib.experiments.store import record_path
from lib.files import ROOT

CHANGES = [
    ({"lambda_equiv": -0.5}, r"lambda_equiv \(beta, .*must be at least 0, got -0.5"),
    ({"lambda_aug": float("nan")}, "lambda_aug must be at least 0, got nan"),
    ({"copies": 0}, r"copies \(K, the augmentations per sample\) must be a whole number of at least 1, got 0"),
    ({"copies": 1.5}, "copies"),
    ({"gamma": 0.0}, "gamma must be positive, got 0.0"),
    ({"lr": -1e-3}, "lr must be positive"),
    ({"scenarios": ["sideways"]}, "unknown scenario 'sideways': rotated_mnist has in, out, out30"),
    ({"target": "labels"}, "target must be one of label, prediction, got 'labels'"),
    ({"rows": [{"label": "x", "model": "cnn", "method": "semolla"}]}, "unknown method 'semolla': choose one of standard"),
    ({"rows": [{"label": "x", "model": "gan", "method": "semola"}]}, "unknown model 'gan': choose one of cnn"),
    ({"betta": 1.0}, "unknown setting betta"),
    ({"steps": 0}, "steps must be a whole number"),
    ({"warmup": 0}, r"warmup must be a share of the steps in \(0, 1\], or null for none, got 0"),
    ({"decay": 1.5}, r"decay must be a share of the steps in \(0, 1\], or null for none, got 1.5"),
    ({"decay": 0.2}, "decay starts where warmup ends and must be larger than 0.3, got 0.2"),
    (
        {"rows": [{"label": "x", "model": "cnn", "method": "augmented", "basis": "LieGAN"}]},
        "'x' takes its basis from 'LieGAN': choose one of x",
    ),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES, ids=[next(iter(changes)) for changes, _ in CHANGES])
def test_bad_values_are_refused_with_their_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan("rotated_mnist", "smoke", **changes)


@pytest.mark.parametrize(
    ("experiment", "profile", "message"),
    [
        ("rotated_mnits", "smoke", "unknown experiment 'rotated_mnits'"),
        ("rotated_mnist", "fast", "unknown profile 'fast': choose one of"),
    ],
)
def test_unknown_names_are_refused(experiment, profile, message):
    with pytest.raises(ConfigError, match=message):
        plan(experiment, profile)


def test_a_run_holds_only_what_its_method_reads():
    by_method = {run["method"]: run for run in plan("rotated_mnist", "smoke") if "basis" not in run}
    assert "gamma" not in by_method["standard"]
    assert "lambda_aug" not in by_method["augmented"]
    assert {"gamma", "lambda_equiv"} <= by_method["augmented"].keys()
    assert {"lambda_aug", "lambda_ortho", "lambda_sparse", "similarity"} <= by_method["semola"].keys()


def test_changing_a_weight_changes_only_the_runs_that_read_it():
    before, after = plan("rotated_mnist", "quick"), plan("rotated_mnist", "quick", lambda_aug=0.2)
    assert [a["method"] for a, b in zip(before, after, strict=True) if a != b] == ["semola"] * 6
    changed = next(run for run in after if run["method"] == "semola")
    assert [profile_of("rotated_mnist", run) for run in (before[0], changed)] == ["quick", None]


SEARCHES = [("rotated_mnist", name) for name in ("search", "search_baselines", "finalists", "search_warmup", "finalists_warmup")]


@pytest.mark.parametrize(
    ("experiment", "profile"), [*SEARCHES, ("two_body", "search"), ("discrete_rotation", "search"), ("partial_permutation", "search")]
)
def test_every_row_gets_the_same_number_of_trials(experiment, profile):
    labels = [label for label, _ in labelled_plan(experiment, profile)]
    assert len({labels.count(label) for label in labels}) == 1


def test_a_row_takes_its_basis_from_the_run_of_its_scenario_and_seed():
    planned = labelled_plan("two_body", "quick")
    found = {(label, run["scenario"], run["seed"]): run for label, run in planned}
    run = found["MLP + LieGAN_4 aug", "out", 2]
    assert run["basis"] == record_path("two_body", found["LieGAN_4", "out", 2]).stem
    places = [label for label, _ in planned]
    assert max(places.index(f"LieGAN_{k}") for k in (0, 2, 4)) < min(i for i, (_, run) in enumerate(planned) if "basis" in run)


@pytest.mark.parametrize(("profile", "sizes"), [("quick", 4), ("paper", 5)])
def test_a_basis_is_found_in_the_data_that_it_is_used_on(profile, sizes):
    planned = labelled_plan("rotated_mnist_efficiency", profile)
    found = {(label, run["n_train"], run["seed"]): run for label, run in planned}
    takes = [run for label, run in planned if label == "CNN + LieGAN aug"]
    assert len({run["n_train"] for run in takes}) == sizes
    for run in takes:
        source = found["LieGAN (8 filters)", run["n_train"], run["seed"]]
        assert run["basis"] == record_path("rotated_mnist_efficiency", source).stem


def test_of_fewer_images_the_paper_s_epochs_are_as_many():
    for run in plan("rotated_mnist_efficiency", "paper"):
        epochs = run["steps"] * run["batch_size"] / run["n_train"]
        assert epochs == pytest.approx(15 * run["batch_size"] / 64, rel=3e-3)


def test_discovery_is_the_same_in_every_profile():
    """LieGAN keeps its authors' settings: only smoke shrinks it."""
    by_profile = {
        profile: {record_path("two_body", run) for run in plan("two_body", profile) if run["method"] == "liegan"}
        for profile in ("quick", "paper", "smoke")
    }
    assert by_profile["quick"] == by_profile["paper"]
    assert not by_profile["quick"] & by_profile["smoke"]


def test_records_of_different_runs_have_different_files():
    runs = [run for profile in ("smoke", "quick", "paper", "search") for run in plan("rotated_mnist", profile)]
    different = {json.dumps(run, sort_keys=True) for run in runs}
    assert len({record_path("rotated_mnist", run) for run in runs}) == len(different)


@pytest.fixture
def a_unit_each():
    """Motion's quick runs, if GATr had a row of its own for each scenario, with another unit of length."""
    others = [row for row in parameters("mocap")["rows"] if row["label"] != "GATr"]
    gatr = {"label": "GATr", "model": "gatr", "method": "standard"}
    units = [{**gatr, "scenarios": [scenario], "options": {"unit": unit}} for scenario, unit in (("walk", 3.0), ("run", 10.0))]
    return labelled_plan("mocap", "quick", rows=[*others, *units])


def test_a_row_with_scenarios_of_its_own_is_in_these_only(a_unit_each):
    units = {(run["scenario"], run["model_options"]["unit"]) for label, run in a_unit_each if label == "GATr"}
    assert units == {("walk", 3.0), ("run", 10.0)}
    others = {run["scenario"] for label, run in a_unit_each if label != "GATr"}
    assert others == {"walk", "run"}


def test_a_number_of_validation_passes_is_a_number_of_passes():
    assert {run["evaluations"] for run in plan("mocap_mlp", "paper")} == {400}
    assert not any("evaluations" in run for run in plan("mocap_mlp", "quick"))
    with pytest.raises(ConfigError, match="evaluations must be a whole number of at least 1, got 0"):
        plan("mocap_mlp", "paper", evaluations=0)


def test_several_generators_start_apart_and_one_does_not_ask_for_it():
    starts = {label: run.get("start") for label, run in labelled_plan("mocap_discovery", "quick")}
    assert starts == {"SEMoLA_1": None, "SEMoLA_3": "unit"}


# ------------------------------------------------------------------------------------------------------------ sections


@pytest.fixture
def section(monkeypatch):
    """A section of params.yaml to be altered, in the place of discrete_rotation's."""
    section = parameters("discrete_rotation")
    monkeypatch.setattr(planning, "parameters", lambda _: section)
    return section


MINE = {"label": "mine", "model": "mlp", "method": "semola"}
ROW = r"in row 'mine' of discrete_rotation, whose method is"
TYPOS = {  # what is added where, and what is said
    "of a section": ((), {"profils": {}}, r"unknown key profils of discrete_rotation: did you mean profiles\?"),
    "of settings": (("settings",), {"lambda_eqiv": 1.0}, r"unknown setting lambda_eqiv of discrete_rotation: did you mean lambda_equiv"),
    "of settings, another's": (("settings",), {"seed": 3}, "unknown setting seed of discrete_rotation: did you mean seeds"),
    "of a profile": (("profiles", "search"), {"step": 9}, "unknown setting step of discrete_rotation, profile search: did you mean steps"),
    "of networks": (("settings", "networks"), {"mpl": {}}, r"unknown network mpl of discrete_rotation: did you mean mlp\?"),
    "of a network": (
        ("settings", "networks"), {"mlp": {"widht": 9}}, r"unknown option widht of network mlp of discrete_rotation: did you mean width\?",
    ),
    "of a discriminator": (("settings", "networks", "vector"), {"k": 9}, r"unknown option k of network vector.*: choose from width"),
    "of a profile's network": (
        ("profiles", "quick"), {"networks": {"mlp": {"heads": 1}}}, r"unknown option heads of network mlp.*, profile quick: choose",
    ),
    "of liegan": (("settings", "liegan"), {"lr_disc": 1.0}, r"unknown setting lr_disc of liegan of .*: did you mean lr_disc"),
    "of a profile's liegan": (("profiles", "smoke", "liegan"), {"gamma": 1.0}, r"unknown setting gamma of liegan.*, profile smoke"),
    "of a search": (("profiles", "search", "search"), {"semolla": {"lr": [1.0]}}, r"unknown row or method semolla in the search.*semola\?"),
    "of a search, no row's": (("profiles", "search", "search"), {"remul": {"lr": [1.0]}}, r"unknown row or method remul in the search"),
    "of a trial": (("profiles", "search", "search", "semola"), {"lamda_aug": [1.0]}, r"unknown setting lamda_aug in row 'SEMoLA', search"),
    "of a further trial": (
        ("profiles", "search", "search", "semola"), {"also": [{"gama": 1.0}]}, r"unknown setting gama in row .*: did you mean gamma",
    ),
    "of a trial's options": (
        ("profiles", "search", "search", "semola"), {"options": [{"depth": 1}]}, r"unknown option depth of model mlp in row .*, search",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("place", "added", "message"), TYPOS.values(), ids=TYPOS)
def test_an_unknown_key_is_refused_wherever_it_stands(section, place, added, message):
    """In whatever profile is planned, with its place and the nearest that there is."""
    plan("discrete_rotation", "quick")
    at = section
    for name in place:
        at = at[name]
    at |= added
    with pytest.raises(ConfigError, match=message):
        plan("discrete_rotation", "quick")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"lamda_equiv": 0.0}, rf"unknown setting lamda_equiv {ROW} semola: did you mean lambda_equiv"),
        ({"beta": 0.0}, rf"unknown setting beta {ROW} semola: choose from assignment, axes"),
        ({"seeds": [1]}, rf"unknown setting seeds {ROW} semola"),
        ({"networks": {}}, rf"unknown setting networks {ROW} semola"),
        ({"group": "so2"}, rf"unknown setting group {ROW} semola"),
        ({"method": "standard", "gamma": 1.0}, rf"unknown setting gamma {ROW} standard"),
        ({"method": "augmented", "lambda_aug": 1.0}, rf"unknown setting lambda_aug {ROW} augmented"),
        ({"method": "liegan", "model": "vector", "restarts": 2}, rf"unknown setting restarts {ROW} liegan"),
        ({"options": {"widths": 3}}, r"unknown option widths of model mlp in row 'mine' of discrete_rotation: did you mean width"),
        ({"scenarios": ["im"]}, r"unknown scenario 'im' in row 'mine' of discrete_rotation: discrete_rotation has in"),
        ({"scenarios": "in"}, r"scenarios in row 'mine' of discrete_rotation must be a list of at least one value, got 'in'"),
        ({"task": "rotation"}, r"unknown task 'rotation': choose one of"),
        ({"label": None}, r"a row of discrete_rotation must be a mapping with a label, a model and a method, got"),
    ],
)
def test_a_row_has_only_what_its_method_reads(section, own, message):
    section["rows"].append({**MINE, **own})
    with pytest.raises(ConfigError, match=message):
        plan("discrete_rotation", "quick")
    with pytest.raises(ConfigError, match=message.replace(r"of discrete_rotation", r"of discrete_rotation.*")):
        section["rows"].pop()
        plan("discrete_rotation", "quick", rows=[{**MINE, **own}])


@pytest.mark.parametrize(
    "search", [{"lr": 0.001}, {"lr": "0.001"}, {"lr": []}, {"also": {"lr": 1.0}}, {"also": [1.0]}, {"also": []}, [1.0]]
)
def test_a_search_holds_lists_of_values(section, search):
    section["profiles"]["search"]["search"]["semola"] = search
    with pytest.raises(ConfigError, match=r"in a search must be a list of at least one value|a search must be lists of values by name"):
        plan("discrete_rotation", "quick")


@pytest.mark.parametrize(
    ("place", "value"),
    [("rows", []), ("rows", None), ("rows", ["SEMoLA"]), ("settings", None), ("profiles", []), ("notebooks", 1)],
)
def test_a_section_has_its_parts(section, place, value):
    section[place] = value
    with pytest.raises(ConfigError, match="discrete_rotation"):
        plan("discrete_rotation", "quick")


def test_a_profile_is_a_mapping(section):
    section["profiles"]["paper"] = None
    with pytest.raises(
        ConfigError, match="the settings of discrete_rotation, profile paper must be a mapping of names to values, got None"
    ):
        plan("discrete_rotation", "quick")


def test_a_search_may_name_rows_that_others_replace(section):
    row = section["rows"][2]
    assert plan("discrete_rotation", "search", rows=[row])
    search = {"MPL": {"lr": [0.1]}}
    with pytest.raises(ConfigError, match=r"unknown row or method MPL in the search of discrete_rotation as changed: did you mean MLP"):
        plan("discrete_rotation", "search", rows=[row], search=search)


# --------------------------------------------------------------------------------------------------------------- labels


def test_two_rows_of_one_label_are_refused_where_they_differ(section):
    again = copy.deepcopy(section["rows"][-1])
    section["rows"].append(again)
    assert len(plan("discrete_rotation", "quick")) == 18  # the same row twice is one
    again["lambda_equiv"] = 0.0
    with pytest.raises(ConfigError, match=r"labelled 'SEMoLA' in the scenario in and differ in lambda_equiv: "):
        plan("discrete_rotation", "quick")
    again["lambda_equiv"] = 1
    assert len(plan("discrete_rotation", "quick")) == 18  # equal numbers are
    again |= {"model": "mlp", "method": "standard"}
    del again["lambda_equiv"]
    with pytest.raises(ConfigError, match=r"labelled 'SEMoLA'.*method, "):
        plan("discrete_rotation", "quick")


def test_the_trials_of_two_rows_of_one_label_are_compared_one_by_one():
    first, second = ({"scenario": "in", "seed": 0, "lr": lr} for lr in (0.1, 0.2))

    def planned(*searches):
        planning.refuse_mixed([(place, "mine", run) for place, runs in enumerate(searches) for run in runs])

    planned([first, second], [first, second])
    with pytest.raises(ConfigError, match="differ in lr: "):
        planned([first, first], [first, second])
    with pytest.raises(ConfigError, match="differ in the number of their trials: "):
        planned([first], [first, second])


def test_a_trial_may_not_take_the_label_of_another_row(section):
    section["profiles"]["search"]["search"]["semola"] = {"also": [{"label": "MLP"}]}
    with pytest.raises(ConfigError, match="labelled 'MLP'"):
        plan("discrete_rotation", "search")


def test_rows_of_one_label_in_scenarios_of_their_own_and_trials_of_one_row_are_no_two_rows(a_unit_each):
    """GATr has a unit of length for each scenario, and REMUL several values of beta."""
    assert len({run["lambda_equiv"] for label, run in a_unit_each if label == "REMUL"}) == 3
    assert len({json.dumps(run["model_options"]) for label, run in a_unit_each if label == "GATr"}) == 2


# ------------------------------------------------------------------------------------------------------------- a basis


def test_a_row_takes_its_basis_from_one_that_finds_it(section):
    taking = {"label": "taking", "model": "mlp", "method": "augmented"}
    for source in ("MLP", "MLP + GT aug", "MLP + LieGAN aug", "taking"):
        with pytest.raises(ConfigError, match=f"'taking' takes its basis from '{source}', which finds none by itself".replace("+", r"\+")):
            plan("discrete_rotation", "quick", rows=[*section["rows"], {**taking, "basis": source}])
    assert plan("discrete_rotation", "quick", rows=[*section["rows"], {**taking, "basis": "SEMoLA"}])
    circle = [{**MINE, "label": label, "basis": other} for label, other in (("one", "other"), ("other", "one"))]
    with pytest.raises(ConfigError, match="'one' takes its basis from 'other', which finds none by itself"):
        plan("discrete_rotation", "quick", rows=circle)


def test_a_basis_is_that_of_the_row_in_its_scenario():
    learns, takes = {"label": "learns", "model": "mlp", "method": "semola"}, {"label": "takes", "model": "mlp", "method": "augmented"}
    rows = [{**learns, "scenarios": ["in"]}, {**learns, "scenarios": ["out"], "gamma": 1.0}, {**takes, "basis": "learns"}]
    by_place = {(label, run["scenario"]): run for label, run in labelled_plan("two_body", "smoke", scenarios=["in", "out"], rows=rows)}
    for scenario in ("in", "out"):
        assert by_place["takes", scenario]["basis"] == record_path("two_body", by_place["learns", scenario]).stem
    with pytest.raises(ConfigError, match="one that has the scenario in"):
        plan("two_body", "smoke", scenarios=["in", "out"], rows=rows[1:])


# --------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {rows: 1}\nb: 2\na: {rows: 3}\n", "params.yaml has a twice in one mapping, once in line 1"),
        ("a:\n  settings:\n    lr: 0.1\n    steps: 3\n    lr: 0.2\n", "params.yaml has lr twice in one mapping, once in line 3"),
        ("a: [{lr: 1}, {lr: 1, lr: 1}]", "params.yaml has lr twice"),
        ("a: {lr: 1", "params.yaml cannot be read: .*line 1"),
        ("", "params.yaml must be a mapping"),
        ("- a", "params.yaml must be a mapping"),
    ],
)
def test_a_broken_file_is_named(text, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        parsed(text)


def test_a_key_may_replace_a_merged_one():
    assert parsed("a: &a {lr: 1, steps: 2}\nb: &b {<<: *a, lr: 3}\nc: {<<: *b, steps: 4}")["c"] == {"lr": 3, "steps": 4}


def test_the_file_is_parsed_once_and_nobody_changes_it_for_another():
    text = (ROOT / "params.yaml").read_text()
    parsed.cache_clear()
    section = parameters("two_body")
    assert parsed(text) == yaml.safe_load(text)
    section["settings"]["networks"]["mlp"]["width"] = 1
    section["rows"].clear()
    runs = plan("two_body", "smoke")
    runs[0]["model_options"]["width"] = 2
    assert plan("two_body", "smoke")[0]["model_options"]["width"] == 128
    parameters("nbody")
    assert parsed.cache_info().misses == 1


def test_every_section_has_a_file_of_its_own_that_says_the_same(tmp_path):
    (tmp_path / "gone.yaml").write_text("steps: 3\n")
    assert write_sections(tmp_path) == experiments()
    files = {file.stem: file.read_text() for file in tmp_path.iterdir()}
    assert {name: yaml.safe_load(text) for name, text in files.items()} == {name: parameters(name) for name in experiments()}
    assert not any("&id" in text for text in files.values()), "what is shared is written out"
    assert files == {file.stem: file.read_text() for file in (ROOT / "results" / "settings").iterdir()}, "python -m lib settings"


def test_the_profile_of_a_run_is_that_of_its_record():
    run = plan("discrete_rotation", "quick", lambda_equiv=1)[-1]
    assert profile_of("discrete_rotation", run) == "quick"
    assert profile_of("discrete_rotation", {**run, "lambda_equiv": 1}) is None  # as written by hand it has no record there


def test_an_installed_package_without_the_project_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("lib.experiments.sections.ROOT", tmp_path)
    with pytest.raises(ConfigError, match=r"params\.yaml is not there.*clone it"):
        plan("rotated_mnist", "smoke")
