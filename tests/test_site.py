"""The site: from what is committed, whole, and without a request to anyone."""

import re
import shutil

import nbformat
import pandas as pd
import pytest

from lib.files import ROOT
from lib.views import site
from lib.views.catalogue import FIGURES, TABLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return site.write(tmp_path_factory.mktemp("built") / "site").parent


def test_pages_ask_nobody_for_anything_and_link_only_to_what_is_there(folder):
    assert set(site.PAGES) <= {page.name for page in folder.glob("*.html")}
    for page in folder.rglob("*.html"):
        text = page.read_text()
        links = [link for link in re.findall(r'(?:href|src)="([^"#]+)"', text) if not link.startswith("data:")]
        assert links and all((page.parent / link).is_file() for link in links), page
        plain = re.sub(r"const rows = .*|http://www.w3.org/\S+", "", text)  # statements; what names MathML and SVG
        assert not re.search(r"https?://", plain), page


def test_every_table_and_figure_is_there_with_its_numbers(folder):
    figures, tables = ((folder / name).read_text() for name in ("figures.html", "tables.html"))
    assert all(f'id="{name}"' in figures and f"figures/{name}.csv" in figures for name in FIGURES)
    assert all(f'id="{name}"' in tables and f"tables/{name}.csv" in tables for name in TABLES)
    assert (folder / "tables" / "semola_tab2.csv").read_bytes() == (ROOT / "results" / "tables" / "semola_tab2.csv").read_bytes()


def test_an_executed_notebook_is_a_page_with_its_formulas_and_outputs(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("Of $x_1$ ([more](sums.ipynb), [else](../README.md)) and\n\n$$\\frac{a}{b} < 1$$"),
        nbformat.v4.new_code_cell("print(2 + 2)", outputs=[nbformat.v4.new_output("stream", text="four, or 4")]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "sums.ipynb")
    text = site.executed(tmp_path / "sums.ipynb")
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in text and "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in text
    assert "four, or 4" in text and "$" not in text and 'href="../claims.html"' in text
    assert '(<a href="sums.html">more</a>, else)' in text


def test_every_statement_is_in_the_page_that_filters_them(folder):
    text, ledger = (folder / "claims.html").read_text(), pd.read_csv(ROOT / "results" / "claims.csv", dtype=str)
    assert all(f'"id": "{name}"' in text for name in ledger.id) and text.count("</script>") == 1


def test_what_was_there_is_replaced_whole_and_stays_where_something_fails(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "site")
    (tmp_path / "site" / "old.html").write_text("old")
    monkeypatch.setattr(site, "claims", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        site.write(tmp_path / "site")
    assert (tmp_path / "site" / "old.html").is_file()
    monkeypatch.undo()
    site.write(tmp_path / "site")
    assert not (tmp_path / "site" / "old.html").is_file() and (tmp_path / "site" / "index.html").is_file()
