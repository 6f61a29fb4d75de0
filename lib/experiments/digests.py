"""Digests of code as it runs: of syntax trees, wherever the files lie."""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = __name__.split(".")[0]


def module_digest(*names: str) -> str:
    """sha256 of these modules and of all of the package that they import, as syntax trees: comments, docstrings, annotations and layout do
    not count, nor do the names and places of modules. A package's __init__ on the way to them counts if it runs something.

    What is imported by a name that a string holds is not followed. Raises ValueError for a relative or circular import, or a module
    without file.
    """
    digests, followed = zip(*(_module(name) for name in sorted(set(names))), strict=True)
    modules = frozenset().union(*followed)
    packages = {package for name in modules for package in itertools.accumulate(name.split(".")[:-1], "{}.{}".format)} - modules
    running = [_module(package)[0] for package in packages if file_of(package) is not None and _runs_something(package)]
    return _sha("\n".join(sorted([*digests, *running])))


@functools.cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """A module's digest, and the names of all modules in it."""
    if file_of(name) is None:
        raise ValueError(f"module {name} has no file, so its code cannot be told from another's: put it into one")
    if name in _open:
        raise ValueError(f"modules {' -> '.join([*_open, name])} import each other: break the circle, so that their digest can be taken")
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"module {name} imports relative to itself: import from {PACKAGE}, so that what it runs can be followed")
    _open[name] = {name}
    try:
        statements = [statement for node in tree.body for statement in _resolved(node)]
        bound = Counter(found for statement in statements for found in _bound(statement))
        first, rest = [], []  # an import may stand anywhere, unless something else binds its name too
        for node in statements:
            anywhere = (
                isinstance(node, ast.Import | ast.ImportFrom) and "*" not in bound and all(bound[found] == 1 for found in _bound(node))
            )
            (first if anywhere else rest).append(ast.unparse(node))
        return _sha("\n".join([*sorted(first), *rest])), frozenset(_open[name])
    finally:
        del _open[name]


_open: dict[str, set[str]] = {}  # modules whose digest is being taken, each with those that it has followed


def _follow(name: str) -> str:
    digest, modules = _module(name)
    _open[next(reversed(_open))] |= modules
    return f"code_{digest}"


def _tree(name: str) -> ast.Module:
    return what_runs(ast.parse(Path(file_of(name)).read_text()))


@functools.cache
def _runs_something(name: str) -> bool:
    """Whether a package's __init__ holds more than what offers names to its users (`__all__`, `__getattr__`) and foreign imports for it."""
    return not all(map(_only_offers, _tree(name).body))


def _only_offers(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return all(
            name.split(".")[0] != PACKAGE for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module])
        )
    return isinstance(node, ast.Pass) or list(_bound(node)) in (["__all__"], ["__getattr__"])


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds in its module; every name, "*", for a star import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name):
        yield from [node.id] * isinstance(node.ctx, ast.Store)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


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
        yield _Imports().visit(node)


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
    base = Path(sys.modules[PACKAGE].__file__).parents[1].joinpath(*name.split("."))
    return next((str(file) for file in (base / "__init__.py", base.parent / f"{base.name}.py") if file.is_file()), None)  # as Python looks


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
