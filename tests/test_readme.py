"""The README and the page of findings: their numbers are those of the tables, the README's snippets run."""

import re
import warnings

import pandas as pd
import pytest
import torch

from lib.experiments.sections import experiments, parameters
from lib.experiments.settings import plan
from lib.experiments.store import read_record, record_path, seconds_of
from lib.files import ROOT
from lib.views.figures.planted import THRESHOLD, choices
from lib.views.notebook import ahead
from lib.views.tables import results_of
from tests.snippets import run

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    import torch_geometric.data  # noqa: F401  imported here, once, without its warning

PAGES = {place: (ROOT / place).read_text() for place in ("README.md", "docs/findings.md")}
README, BOTH = PAGES["README.md"], "".join(PAGES.values())


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / "tables" / f"{name}.csv")


def cell(name: str, model: str, scenario: str, metric: str, column: str = "mean") -> float:
    found = table(name).set_index(["model", "scenario", "metric"])
    return found.loc[(model, scenario, metric), column]


def worst(names: list[str], metric: str) -> float:
    """SEMoLA's worst score over tables, scenarios and seeds."""
    found = pd.concat([table(name) for name in names])
    return found[found.model.str.startswith("SEMoLA") & (found.metric == metric)]["mean"].min()


def errors(name: str) -> pd.DataFrame:
    found = table(name)
    return found[found.metric == "MSE"].pivot(index="scenario", columns="model", values=["mean", "published"])


def drawn(figure: str, way: str, panel: str) -> pd.Series:
    """Means over the seeds by size, or of what has none under 0."""
    found = pd.read_csv(ROOT / "figures" / f"{figure}.csv").query("way == @way and panel == @panel")
    return found.fillna({"across": 0}).groupby("across").score.mean()


def worst_of(figure: str) -> float:
    """The worst case found of any seed with augmentation, on any samples."""
    return pd.read_csv(ROOT / "figures" / f"{figure}.csv").query("way == 'augmentation' and measure == 'worst'").score.max()


def claims() -> list[str]:
    """What the pages say, each from the table or figure that it names."""
    hard, trimmed = results_of("rotated_mnist", "out30"), pd.read_csv(ROOT / "figures" / "perturbed_trimmed.csv")
    out = {model: cell("semola_tab2", model, "out", "Accuracy") for model in ("SEMoLA", "CNN + GT aug, as SEMoLA", "CNN", "GCNN")}
    dial = pd.read_csv(ROOT / "figures" / "remul_fig2.csv").groupby(["model", "beta", "metric"]).score.mean()
    primes = pd.read_csv(ROOT / "figures" / "remul_fig6.csv")
    prime = primes.groupby(["model", "beta"]).score.mean()["REMUL"]
    taught = primes[primes.model == "Transformer + aug"].score.mean()
    whole = min(dial[model, :, "test_mse"].min() for model in ("REMUL, Haar", "REMUL gradual, Haar"))
    nbody = pd.read_csv(ROOT / "figures" / "remul_fig2.csv").groupby(["model", "metric"]).score.mean()
    run, atoms = errors("remul_tab1_wide").loc["run"], errors("remul_tab2")
    walk, three = errors("remul_tab1_inferred").loc["walk"], ["REMUL", "Transformer", "Transformer + aug"]
    plain, equivariant = cell("remul_tab1", "Transformer", "run", "MSE"), ("GATr", "SE(3)-Transformer")
    perceptrons, told = errors("remul_tab1_mlp"), {"MLP": "plain", "MLP + aug": "augmentation"}
    ranked = [
        "{:.{digits}f}, ".format(of["MLP + REMUL"], digits=digits)
        + ", ".join(f"{told.get(model, model)} {error:.{digits}f}" for model, error in of.drop("MLP + REMUL").sort_values().items())
        for of, digits in ((perceptrons.loc["walk", "mean"], 4), (perceptrons.loc["run", "mean"], 3))
    ]
    spread = [cell("remul_tab1", model, "run", "MSE", column) for model in equivariant for column in ("mean", "std")]
    sea = {model: cell("remul_tab3", model, "ocean", "Future") for model in ("REMUL", "E2CNN", "RSteer", "CNN")}
    broken = pd.read_csv(ROOT / "figures" / "flow_dial.csv").query("panel == 'error' and model == 'E2CNN'").groupby("strength").score.mean()
    beta = pd.read_csv(ROOT / "figures" / "flow_dial.csv").query("panel == 'beta' and chosen").groupby("strength").beta.first()
    spliced = [
        pd.read_csv(ROOT / "figures" / f"{name}.csv").query("scenario == 'spliced_5'") for name in ("perturbed", "perturbed_trimmed")
    ]
    found = [numbers[numbers.model == "SEMoLA_0"].found.sum() for numbers in spliced]
    fashion = [cell("semola_tab2_fashion", model, "fashion_out", "Accuracy") for model in ("SEMoLA", "CNN")]
    angles = [cell("qm9_angles", "SEMoLA", "lumo", f"{part} angle") for part in ("Mean", "Largest")]
    known = results_of("qm9", "quick").query("model == 'SEMoLA, T(3)'").sort_values("seed")[["mean_angle", "largest_angle"]]
    energies = [cell("semola_tab4_few", model, "lumo", "MAE") for model in ("No symmetry", "SEMoLA", "SE(3) aug")]
    seconds = pd.read_csv(ROOT / "figures" / "remul_fig5.csv").pivot_table(index="batch_size", columns=["part", "model"], values="seconds")
    far = {way: drawn("coverage_pulls", way, "far_mse_plain").mean() for way in ("augmentation", "built in")}
    deep = drawn("depth_bodies", "augmentation", "E_prime_plain")
    planted = pd.read_csv(ROOT / "figures" / "planted_symmetry.csv")
    below, above = planted[planted.ratio <= THRESHOLD].ratio.max(), planted[planted.ratio > THRESHOLD].ratio.min()
    least = {way: choices(planted, way).least for way in ("REMUL", "Augmentation")}
    hits = {way: (groups == groups.index.get_level_values("scenario"))[["so2", "so3"]].sum() for way, groups in least.items()}
    few = pd.read_csv(ROOT / "figures" / "semola_fig5.csv").query("value == 1000").groupby("model").score.mean()
    inference = seconds["inference_s"]["GATr"] / seconds["inference_s"]["Transformer + REMUL"]
    return [
        f"worst cosine {worst(['semola_tab1'], 'Worst cosine'):.4f}; from ±30° at most {hard[hard.model == 'SEMoLA'].cosine.max():.2f}",
        f"{out['SEMoLA']:.1f} %; at its settings given the rotation {out['CNN + GT aug, as SEMoLA']:.1f}, plain {out['CNN']:.1f}",
        f"GCNN {out['GCNN']:.1f} %",
        f"a thousand images {few['SEMoLA']:.1f} (SEMoLA), {few['CNN + GT aug']:.1f} (rotation), {few['GCNN']:.1f} (GCNN), "
        f"{few['Augerino+']:.1f} (Augerino+), {few['CNN']:.1f} % (CNN)",
        f"worst action score {worst(['semola_tab8', 'semola_tab15', 'semola_tab18'], 'Worst action score'):.4f}",
        "action score from quadrants: {:.2f}, {:.2f} and {:.2f}".format(
            *(cell("semola_tab11", f"SEMoLA_{mask}", "out", "Action score") for mask in (0, 2, 4))
        ),
        "0.5 % spliced: on {} seed of 5; so trimmed: on {}, as without splices".format(*found),
        f"both shares of splices: 0 of 30; trimmed, {trimmed[trimmed.scenario.str.startswith('spliced')].claimed.sum()}",
        f"worst cosine {cell('semola_tab1_fashion', 'SEMoLA', 'fashion_out', 'Worst cosine'):.4f}; "
        f"{fashion[0]:.1f} %, plain {fashion[1]:.1f} %",
        f"LieGAN's worst cosine {cell('semola_tab18', 'LieGAN', 'in', 'Worst cosine'):.4f}",
        "errors {:.4f} (MLP), {:.4f} (rotation), {:.4f} (SEMoLA), {:.4f} (Augerino+), a tie".format(
            *(cell("semola_tab19", model, "in", "MSE") for model in ("MLP", "MLP + GT aug", "SEMoLA", "Augerino+"))
        ),
        f"E′ {prime[0]:.3f} at β = 0, {prime[100]:.3f} at 100, augmentation at the same clip {taught:.3f}, turning by ±10°",
        f"error {nbody['GATr', 'test_mse']:.4f} (GATr, 2.2 million parameters), at least {whole:.4f} (REMUL, the whole group, 0.3 million)",
        " and ".join(f"{errors('remul_tab1_long').loc['run', 'mean'][model]:.3f}" for model in three[:2]) + " (of 96, n = 2)",
        "{:.3f} (REMUL), {:.3f} (Transformer), {:.3f} (aug)".format(*(walk["mean", model] for model in three)),
        " < ".join(f"{walk['published', model]:.3f}" for model in three),
        "walking {}; running {} |".format(*ranked),
        "least: {:.4f} walking, {:.3f} running".format(*(perceptrons.loc[where, "published"].min() for where in ("walk", "run"))),
        "GATr {:.0f} ± {:.0f}, SE(3)-Transformer {:.1f} ± {:.1f}, ".format(*spread) + f"Transformer {plain:.2f}",
        "{:.3f}, {:.3f}".format(*(cell("remul_tab1", model, "run", "MSE", "published") for model in ("GATr", "Transformer"))),
        " < ".join(f"{run['mean', model]:.3f}" for model in three),
        " < ".join(f"{run['published', model]:.3f}" for model in three),
        f"on {(atoms['mean', 'REMUL'] < atoms['mean', 'EGNN']).sum()} of {len(atoms)} molecules",
        f"on {(atoms['published', 'REMUL'] < atoms['published', 'EGNN']).sum()} of these {len(atoms)}",
        "sea: " + ", ".join(f"{error:.4f} ({model})" for model, error in sea.items()),
        f"from {beta.iloc[0]:g} to {beta.iloc[-1]:g}; E2CNN from {100 * (1 - broken.iloc[0]):.1f} % ahead of the CNN to "
        f"{100 * (broken.iloc[-1] - 1):.1f} % behind",
        ", ".join(f"{mean:.0f}° and {most:.0f}°" for mean, most in known.itertuples(index=False)),
        "without, on average {:.0f}° and {:.0f}°".format(*angles),
        "of a thousand: errors {:.0f} (none), {:.0f} (SEMoLA), {:.0f} meV (SE(3))".format(*energies),
        f"is a symmetry at most {below:.1f}, of what is none at least {above:.0f}; on the two laws that have one, "
        f"the least error names the group on {hits['REMUL']} of 40 seeds with REMUL, on {hits['Augmentation'] or 'none'} with augmentation",
        "EMLP) err less than 135,944 augmented ones: {:.1e} and {:.1e}".format(
            drawn("capacity_orbits", "built in", "test_mse_plain")[1240], drawn("capacity_orbits", "augmentation", "test_mse_plain")[135944]
        ),
        f"ten times as far: {far['augmentation'] / far['built in']:.1f} times the error",
        f"E′ {deep[16] / deep[1]:.2f} times from 1 to 16 blocks",
        f"with augmentation up to {worst_of('robust_bodies'):.2f} (four bodies), {worst_of('robust_orbits'):.3f} (two)",
        f"{inference.min():.1f} to {inference.max():.1f} times",
    ]


@pytest.mark.parametrize("number", range(len(claims())))
def test_a_number_of_the_pages_is_that_of_its_table(number):
    assert claims()[number] in BOTH


def test_what_it_calls_a_tie_is_one():
    """Below two standard errors: REMUL beside the Transformer on running at `quick` and on walking after 4,000 steps."""
    for name, scenario, seeds, said in (
        ("remul_tab1", "run", 2, "a tie at `quick`"),
        ("remul_tab1_inferred", "walk", 3, "a tie after 4,000"),
    ):
        mean, std = ([cell(name, model, scenario, "MSE", part) for model in ("REMUL", "Transformer")] for part in ("mean", "std"))
        assert abs(mean[0] - mean[1]) < 2 * (sum(spread**2 for spread in std) / seeds) ** 0.5 and said in README


def test_smaller_gatrs_and_transformers_with_remul_tie_where_each_is_best():
    numbers = pd.read_csv(ROOT / "figures" / "capacity_bodies.csv").query("panel == 'test_mse_plain'")
    best = {way: drawn("capacity_bodies", way, "test_mse_plain") for way in ("built in", "penalty")}
    least = [numbers[(numbers.way == way) & (numbers.across == means.idxmin())].score for way, means in best.items()]
    assert ahead(*least)[1] == "tie" and "smaller ones {:.4f} and {:.4f}".format(*(errors.mean() for errors in least)) in README


def test_with_augmentation_every_layers_part_is_larger_than_the_whole_up_to_four_blocks():
    found = pd.read_csv(ROOT / "figures" / "depth_layers.csv").query("way == 'augmentation'")
    means = found.groupby(["blocks", "layer"]).score.mean().unstack()
    assert (means.loc[[2, 4]].drop(columns=0).min(axis=1) > means.loc[[2, 4], 0]).all() and "with two and four blocks (three)" in BOTH


def test_as_many_copies_as_it_says_tie_with_ever_new_ones():
    for name, panel, scenario in (("coverage_bodies", "out_mse_plain", "10deg"), ("coverage_pulls", "test_mse_plain", "rotations")):
        numbers = pd.read_csv(ROOT / "figures" / f"{name}.csv").set_index(["panel", "scenario"]).loc[(panel, scenario)]
        anew, made = numbers[numbers.way == "augmentation"].score, numbers[numbers.way == "copies"]
        verdicts = {count: ahead(anew, made[made.across == count].score)[1] for count in (16, 64)}
        assert verdicts == {16: True, 64: "tie"} and "64 copies made once tie with ever new ones" in BOTH


def test_the_notebook_of_times_says_the_ratios_of_the_readme():
    assert claims()[-1].removesuffix(" times") in (ROOT / "notebooks" / "timing.ipynb").read_text()


def minutes() -> dict[str, float]:
    """Of each notebook, what its quick runs took on two cores, by their records."""
    found: dict[str, float] = {}
    for experiment in experiments():
        spent = [seconds_of(read_record(record_path(experiment, run))) for run in plan(experiment, "quick")]
        name = parameters(experiment).get("notebook", experiment)
        found[name] = found.get(name, 0.0) + sum(spent) / 60 / 2
    return {
        name: spent for name, spent in found.items() if name != "timing"
    }  # its runs are nothing, its probes are not kept with their time


@pytest.mark.parametrize(("name", "spent"), minutes().items())
def test_the_minutes_are_those_of_the_records(name, spent):
    said = int(re.search(rf"\(notebooks/{name}\.ipynb\) \| (\d+) \|", README)[1])
    assert said == pytest.approx(spent, abs=1, rel=0.03)
    row = next(
        line for line in (ROOT / "notebooks" / f"{name}.ipynb").read_text().splitlines() if "`quick`" in line and "no records" in line
    )
    parts = re.findall(r"(\d+)(?= minutes| for LieGAN)", row)
    assert sum(map(int, parts)) == pytest.approx(said, abs=1)


@pytest.mark.parametrize("page", PAGES)
def test_every_place_that_it_names_is_there(page):
    for place in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        assert place.startswith("https://") or ((ROOT / page).parent / place.partition("#")[0]).exists(), place


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_its_loops_run(dtype, capsys):
    found = run(dtype=dtype)
    assert all(torch.isfinite(term) for term in found["terms"].values())
    assert found["aug"].basis().dtype == found["loss"].dtype == dtype
    assert "worst found" in capsys.readouterr().out
