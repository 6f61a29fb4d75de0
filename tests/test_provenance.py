"""Provenance for machines: of every result by which stage it was made, and of every data set its digest."""

import json

import mlcroissant
import pytest

from lib.files import ROOT
from lib.tasks.files.prepared import DATASETS
from lib.views.catalogue import FIGURES, TABLES
from lib.views.provenance import CRATE, crate, croissant, stages, write


@pytest.fixture(scope="module")
def graph():
    return {entity["@id"]: entity for entity in crate()["@graph"]}


def listed(entity: dict, name: str) -> list[str]:
    found = entity.get(name, [])
    return [one["@id"] for one in (found if isinstance(found, list) else [found])]


def test_what_is_committed_is_what_the_stages_say(tmp_path):
    assert sorted(path.relative_to(tmp_path) for path in write(tmp_path)) == sorted(
        path.relative_to(ROOT) for path in (ROOT / CRATE, *(ROOT / "docs" / "croissant").glob("*.json"))
    )
    for path in tmp_path.rglob("*.json"):
        assert path.read_text() == (ROOT / path.relative_to(tmp_path)).read_text(), path.name


def test_every_result_is_made_by_one_stage_from_files_that_are_there(graph):
    actions = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    made = [file for action in actions for file in listed(action, "result")]
    assert len(made) == len(set(made))
    assert {f"results/tables/{name}.csv" for name in TABLES} | {
        f"figures/{name}.{kind}" for name in FIGURES for kind in ("csv", "svg")
    } <= set(made)
    assert {action["@id"] for action in actions} == {f"#stage-{name}" for name in stages()} - {"#stage-provenance"}
    for action in actions:
        for reference in (*listed(action, "object"), *listed(action, "result"), *listed(action, "instrument")):
            assert reference in graph and (ROOT / reference).exists(), f"{action['@id']}: {reference}"
    assert set(listed(graph["./"], "hasPart")) | set(listed(graph["./"], "mentions")) >= {*made, *(action["@id"] for action in actions)}


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_described_by_its_digest_and_what_it_is_prepared_from(name):
    described, dataset = croissant(name, DATASETS[name]), DATASETS[name]
    assert {file["contentUrl"]: file["sha256"] for file in described["distribution"]} == {dataset.file: dataset.sha256}
    assert {source.official for source in dataset.sources.values() if source.official} <= set(described["isBasedOn"])
    assert all(described[key] for key in ("name", "description", "license", "url", "citeAs", "creator", "datePublished", "isBasedOn"))
    assert json.loads((ROOT / "docs" / "croissant" / f"{name}.json").read_text()) == described


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")  # rdflib's own
@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_what_the_public_validator_accepts(name):
    described = mlcroissant.Dataset(ROOT / "docs" / "croissant" / f"{name}.json").metadata
    assert not described.ctx.issues.errors and not described.ctx.issues.warnings
    assert described.name == croissant(name, DATASETS[name])["name"]
