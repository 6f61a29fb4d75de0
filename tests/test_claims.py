"""The ledger of statements: predicates against numbers worked out by hand, and no statement whose verdict nothing could change."""

import functools
import math
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lib.experiments.values import ConfigError
from lib.files import ROOT
from lib.views import evidence as evidence_module
from lib.views.catalogue import FIGURES, TABLES
from lib.views.claims import (
    COLOURS,
    LEDGER,
    STATED,
    artefacts_of,
    claims,
    contradictions,
    counted,
    findings,
    judged,
    of_notebook,
    statements,
    verdict_of,
)
from lib.views.evidence import ALONE, NO, TIE, YES, Evidence, Number, apart, band
from lib.views.predicates import PREDICATES, worst
from lib.views.published import beside
from lib.views.tables import COLUMNS, notebook_of, write_csv

CLAIMED = list(statements())
IDS = [claim["id"] for claim in CLAIMED]


# ------------------------------------------------------------------------------------------ predicates


def table(folder, means, std=0.1, n=4, unit="1", published=math.nan):
    """Table 1 of REMUL with these means of two models in up to two scenarios, as Evidence reads it."""
    places = [(model, scenario) for scenario in ("walk", "run") for model in ("REMUL", "Transformer", "GATr")]
    rows = [
        {
            "id": "remul_tab1",
            "model": m,
            "scenario": s,
            "metric": "MSE",
            "unit": unit,
            "mean": mean,
            "std": std,
            "n": n,
            "published": published,
        }
        for (m, s), mean in zip(places, means, strict=False)
    ]
    write_csv(pd.DataFrame(rows, columns=COLUMNS), folder / "results" / "tables" / "remul_tab1.csv")
    return lambda **of: Evidence("remul_tab1", of, root=folder)


def figure(folder, *curves):
    """Figure 3's errors of REMUL along beta = 0.1, 1, 10, ...: a curve a seed."""
    rows = [("walk", "REMUL", 10.0**i / 10, seed, "test_mse", y) for seed, curve in enumerate(curves) for i, y in enumerate(curve)]
    write_csv(pd.DataFrame(rows, columns=["scenario", "model", "beta", "seed", "metric", "score"]), folder / "figures" / "remul_fig3.csv")
    return Evidence("remul_fig3", {"scenario": "walk"}, root=folder)


@pytest.mark.parametrize(
    ("gap", "said"),
    [(0.1415, YES), (0.1413, TIE), (0.0, TIE), (-0.1413, TIE), (-0.1415, NO), (math.nan, TIE)],
)
def test_a_difference_below_two_standard_errors_is_a_tie(gap, said):
    """Of two means of error 0.05 each: 2 sqrt(2) 0.05 = 0.14142."""
    if math.isnan(gap):
        assert apart(Number("", 1.0, math.nan, 1), Number("", 9.0, 0.05, 4)) == ALONE, "one seed has no standard error"
    else:
        assert apart(Number("", 1.0, 0.05, 4), Number("", 1.0 + gap, 0.05, 4)) == said


@pytest.mark.parametrize(
    ("name", "argument", "means", "parts"),
    [
        ("less", {"model": ["REMUL", "Transformer", "GATr"]}, [1, 2, 2.05], [YES, TIE]),
        ("less", {"model": ["GATr", "Transformer"]}, [1, 2, 3], [NO]),
        ("more", {"model": ["GATr", "Transformer", "REMUL"]}, [1, 2, 3], [YES, YES]),
        ("least", {"model": ["REMUL", "Transformer", "GATr"]}, [1, 2, 0.5], [YES, NO]),
        ("most", {"model": ["GATr", "Transformer", "REMUL"]}, [1, 2.9, 3], [TIE, YES]),
        ("ratio", {"model": ["GATr", "REMUL"], "at_least": 3}, [1, 2, 4], [YES]),
        ("ratio", {"model": ["GATr", "REMUL"], "at_least": 3.9}, [1, 2, 4], [TIE]),
        ("ratio", {"model": ["GATr", "REMUL"], "at_least": 3, "at_most": 3.5}, [1, 2, 4], [NO]),
        ("at_least", {"limit": 1.5, "model": ["REMUL", "GATr"]}, [1, 2, 3], [NO, YES]),
        ("at_most", {"limit": 1.05, "model": ["REMUL", "GATr"]}, [1, 2, 3], [TIE, NO]),
    ],
)
def test_predicates_of_a_table(tmp_path, name, argument, means, parts):
    assert PREDICATES[name](table(tmp_path, means)(scenario="walk"), argument).parts == parts


def test_the_error_of_a_ratio_is_that_of_its_parts(tmp_path):
    """4 / 1 with errors 0.05: 4 sqrt((0.05 / 4)^2 + 0.05^2) = 0.2062."""
    assert "4 ± 0.21" in PREDICATES["ratio"](table(tmp_path, [1, 2, 4])(scenario="walk"), {"model": ["GATr", "REMUL"], "at_least": 3}).text


@pytest.mark.parametrize(("means", "part"), [([1, 2, 9, 1, 2, 9], YES), ([1, 2, 9, 2, 1, 9], NO), ([1, 2, 9, 1, 1.1, 9], TIE)])
def test_a_win_on_every_value_is_counted(tmp_path, means, part):
    found = PREDICATES["wins"](table(tmp_path, means)(), {"over": "scenario", "among": {"model": ["REMUL", "Transformer"]}, "at_least": 2})
    assert found.parts == [part]


@pytest.mark.parametrize(("means", "part"), [([1, 2, 9, 1, 9, 9], YES), ([1, 2, 9, 9, 9, 9], NO), ([1, 2, 9, 2.95, 9, 9], TIE)])
def test_how_often_a_limit_is_kept_is_counted(tmp_path, means, part):
    """Three of four, of two models in two scenarios, are at most 3: surely, surely not, and where the third is too near to say."""
    places = {"scenario": ["walk", "run"], "model": ["REMUL", "Transformer"]}
    found = PREDICATES["often"](table(tmp_path, means)(), {"at_most": 3, "times": 3, **places})
    assert found.parts == [part] and len(found.numbers) == 4


@pytest.mark.parametrize(("means", "part"), [([1, 5, 9, 2, 6, 9], YES), ([1, 5, 9, 5, 6, 9], NO), ([1, 5, 9, 2.95, 6, 9], TIE)])
def test_two_agree_where_both_are_on_one_side_of_a_limit(tmp_path, means, part):
    """`id` is what the two differ in: here the scenario serves as such."""
    evidence = table(tmp_path, means)()
    evidence.frame["id"] = evidence.frame.pop("scenario")
    told = {"id": ["walk", "run"], "at_least": 3, "times": 2, "model": ["REMUL", "Transformer"]}
    assert PREDICATES["agree"](evidence, told).parts == [part]


def test_what_is_no_mean_of_seeds_has_no_error_and_one_seed_decides_nothing(tmp_path):
    for std, n, unit, part in ((math.nan, 1, "1", ALONE), (math.nan, 3, "1", YES), (math.nan, 1, "s", TIE)):
        found = PREDICATES["less"](table(tmp_path, [1, 1.01], std, n, unit)(scenario="walk"), {"model": ["REMUL", "Transformer"]})
        assert found.parts == [part]
    for longer, part in ((1.8, TIE), (2.4, YES)):  # errors of 0.25 and a quarter of the longer: 2 sqrt(0.25^2 + 0.45^2) = 1.03 and 1.30
        found = PREDICATES["less"](table(tmp_path, [1, longer], math.nan, 1, "s")(scenario="walk"), {"model": ["REMUL", "Transformer"]})
        assert found.parts == [part]


def test_a_published_number_is_met_within_both_spreads_or_fifteen_percent(tmp_path):
    assert band(1.0, 0.3, 0.4) == pytest.approx(1.0) and band(2.0, math.nan, 0.1) == pytest.approx(0.3)
    for mean, part in ((1.19, YES), (1.21, NO)):
        assert PREDICATES["published"](table(tmp_path, [mean], published=1.0)(scenario="walk"), True).parts == [part]


@pytest.mark.parametrize(
    ("name", "curves", "parts"),
    [
        ("falls", ([9, 5, 1], [9.1, 5.1, 1.1]), [YES, YES]),
        ("falls", ([9, 1, 5], [9.1, 1.1, 5.1]), [YES, NO]),
        ("falls", ([9, 5, 1], [1, 5, 8]), [TIE]),
        ("rises", ([9, 5, 1], [9.1, 5.1, 1.1]), [NO]),
        ("rises", ([1, 5, 9],), [ALONE]),
        ("inside", ([9, 1, 5], [9.1, 1.1, 5.1]), [YES, YES]),
        ("inside", ([1, 5, 9], [1.1, 5.1, 9.1]), [NO]),
        ("inside", ([1, 1.05, 9], [1.1, 1.1, 9.1]), [TIE]),
    ],
)
def test_predicates_along_a_column(tmp_path, name, curves, parts):
    assert PREDICATES[name](figure(tmp_path, *curves), "beta").parts == parts


@pytest.mark.parametrize(("values", "part"), [([1.0], YES), ([0.1, 10.0], NO)])
def test_where_the_least_is(tmp_path, values, part):
    assert PREDICATES["least_at"](figure(tmp_path, [9, 1, 5], [9.1, 1.1, 5.1]), {"beta": values}).parts == [part]


def test_alike_is_a_rank_correlation(tmp_path):
    of = table(tmp_path, [1, 2, 3, 10, 20, 15])()
    for limit, part in ((0.4, YES), (0.6, NO)):
        assert PREDICATES["alike"](of, {"over": "model", "scenario": ["walk", "run"], "at_least": limit}).parts == [part]


def test_evidence_names_what_is_not_there_and_what_is_not_one_number(tmp_path):
    of = table(tmp_path, [1, 2, 3, 4, 5, 6])
    with pytest.raises(ConfigError, match="unknown artefact remul_tab9"):
        Evidence("remul_tab9", {}, root=tmp_path)
    with pytest.raises(ConfigError, match="unknown column modell of remul_tab1: did you mean model"):
        of(modell="REMUL")
    with pytest.raises(ConfigError, match="remul_tab1 has no scenario 'swim'"):
        of(scenario="swim")
    with pytest.raises(ConfigError, match=r"several rows with .*: name one more column"):
        of(model="REMUL").number()
    with pytest.raises(ConfigError, match="1 values of scenario"):
        of(scenario="walk").along("scenario")


# ------------------------------------------------------------------------------------------ statements


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([YES, YES], "reproduced"),
        ([YES, NO], "partly"),
        ([YES, TIE], "partly"),
        ([NO, TIE], "not reproduced"),
        ([TIE, TIE], "not decidable"),
        ([ALONE], "not decidable"),
    ],
)
def test_a_tie_is_no_order(parts, verdict):
    assert verdict_of(parts) == verdict


GOOD = {"id": "a", "where": "sec. 1", "says": "s", "in": "remul_tab1", "of": {"metric": "MSE"}, "less": {"model": ["REMUL", "GATr"]}}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{**GOOD, "lesss": 1}], "unknown key lesss of a: did you mean less"),
        ([GOOD, GOOD], "has a twice"),
        ([{**GOOD, "more": {}}], "a needs one predicate.*it has less and more"),
        ([{"id": "a", "where": "sec. 1", "says": "s"}], "a needs one predicate.*it has none"),
        ([{**GOOD, "also": [{"inn": "remul_tab2"}]}], "unknown key inn of a, also"),
    ],
)
def test_a_misspelt_statement_is_refused(tmp_path, entries, said):
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"REMUL": entries}))
    with pytest.raises(ConfigError, match=said):
        list(statements(tmp_path / "claims.yaml"))


def test_a_statement_of_several_values_is_several(tmp_path):
    (tmp_path / "claims.yaml").write_text(
        yaml.safe_dump({"REMUL": [{**GOOD, "says": "on {scenario}", "for": {"scenario": ["walk", "run"]}}]})
    )
    found = list(statements(tmp_path / "claims.yaml"))
    assert [(claim["id"], claim["says"], claim["of"]["scenario"]) for claim in found] == [
        ("a-walk", "on walk", "walk"),
        ("a-run", "on run", "run"),
    ]


def test_below_its_profile_nothing_is_decided(tmp_path):
    table(tmp_path, [1, 2, 3])
    claim = {**GOOD, "paper": "REMUL", "of": {"scenario": "walk"}}
    assert judged(claim, tmp_path)["verdict"] == "reproduced"
    assert judged({**claim, "profile": "paper"}, tmp_path)["verdict"] == "not decidable"


def test_there_are_many_and_each_says_where():
    assert len(CLAIMED) >= 150 and {claim["paper"] for claim in CLAIMED} == {"REMUL", "SEMoLA"}
    assert all(claim["where"] and claim["says"].endswith((".", "?")) for claim in CLAIMED)


def test_what_is_proved_or_refuted_names_tests_that_there_are():
    named = [name for claim in CLAIMED for key in ("proved", "refuted") if key in claim for name in claim[key].split(", ")]
    assert named
    for name in named:
        file, test = name.split("::")
        assert re.search(rf"^def {re.escape(test)}\(", (ROOT / file).read_text(), re.M), name


def test_every_published_result_that_we_have_is_a_statement():
    cells = {
        (claim["in"], claim["of"]["model"], claim["of"]["scenario"], claim["of"]["metric"]) for claim in CLAIMED if "published" in claim
    }
    ours = {(row.id, row.model, row.scenario, row.metric) for row in beside().itertuples()}
    assert {cell for cell in ours if cell[0] in ("remul_tab1", "remul_tab1_mlp", "remul_tab2", "semola_tab4", "semola_tab14")} <= cells


WILD = (0.0, 4.0, 0.2, 15.0)  # standard deviations of the logarithm of a factor, taken in turn


@functools.cache
def shaken(path: Path, seed: int, measures: frozenset[str]) -> pd.DataFrame:
    """A table with each number by a factor of its own, the same for all seeds; of three seeds that agree. Each fourth is as it is, and
    each eighth, where there are published numbers, has these."""
    frame = pd.read_csv(path)
    measures = measures & set(frame)
    one = frame.seed.nunique() < 2 if "seed" in frame else not {"n", "seconds"} & set(frame)
    if one:
        frame = pd.concat([frame.assign(seed=i) for i in range(3)], ignore_index=True)
    if seed % 8 == 4 and "published" in frame:
        frame["mean"] = frame["mean"].where(frame.published.isna(), frame.published)
    others = [name for name in frame if name not in (*measures, "mean", "seed", "std", "n", "published", "published_std")]
    group = frame.groupby(others, dropna=False, sort=False).ngroup()
    random = np.random.default_rng([seed, *path.stem.encode()])
    drawn = random.normal(0, WILD[seed % 4], int(group.max()) + 1)
    ordered = seed % 8 == 6  # numbers that rise, or fall, from row to row
    factor = np.exp(np.linspace(0, random.choice([-9, 9]), len(drawn)) if ordered else drawn)[group]
    for name in measures:
        frame[name] = (factor if ordered else frame[name] * factor) if frame[name].dtype != bool else factor > 1
    return frame.assign(**{name: value for name, value in {"std": 1e-9, "n": 3}.items() if name in frame and name not in measures})


@pytest.mark.parametrize("claim", [claim for claim in CLAIMED if not STATED.keys() & claim.keys()], ids=lambda claim: claim["id"])
def test_other_numbers_would_change_each_part_of_the_verdict(claim, monkeypatch):
    """No predicate holds, or fails, whatever the numbers are."""
    parts, said = (claim, *claim.get("also", [])), defaultdict(set)
    measures = frozenset(part.get("value", name) for part in parts for name in ("mean", "score"))
    for seed in range(80):
        monkeypatch.setattr(evidence_module, "read", functools.partial(shaken, seed=seed, measures=measures))
        for i, (_, found) in enumerate(found for part in parts for found in findings(part)):
            said[i].add(worst(found.parts))
        if min(map(len, said.values())) > 1:
            return
    raise AssertionError(f"{claim['id']}, whatever the numbers: {[(i, *one) for i, one in said.items() if len(one) < 2]}")


# ------------------------------------------------------------------------------------------ the ledger


def test_the_committed_ledger_is_that_of_the_tables(tmp_path):
    write_csv(claims(), tmp_path / "claims.csv")
    assert (tmp_path / "claims.csv").read_text() == LEDGER.read_text()


def test_the_stage_depends_on_all_that_statements_look_at():
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["ledger"]
    used = {name for claim in CLAIMED for name in artefacts_of(claim)}
    drawn = {f"figures/{name}.csv" for name in used if name in FIGURES}
    assert set(stage["deps"]) == {"lib", "results/settings", "paper/claims.yaml", "results/tables", *drawn}
    assert stage["outs"] == [{"results/claims.csv": {"cache": False, "persist": True}}]


def test_a_notebook_shows_the_statements_that_it_alone_has_the_evidence_for():
    found = of_notebook("timing")
    ours = {name for name, spec in {**TABLES, **FIGURES}.items() if notebook_of(spec.experiment) == "timing"}
    assert len(found) and all(set(names.split(", ")) <= ours for names in found.evidence)


def test_the_readme_counts_them():
    readme, counts = (ROOT / "README.md").read_text(), counted(claims())
    digits = {paper: sum(claim["paper"] == paper and "-cell" in claim["id"] for claim in CLAIMED) for paper in counts.index}
    assert f"{digits['REMUL']} of REMUL's statements and {digits['SEMoLA']} of SEMoLA's are digits" in readme
    for paper, row in counts.iterrows():
        assert f"| {paper} | " + " | ".join(str(row[verdict]) for verdict in (*COLOURS, "statements")) + " |" in readme


# ------------------------------------------------------------------------------------------ where the papers contradict themselves


def test_contradictions_have_all_their_parts():
    found = contradictions()
    assert found.notna().all(axis=None) and found.id.is_unique and set(found.paper) == {"REMUL", "SEMoLA"}


def test_what_they_say_of_digits_is_what_the_published_ones_are():
    said = contradictions().set_index("id").other
    digits = pd.read_csv(ROOT / "paper" / "published" / "remul_tab2.csv").pivot(index="model", columns="scenario", values="published")
    gnn, egnn, remul = digits.loc["GNN"], digits.loc["EGNN"], digits.loc["REMUL"]
    assert {*digits.columns[gnn < egnn]} == {"aspirin", "toluene", "benzene", "ethanol"} and [*digits.columns[gnn == egnn]] == ["salicylic"]
    assert "on four, benzene and ethanol, too, and level on salicylic acid" in said["gnn-ahead"]
    places = digits.rank(method="min").loc["REMUL"].value_counts()
    assert f"the best on {['four', 'five', 'six'][places[1] - 4]}, the second on three" in said["best-on-six"] and places[2] == 3
    assert f"{100 * remul.aspirin:.2f} and {100 * gnn.aspirin:.2f}" in said["best-on-six"] and (digits.rank().loc["REMUL"] < 2).sum() == 5
    plain, turned = np.kron(np.eye(4), [[0, -1], [1, 0]]), np.kron(np.kron([[1, -1], [-1, 1]], np.eye(2)), [[0, -1], [1, 0]])
    assert f"{(plain * turned).sum() / np.linalg.norm(plain) / np.linalg.norm(turned):.3f}" in said["main-measure"]
    cycle, swap = np.eye(3)[[1, 2, 0]], np.eye(3)[[1, 0, 2]]
    assert np.linalg.det(cycle) == pytest.approx(1) and np.linalg.det(swap) == pytest.approx(-1)
    assert cycle @ [1, 1, 1] == pytest.approx([1, 1, 1])
    assert "(1, 1, 1)" in said["beyond-rotations"] and "determinant −1" in said["permutations"]
