"""Records know when the code, the data or a basis has changed under them: tried on copies of the package, with real processes.

That small damages are seen, and nothing else is, is what `.ci/sabotage.py` tries on many.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib import tasks
from lib.experiments import freshness, verify
from lib.experiments.canary import canary
from lib.experiments.digests import module_digest
from lib.experiments.freshness import Evidence, ReplayError, code_digest, evidence_of, fingerprint, loader_digest, same_data, state
from lib.experiments.settings import ConfigError, labelled_plan, plan
from lib.experiments.store import DamagedRecordError, agree, read_record, record_path, write_record
from lib.experiments.sweep import train_missing
from lib.files import ROOT
from lib.tasks import md17

STATES = """
import json, os, sys
import e3nn.o3, scipy.stats  # which all copies share

for folder in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    os.chdir(folder)
    sys.path.insert(0, folder)
    from lib.experiments.freshness import ReplayError, state

    try:
        states = {name: state(record) for name, record in json.load(open("records.json")).items()}
    except ReplayError as error:
        states = str(error)
    json.dump(states, open("states.json", "w"))
    os._exit(0)
"""
ERRORS = ("MemoryError('no room')", "OSError(28, 'No space left on device')", "KeyError('lr')")
SPARSE = "return basis.abs().sum()"
EDITS = {  # of a copy of the package: file, text and what stands in its place
    "words": [
        ("losses.py", '"""The one objective', '# a comment\n"""Another docstring'),
        ("experiments/stack.py", "        refuse_differing(runs)\n", "        refuse_differing(runs)  # why\n"),
        ("metrics.py", 'def accuracy(output: Float[Tensor, "B classes"]', "def accuracy(output: Tensor"),
    ],
    "code": [("losses.py", SPARSE, "return basis.abs().mean()")],
    "data": [("tasks/discrete_rotation.py", "n_train,\n        n_eval,", "n_train,\n        n_eval - 1,")],
    **{error: [("losses.py", SPARSE, f"raise {error}")] for error in ERRORS},
}


def record_of(label: str) -> dict:
    """What a record of a smoke run holds of its code and data."""
    run = dict(labelled_plan("discrete_rotation", "smoke"))[label]
    shadow = fingerprint(tasks.load(**{"name": "discrete_rotation", **{name: run[name] for name in ("scenario", "n_train", "n_eval")}}))
    digests = {"digest": code_digest(run), "loader": loader_digest(run)}
    return json.loads(json.dumps({"run": run, "canary": canary(run), "fingerprint": shadow, **digests}))


@pytest.fixture(scope="module")
def records() -> dict:
    return {label: record_of(label) for label in ("MLP", "SEMoLA")}


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """No ledger, and a folder of its own for what is replayed."""
    monkeypatch.setattr(freshness, "LEDGER", tmp_path / "verified.json")
    monkeypatch.setattr(freshness, "KEPT", tmp_path / "replayed")
    freshness._answer.cache_clear()
    yield tmp_path / "replayed"
    freshness._answer.cache_clear()


@pytest.fixture(scope="module")
def copies(tmp_path_factory, records) -> Path:
    """A copy of the package for each of the edits, and in states.json the states that it gives the records, in a process of its own."""
    folders = tmp_path_factory.mktemp("copies")
    for case, edits in EDITS.items():
        shutil.copytree(ROOT / "lib", folders / case / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "params.yaml", folders / case)
        for name, old, new in edits:
            path = folders / case / "lib" / name
            assert old in path.read_text(), f"{name} holds no {old!r}"
            path.write_text(path.read_text().replace(old, new))
        asked = {"SEMoLA": records["SEMoLA"]} if case in ERRORS else records
        (folders / case / "records.json").write_text(json.dumps(asked))
    process = [sys.executable, "-c", STATES, *(str(folders / case) for case in EDITS)]
    subprocess.run(process, cwd=folders, check=True, env={**os.environ, "PYTHONPATH": ""})
    return folders


def states_after(copies: Path, case: str) -> dict | str:
    return json.loads((copies / case / "states.json").read_text())


def test_comments_docstrings_annotations_and_places_do_not_count(copies):
    assert states_after(copies, "words") == {"MLP": "fresh", "SEMoLA": "fresh"}


def test_other_code_is_replayed_and_other_numbers_are_seen(copies):
    assert states_after(copies, "code") == {"MLP": "verified", "SEMoLA": "stale"}


def test_other_data_is_seen_where_the_canary_is_the_same(copies):
    assert states_after(copies, "data") == {"MLP": "stale", "SEMoLA": "stale"}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_while_replaying_is_an_error_with_its_cause(copies, error):
    said = states_after(copies, error)
    assert isinstance(said, str) and error.split("(")[0] in said
    assert not list((copies / error / "build").rglob("*.json")), "nothing is kept of it"


def test_no_record_is_lost_when_replaying_fails(tmp_path, kept, monkeypatch):
    runs = [run for label, run in labelled_plan("discrete_rotation", "smoke") if label == "MLP"]
    assert train_missing("discrete_rotation", runs, results=tmp_path, backend="serial") == 0
    path = record_path("discrete_rotation", runs[0], tmp_path)
    write_record(path, {**read_record(path), "digest": "another"})
    before = path.read_bytes()
    monkeypatch.setattr(freshness, "canary", lambda run: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(ReplayError, match="MemoryError: no room"):
        train_missing("discrete_rotation", runs, results=tmp_path, backend="serial")
    assert path.read_bytes() == before


def test_what_cannot_be_kept_is_still_answered(records, kept):
    kept.write_text("a file where a folder is wanted")
    evidence = next(evidence_of({**records["MLP"], "digest": "another"}))
    assert evidence.agrees() is True and kept.is_file()


def test_the_ledger_spares_the_replay_of_that_code_and_evidence_only(records, kept, monkeypatch):
    record = {**records["MLP"], "digest": "another"}
    evidence = next(evidence_of(record))
    write_record(freshness.LEDGER, {evidence.digest: [evidence.key]})
    monkeypatch.setattr(freshness, "canary", lambda run: (_ for _ in ()).throw(RuntimeError("replayed")))
    assert state(record) == "verified"
    other = Evidence("another digest", evidence.question, evidence.recorded, evidence.same)
    changed = Evidence(evidence.digest, evidence.question, {**evidence.recorded, "basis": 1.0}, evidence.same)
    for unknown in (other, changed):
        with pytest.raises(ReplayError, match="replayed"):
            unknown.agrees()
    with pytest.raises(ReplayError, match="replayed"):
        evidence.agrees(ledger=False)


def another_canary(run: dict) -> dict:
    """What no record holds."""
    return {"form": freshness.FORM, "basis": "another"}


def test_what_was_kept_counts_as_long_as_those_who_ask_are_the_same(records, kept, monkeypatch):
    evidence = next(evidence_of({**records["MLP"], "digest": "another"}))
    monkeypatch.setattr(freshness, "canary", another_canary)
    assert evidence.agrees() is False and len(list(kept.iterdir())) == 1
    monkeypatch.setattr(freshness, "canary", canary)
    freshness._answer.cache_clear()
    assert evidence.agrees() is False, "it was kept"
    freshness._answer.cache_clear()
    monkeypatch.setattr(freshness, "module_digest", lambda name: f"another {name}")
    assert evidence.agrees() is True


def test_a_sample_of_the_ledger_is_computed_anew_and_what_differs_is_dropped(records, kept, tmp_path, monkeypatch, capsys):
    false = {**records["MLP"], "digest": "another", "canary": json.loads(json.dumps(another_canary({})))}
    true = {**records["SEMoLA"], "digest": "another"}
    for name, record in {"false": false, "true": true}.items():
        write_record(tmp_path / "runs" / "some" / f"{name}.json", record)
    claims = [next(evidence_of(record)) for record in (false, true)]
    monkeypatch.setattr(freshness, "canary", another_canary)
    assert claims[0].agrees() is True, "now it is kept in build/, too"
    monkeypatch.setattr(freshness, "canary", canary)
    freshness._answer.cache_clear()
    ledger: dict[str, list] = {}
    for item in claims:
        ledger.setdefault(item.digest, []).append(item.key)
    write_record(freshness.LEDGER, ledger)
    freshness.read_ledger.cache_clear()
    monkeypatch.setattr(verify, "recorded", lambda: sorted(tmp_path.glob("runs/*/*.json")))
    monkeypatch.setattr(verify.joblib, "Parallel", lambda _: lambda calls: [call(*rest, **named) for call, rest, named in calls])
    assert len(verify.replayed(write=True, sample=2)[1]) == 1
    assert "1 differ" in capsys.readouterr().out
    assert read_record(freshness.LEDGER) == {claims[1].digest: [claims[1].key]}


def test_what_another_process_wrote_into_the_ledger_stays(records, kept, tmp_path, monkeypatch):
    record = {**records["MLP"], "digest": "another"}
    write_record(tmp_path / "runs" / "some" / "record.json", record)
    item = next(evidence_of(record))

    def meanwhile(calls) -> list:
        write_record(freshness.LEDGER, {item.digest: [item.key]})
        return [None for _ in calls]

    monkeypatch.setattr(verify, "recorded", lambda: sorted(tmp_path.glob("runs/*/*.json")))
    monkeypatch.setattr(verify.joblib, "Parallel", lambda _: meanwhile)
    assert not verify.replayed(write=True)[1]
    assert read_record(freshness.LEDGER) == {item.digest: [item.key]}


@pytest.mark.parametrize("content", ["", '{"answer": {"form"', '{"another": 1}', "[1]", "1", '{"digest": 1}'])
@pytest.mark.parametrize("place", ["kept", "ledger", "record"])
def test_a_damaged_file_is_an_error_with_its_path_and_no_verdict(records, kept, tmp_path, monkeypatch, place, content):
    record = {**records["MLP"], "digest": "another"}
    monkeypatch.setattr(freshness, "canary", lambda run: record["canary"])
    assert next(evidence_of(record)).agrees() is True
    freshness._answer.cache_clear()
    path = {"kept": next(kept.iterdir()), "ledger": freshness.LEDGER, "record": tmp_path / "record.json"}[place]
    path.write_text(content)
    freshness.read_ledger.cache_clear()
    monkeypatch.setattr(verify, "recorded", lambda: [path])
    with pytest.raises(DamagedRecordError, match=f"{path} is damaged"):
        verify.replayed() if place == "record" else state(record)


def test_states_of_an_earlier_form_and_of_data_that_is_not_at_hand(records, kept, monkeypatch):
    record = {**records["MLP"], "digest": "another"}
    assert state(None) == "missing"
    assert state({**record, "canary": {"metrics": {}}}) == "earlier"
    monkeypatch.setattr(tasks, "load", lambda *_, **__: (_ for _ in ()).throw(freshness.DataError("not here")))
    assert state({**record, "loader": "another"}) == "code only"


def test_a_molecule_s_stand_in_is_stale_once_its_own_file_is_there(tmp_path, monkeypatch):
    record = read_record(record_path("md17", plan("md17", "quick", scenarios=["uracil"])[0]))
    monkeypatch.setattr(md17, "FOLDER", tmp_path)
    assert record["data"] == "surrogate" and state(record) != "stale"
    place = md17.SCENARIOS["uracil"].path
    place.parent.mkdir(parents=True)
    place.touch()
    assert state(record) == "stale" and state({**record, "data": "official"}) != "stale"


def test_a_run_is_stale_when_the_basis_that_it_took_has_changed(tmp_path):
    planned = {label: run for label, run in labelled_plan("discrete_rotation", "smoke") if "LieGAN" in label}
    assert train_missing("discrete_rotation", list(planned.values()), results=tmp_path, backend="serial") == 0
    source, user = (record_path("discrete_rotation", planned[label], tmp_path) for label in ("LieGAN", "MLP + LieGAN aug"))
    assert state(read_record(user), user.parent) == "fresh"
    record = read_record(source)
    write_record(source, {**record, "basis": [[[2 * entry for entry in row] for row in record["basis"][0]]]})
    assert state(read_record(user), user.parent) == "stale"
    source.unlink()
    assert state(read_record(user), user.parent) == "stale"


def test_only_earlier_records_are_trained_again_when_asked_to(tmp_path, kept):
    runs = [run for label, run in labelled_plan("discrete_rotation", "smoke") if label == "MLP"]
    train_missing("discrete_rotation", runs, results=tmp_path, backend="serial")
    path = record_path("discrete_rotation", runs[0], tmp_path)
    write_record(path, {**read_record(path), "digest": "another", "canary": {"metrics": {}}})
    before = path.read_bytes()
    assert train_missing("discrete_rotation", runs, results=tmp_path, backend="serial") == 0 and path.read_bytes() == before
    assert train_missing("discrete_rotation", runs, results=tmp_path, backend="serial", which="earlier") == 0
    assert state(read_record(path)) == "fresh"
    with pytest.raises(ConfigError, match="--which must be one of missing, earlier, never, all"):
        train_missing("discrete_rotation", runs, results=tmp_path, which="some")


# ------------------------------------------------------------------------------------------------------------- digests

PACKAGE = {
    "lib/__init__.py": "",
    "lib/core.py": "from lib.part import f\nimport lib.part as p\n\ndef g():\n    from lib.part import f\n    return f() + p.f()\n",
    "lib/part.py": "def f():\n    return 1\n",
}


def digest_of(folder: Path, name: str, **files: str) -> str:
    """The digest of a module of a small package of these files."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "lib" / "experiments").mkdir()
    shutil.copy(ROOT / "lib" / "experiments" / "digests.py", folder / "lib" / "experiments")
    code = f"from lib.experiments.digests import module_digest; print(module_digest({name!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(folder)}
    ).stdout


def test_the_digest_follows_a_module_that_moves(tmp_path):
    """It is the same where the module lies elsewhere, and changes with what it holds there, and with what is imported in a function."""
    moved = {path: text.replace("lib.part", "lib.deep.part") for path, text in PACKAGE.items() if path != "lib/part.py"}
    moved |= {"lib/deep/__init__.py": "", "lib/deep/part.py": PACKAGE["lib/part.py"]}
    first = digest_of(tmp_path / "1", "lib.core", **PACKAGE)
    assert digest_of(tmp_path / "2", "lib.core", **moved) == first
    assert digest_of(tmp_path / "3", "lib.core", **moved | {"lib/deep/part.py": "def f():\n    return 2\n"}) != first
    lazy = PACKAGE | {"lib/core.py": "def g():\n    from lib.part import f\n    return f()\n"}
    one, two = (digest_of(tmp_path / str(i), "lib.core", **lazy | {"lib/part.py": f"def f():\n    return {i}\n"}) for i in (4, 5))
    assert one != two


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"lib/part.py": "from lib.core import g\n"}, "import each other"),
        ({"lib/core.py": "from .part import f\n"}, "imports relative to itself"),
    ],
)
def test_what_a_digest_cannot_follow_is_refused(tmp_path, edit, said):
    with pytest.raises(subprocess.CalledProcessError) as error:
        digest_of(tmp_path, "lib.core", **PACKAGE | edit)
    assert said in error.value.stderr


@pytest.mark.parametrize(
    "edits",
    [
        ({}, {"lib/__init__.py": "import math\n\nmath.tau = 1.0\n"}),
        ({"lib/deep/__init__.py": "x = 1\n"}, {"lib/deep/__init__.py": "x = 2\n"}),
        (
            {"lib/core.py": "from lib.part import f\nfrom lib.other import f\n"},
            {"lib/core.py": "from lib.other import f\nfrom lib.part import f\n"},
        ),
        ({"lib/core.py": "from lib.part import f\nf = 1\n"}, {"lib/core.py": "f = 1\nfrom lib.part import f\n"}),
        ({"lib/core.py": "from lib.part import *\nf = 1\n"}, {"lib/core.py": "f = 1\nfrom lib.part import *\n"}),
        ({"lib/part/__init__.py": "def f():\n    return 2\n"}, {"lib/part/__init__.py": "def f():\n    return 3\n"}),
    ],
    ids=[
        "code of the package itself",
        "code of a package on the way",
        "two imports",
        "import and value",
        "star",
        "package beside a module",
    ],
)
def test_the_digest_changes_with_what_a_module_runs(tmp_path, edits):
    package = PACKAGE | {
        "lib/core.py": "import lib.deep.leaf\n" + PACKAGE["lib/core.py"],
        "lib/deep/__init__.py": "",
        "lib/deep/leaf.py": "y = 1\n",
        "lib/other.py": "def f():\n    return 4\n",
    }
    one, two = (digest_of(tmp_path / str(i), "lib.core", **package | edit) for i, edit in enumerate(edits))
    assert one != two


def test_the_order_of_other_imports_and_packages_that_run_nothing_do_not_count(tmp_path):
    package = PACKAGE | {"lib/core.py": "import math\nfrom lib.part import f\n\ng = f\n"}
    swapped = {"lib/core.py": "from lib.part import f\nimport math\n\ng = f\n", "lib/__init__.py": '"""A docstring."""\n'}
    assert digest_of(tmp_path / "1", "lib.core", **package) == digest_of(tmp_path / "2", "lib.core", **package | swapped)


def test_a_refused_digest_leaves_nothing_behind(tmp_path):
    """Of two digests of a circle in one process the second is refused in the same words."""
    with pytest.raises(subprocess.CalledProcessError):
        digest_of(tmp_path, "lib.core", **PACKAGE | {"lib/part.py": "from lib.core import g\n"})
    code = """
from lib.experiments.digests import module_digest
for _ in range(2):
    try:
        module_digest("lib.core")
    except ValueError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    first, second = done.stdout.splitlines()
    assert first == second


EXECUTED = """
import functools, json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import lib
from lib.experiments import canary, digests
from lib.experiments.freshness import code_digest

canary.STEPS = 2  # the least that a run's phases have, which no code depends on
home, plain, odd = str(Path(lib.__file__).parent), digests._module.__wrapped__, {}
for run in json.loads(sys.argv[1]):
    followed, executed = set(), set()
    digests._module = functools.cache(lambda name: followed.add(digests.file_of(name)) or plain(name))
    code_digest(run)
    sys.settrace(lambda frame, event, _: executed.add(frame.f_code.co_filename))
    canary.canary(run)
    sys.settrace(None)
    odd[f"{run['model']} {run['method']}"] = sorted(Path(name).name for name in executed - followed if name.startswith(home))
print(json.dumps(odd))
"""


def test_all_that_a_run_executes_is_in_its_digest():
    """By a tracer, for every network: of the package, what a canary calls, but for the canary itself, is what the digest follows."""
    experiments = ("rotated_mnist", "two_body", "nbody", "mocap_mlp", "md17")
    planned = [run for experiment in experiments for _, run in labelled_plan(experiment, "smoke")]
    runs = list({run["model"]: run for run in planned}.values())
    done = subprocess.run([sys.executable, "-c", EXECUTED, json.dumps(runs)], cwd=ROOT, capture_output=True, text=True, check=True)
    odd = json.loads(done.stdout)
    assert len(odd) >= 12 and set(map(tuple, odd.values())) == {("canary.py",)}, odd


# --------------------------------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_tells_data_apart_and_not_rounding():
    task = tasks.load_tiny("mocap", scenario="run")
    (x, y), known = task.train, fingerprint(task)

    def changed(**parts) -> dict:
        return fingerprint(dataclasses.replace(task, **parts))

    swapped = x[[1, 0, *range(2, len(x))]]
    for other in (
        {"train": (swapped, y)},
        {"test": task.train},
        {"val": (task.val[0], task.val[1].flip(0))},
        {"generators": -task.generators},
    ):
        assert not same_data(known, changed(**other))
    nudged = x * (1 + 1e-7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    assert same_data(known, changed(train=(nudged, y)))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 * (1 + 1e-7)]}, True),
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 * (1 + 1e-5)]}, False),
        ({"x": 1.0}, {"x": 1.0, "y": 1.0}, False),
        ([1.0], [1.0, 1.0], False),
        ({"x": None}, {"x": None}, True),
        (None, {"x": 1.0}, False),
    ],
)
def test_agreement(a, b, same):
    assert agree(a, b, 1e-6, 1e-8) is same


def test_the_digest_of_this_package_is_taken_of_every_kind_of_run():
    assert module_digest("lib.experiments.training") != module_digest("lib.experiments.adversarial")
