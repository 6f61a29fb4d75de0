"""The house: imports run one way, and what a reader has to take in at once is short."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lib.files import ROOT

FLOORS = ("models", "tasks", "experiments", "views", "__main__")  # above the core, what lies in lib itself
EXPERIMENTS = (
    "store", "values", "sections", "settings", "trainable", "evaluation", "traced", "gradients", "stack", "loss_surface", "checkpoint",
    "training", "adversarial", "canary", "digests", "freshness", "clusters", "sweep", "prices", "timing", "selection", "verify",
)  # fmt: skip
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in ROOT.glob("lib/**/*.py")}


def imports(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name if name in MODULES else name.rpartition(".")[0] for name in found if name.startswith("lib."))


def floor(module: str) -> int:
    part = module.split(".")[1]
    return FLOORS.index(part) + 1 if part in FLOORS else 0


def lines(function: ast.FunctionDef) -> int:
    """Of a function, but for its docstring."""
    described = function.body[0] if ast.get_docstring(function, clean=False) else None
    return function.end_lineno - function.lineno + 1 - (described.end_lineno - described.lineno + 1 if described else 0)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"lib"}))
def test_nothing_imports_from_a_floor_above(module):
    above = [name for name in imports(MODULES[module]) if name != "lib" and floor(name) > floor(module)]
    assert not above


def test_inside_experiments_nothing_imports_what_comes_later():
    assert {name.rpartition(".")[2] for name in MODULES if name.startswith("lib.experiments.")} == set(EXPERIMENTS)
    for place, own in enumerate(EXPERIMENTS):
        within = {name.rpartition(".")[2] for name in imports(MODULES[f"lib.experiments.{own}"]) if name.startswith("lib.experiments.")}
        assert within <= set(EXPERIMENTS[:place]), f"{own} imports {within - set(EXPERIMENTS[:place])}"


def test_no_imports_run_in_a_circle():
    TopologicalSorter({name: set(imports(path)) - {name} for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_and_functions_are_short(module):
    text = MODULES[module].read_text()
    assert text.count("\n") <= 300
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {node.name: length for node in functions if (length := lines(node)) > 60}
