"""Results as a folder of pages that opens without a server and asks nobody for anything: statements to filter, tables, figures, costs."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from lib.experiments.store import commit
from lib.files import ROOT
from lib.views.catalogue import FIGURES, TABLES
from lib.views.claims import COLOURS, COLUMNS, contradictions, counted
from lib.views.tables import notebook_of, paper_layout

SITE = ROOT / "build" / "site"
STYLE = """
body { font: 15px/1.45 sans-serif; margin: 0 auto; max-width: 92rem; padding: 1rem; color: #222 }
nav a { margin-right: 1.2rem } table { border-collapse: collapse; font-size: 13px; margin: .6rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #ddd }
figure { margin: 1.5rem 0 } figure img { max-width: 100% } figcaption, .small { font-size: 13px; color: #555 }
pre { overflow-x: auto; background: #f6f6f6; padding: .5rem }
.output_subarea img { max-width: 100% } .prompt, .anchor-link { display: none }
select, input { font: inherit; margin-right: .8rem } td.ours { white-space: pre-line; min-width: 16rem }
"""
FILTER = """
const rows = ROWS, colours = COLOURS, heads = HEADS, fields = FIELDS, body = document.querySelector('tbody');
const cell = (text, name) => { const td = document.createElement('td'); td.textContent = text; td.className = name; return td };
for (const name of fields) {
  const found = [...new Set(rows.map(row => row[name]).filter(value => value))].sort();
  for (const value of found) document.getElementById(name).add(new Option(value, value));
}
function show() {
  const words = document.getElementById('words').value.toLowerCase();
  const wanted = fields.map(name => [name, document.getElementById(name).value]);
  const kept = rows.filter(row => wanted.every(([name, value]) => !value || row[name] === value)
    && (!words || Object.values(row).join(' ').toLowerCase().includes(words)));
  document.getElementById('count').textContent = `${kept.length} of ${rows.length} statements`;
  body.replaceChildren(...kept.map(row => {
    const tr = document.createElement('tr');
    tr.id = row.id;
    for (const name of heads) {
      const td = cell(name === 'ours' ? row[name].replaceAll(' | ', '\\n') : row[name], name);
      if (name === 'verdict') td.style.background = colours[row[name]];
      tr.append(td);
    }
    return tr;
  }));
}
for (const name of [...fields, 'words']) document.getElementById(name).addEventListener('input', show);
show();
"""
PAGES = {
    "index.html": "Results",
    "claims.html": "Statements",
    "notebooks.html": "Notebooks",
    "figures.html": "Figures",
    "tables.html": "Tables",
    "costs.html": "Costs",
}
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$]+?)\$", re.DOTALL)
LINK = re.compile(r'<a href="([^":#]+)(#[^"]*)?">(.*?)</a>', re.DOTALL)  # to a file of the project


def page(title: str, *parts: str, up: str = "") -> str:
    """A page with its own style, and links to the others; what lies below them, so that they are `up`, has its own heading."""
    links = " ".join(f'<a href="{up}{name}">{text}</a>' for name, text in PAGES.items())
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>'
    return "\n".join([head, f"<body><nav>{links}</nav>", *([] if up else [f"<h1>{title}</h1>"]), *parts, "</body></html>"])


def as_table(frame: pd.DataFrame, index: bool = False) -> str:
    """The frame as HTML."""
    return frame.to_html(index=index, border=0, na_rep="", justify="left")


def index(ledger: pd.DataFrame) -> str:
    """The start: how many statements have which verdict, and where the rest is."""
    where = f'<p class="small">Made from what is committed, at commit {commit() or "unknown"}.</p>'
    also = '<p>Also: <a href="main.pdf">the paper</a>, <a href="claims.csv">the ledger</a>.</p>'
    return page("Learned equivariance, reproduced", where, as_table(counted(ledger), True), also)


def claims(ledger: pd.DataFrame) -> str:
    """Every statement, with filters."""
    heads, fields = [name for name in COLUMNS if name not in ("id", "notebook")], ["paper", "verdict", "notebook"]
    chosen = " ".join(f'<label>{name} <select id="{name}"><option value="">all</option></select></label>' for name in fields)
    table = f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in heads)}</tr></thead><tbody></tbody></table>"
    script, rows = FILTER, ledger.fillna("").astype(str).to_dict("records")
    for name, value in {"HEADS": heads, "FIELDS": fields, "COLOURS": COLOURS, "ROWS": rows}.items():  # rows last: they may say anything
        script = script.replace(name, json.dumps(value).replace("</", "<\\/"), 1)
    words = '<label>words <input id="words"></label> <span id="count" class="small"></span>'
    against = as_table(contradictions())
    parts = (f"<p>{chosen} {words}</p>", table, f"<script>{script}</script>", "<h2>Where the papers contradict themselves</h2>", against)
    return page("Statements of both papers", *parts)


def figures(names: list[str]) -> str:
    """Every figure with the CSV that it is drawn from."""

    def drawn(name: str) -> str:
        notebook = notebook_of(FIGURES[name].experiment) if name in FIGURES else "claims"
        caption = f'{name}: <a href="figures/{name}.csv">its numbers</a>, notebook {notebook}'
        return f'<figure id="{name}"><img src="figures/{name}.svg" alt="{name}" loading="lazy"><figcaption>{caption}</figcaption></figure>'

    return page("Figures", *map(drawn, names))


def tables(root: Path) -> Iterator[str]:
    """Every table as the papers lay them out."""
    for name, spec in TABLES.items():
        tidy = pd.read_csv(root / "results" / "tables" / f"{name}.csv")
        origin = "; ".join(f"{what} {', '.join(tidy[what].unique())}" for what in ("profile", "data", "state"))
        file = f'<a href="tables/{name}.csv">{name}</a>, notebook {notebook_of(spec.experiment)}'
        yield f'<h2 id="{name}">{name}</h2><p class="small">{file}; {html.escape(origin)}</p>' + as_table(paper_layout(tidy), True)


def executed(path: Path) -> str:
    """An executed notebook, its formulas as MathML; a link to another is one to its page, to any other file none."""

    def formula(found: re.Match) -> str:
        return convert(found["block"] or found["inline"], display="block" if found["block"] else "inline")

    def linked(found: re.Match) -> str:
        page = Path(found[1]).with_suffix(".html").name
        return f'<a href="{page}">{found[3]}</a>' if path.with_name(Path(found[1]).name).is_file() else found[3]

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(formula, cell.source)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    return page(path.stem, LINK.sub(linked, body), up="../")


def notebooks(root: Path) -> dict[str, str]:
    """A page of each notebook that was executed, and one that lists them."""
    runs = {file.stem: root / "build" / "executed" / file.name for file in sorted((root / "notebooks").glob("*.ipynb"))}
    there = {name: path for name, path in runs.items() if path.is_file()}
    lines = [f'<a href="notebooks/{name}.html">{name}</a>' if name in there else f"{name}: not executed here" for name in runs]
    listed = page("Notebooks, as they were executed", *(f"<p>{line}</p>" for line in lines))
    return {"notebooks.html": listed, **{f"notebooks/{name}.html": executed(path) for name, path in there.items()}}


def write(folder: Path = SITE, root: Path = ROOT) -> Path:
    """The site, in place of what was there; its start page."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(root / "figures", partial / "figures")
    shutil.copytree(root / "results" / "tables", partial / "tables")
    for file in (root / "results" / "claims.csv", root / "paper" / "main.pdf"):
        shutil.copy(file, partial)
    ledger = pd.read_csv(root / "results" / "claims.csv", dtype=str)
    pages = {
        "index.html": index(ledger),
        "claims.html": claims(ledger),
        "figures.html": figures(sorted(file.stem for file in (root / "figures").glob("*.svg"))),
        "tables.html": page("Tables", *tables(root)),
        "costs.html": page("What the records cost", as_table(pd.read_csv(root / "results" / "tables" / "costs.csv"))),
        **notebooks(root),
    }
    (partial / "notebooks").mkdir()
    for name, text in pages.items():
        (partial / name).write_text(text)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder / "index.html"
