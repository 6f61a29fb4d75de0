"""The paper, the site, the README and the ledger say the same numbers; compiled twice, the paper is the same file."""

import itertools
import json
import re
from collections import Counter
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

import pandas as pd
import pypdfium2
import pytest
import typst

from lib.files import ROOT
from lib.views import site
from lib.views.catalogue import TABLES
from lib.views.claims import COLOURS, LEDGER

PDF = ROOT / "paper" / "main.pdf"
SIGNED = r"[-−]?\d+(?:\.\d+)?(?:e[-−]?\d+)?"
CELL = re.compile(rf"({SIGNED})(?:\s±\s({SIGNED}))?")


@pytest.fixture(scope="module")
def text():
    """What a reader of the paper can select, without line breaks."""
    return re.sub(r"\s+", " ", " ".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(PDF)))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = site.write(tmp_path_factory.mktemp("built") / "site").parent
    return {name: (folder / name).read_text() for name in site.PAGES}


def shown(number: str, digits: int, half: str) -> str:
    """A number to so many significant digits, whole where it is larger."""
    value = Decimal(number.replace("−", "-"))
    return f"{float(value.quantize(Decimal(1).scaleb(min(0, value.adjusted() - digits + 1)), half)):.10g}"


def cell(mean: str, std: str, half: str = ROUND_HALF_UP) -> str:
    return f"{shown(mean, 4, half)} ± {shown(std, 2, half)}" if std else shown(mean, 4, half)


def cells(of: str, rows: pd.DataFrame) -> Counter:
    """Those of a text, by number; where a row's number lies half way between two, either is read as the upper one."""
    upper = {cell(*row, ROUND_HALF_DOWN): cell(*row) for row in zip(rows["mean"], rows["std"], strict=True)}
    return Counter(upper.get(found, found) for found in itertools.starmap(cell, CELL.findall(of)))


def test_two_compilations_are_the_committed_file():
    assert typst.compile(ROOT / "paper" / "main.typ", format="pdf", root=ROOT) == PDF.read_bytes()


@pytest.mark.parametrize("name", TABLES)
def test_a_tables_numbers_are_those_of_the_paper_and_of_the_site(name, text, pages):
    rows = pd.read_csv(ROOT / "results" / "tables" / f"{name}.csv", dtype=str).fillna("")
    expected = Counter(map(cell, rows["mean"], rows["std"]))
    before, _ = text.split(f"({name}, profile", 1)
    assert expected <= cells(before.rpartition("what was published.")[2], rows)
    section = pages["tables.html"].split(f'<h2 id="{name}">', 1)[1].partition("<h2 ")[0]
    assert expected <= cells(re.sub("<[^>]+>", " ", section), rows)


def test_the_counts_of_verdicts_are_the_same_everywhere(text, pages):
    ledger = pd.read_csv(LEDGER, dtype=str)
    for paper, part in ledger.groupby("paper"):
        counts = [str(sum(part.verdict == verdict)) for verdict in COLOURS] + [str(len(part))]
        assert f"{paper} {' '.join(counts)}" in text
        assert f"| {paper} | {' | '.join(counts)} |" in (ROOT / "README.md").read_text()
        assert f"{paper} {' '.join(counts)}" in re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", pages["index.html"]))


def test_the_site_has_the_ledger_to_the_letter_and_the_paper_what_does_not_reproduce(text, pages):
    ledger = pd.read_csv(LEDGER, dtype=str).fillna("")
    rows = re.search(r"const rows = (\[.*?\]), colours = ", pages["claims.html"]).group(1)
    assert json.loads(rows) == ledger.to_dict("records")
    plain = re.sub(r"\W", "", text)
    for row in ledger[ledger.verdict == "not reproduced"].itertuples():
        assert re.sub(r"\W", "", f"{row.paper}, {row.where}. {row.says}") in plain, row.id
