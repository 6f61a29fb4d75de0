"""Digests of code as it runs: of syntax trees, wherever the files lie."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = __name__.split(".")[0]


def module_digest(*names: str) -> str:
    """sha256 of these modules and of all of the package that they import, as syntax trees: comments, docstrings, annotations and layout do
    not count, nor do the names and places of modules. Raises ValueError for a relative or circular import, or a module without file."""
    return _sha("\n".join(sorted(_module(name) for name in set(names))))


@functools.cache
def _module(name: str) -> str:
    if file_of(name) is None:
        raise ValueError(f"module {name} has no file, so its code cannot be told from another's: put it into one")
    _open.append(name)
    tree = what_runs(ast.parse(Path(file_of(name)).read_text()))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"module {name} imports relative to itself: import from {PACKAGE}, so that what it runs can be followed")
    statements = [statement for node in tree.body for statement in _resolved(node)]
    imports = sorted(ast.unparse(node) for node in statements if isinstance(node, ast.Import | ast.ImportFrom))
    rest = [_Imports().visit(node) for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
    _open.pop()
    return _sha("\n".join([*imports, *map(ast.unparse, rest)]))


_open: list[str] = []  # modules whose digest is being taken


def _follow(name: str) -> str:
    if name in _open:
        raise ValueError(f"modules {' -> '.join([*_open, name])} import each other: break the circle, so that their digest can be taken")
    return f"code_{_module(name)}"


def _resolved(node: ast.stmt) -> Iterator[ast.stmt]:
    """An import with the digest of what is imported in the place of its module; any other statement as it is."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            inside = alias.name.split(".")[0] == PACKAGE
            yield ast.Import([ast.alias(_follow(alias.name), alias.asname or alias.name) if inside else alias])
    elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == PACKAGE:
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            if file_of(module) is not None:
                yield ast.Import([ast.alias(_follow(module), alias.asname or alias.name)])
            else:
                yield ast.ImportFrom(_follow(node.module), [alias], 0)
    elif isinstance(node, ast.ImportFrom):
        yield from (ast.ImportFrom(node.module, [alias], 0) for alias in node.names)
    else:
        yield node


class _Imports(ast.NodeTransformer):
    """Resolves the imports inside functions."""

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return list(_resolved(node))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        return list(_resolved(node))


@functools.cache
def file_of(name: str) -> str | None:
    """The file of a module of the package, or of one of your own that is imported; None where there is none of that name."""
    if name.split(".")[0] != PACKAGE:
        return getattr(sys.modules.get(name), "__file__", None)
    base = Path(__file__).parents[1].joinpath(*name.split("."))
    return next((str(file) for file in (base.parent / f"{base.name}.py", base / "__init__.py") if file.is_file()), None)


def what_runs(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and without annotations of functions, in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
