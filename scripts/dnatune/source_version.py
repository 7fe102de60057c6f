"""The version of the code behind a script: a hash of it and of every library module it reaches.

Snakemake re-runs a rule when its script or its params change, but does not see imported modules. With this hash
among the params, a changed module re-runs the rules that use it and no others. Comments and docstrings do not
count: the hash is of the syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent


def source_version(script: str | Path, modules: Iterable[str] = ()) -> str:
    """Return 12 hexadecimal digits for the code of ``script`` and all ``dnatune`` modules it imports.

    ``modules`` are those it loads by name: the parts of the run's task.
    """
    digest = hashlib.sha256()
    for path in sorted(reached_modules(Path(script), modules)):
        digest.update(path.name.encode())
        digest.update(_tree(path)[0].encode())
    return digest.hexdigest()[:12]


def reached_modules(script: Path, modules: Iterable[str] = ()) -> set[Path]:
    """Return the files of all library modules that ``script`` imports, directly or through others."""
    reached: set[Path] = set()
    waiting = [*_tree(script)[1], *(file for name in modules if (file := _file_of(name)))]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += _tree(path)[1]
    return reached


@cache
def _tree(path: Path) -> tuple[str, tuple[Path, ...]]:
    tree = ast.parse(path.read_text("utf-8"))
    imported: list[Path] = []
    # What only a type checker imports is no code that runs.
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and _is_type_checking(node.test))]
    for node in _statements(tree):
        imported += [file for name in _names(node, path) if (file := _file_of(name))]
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree), tuple(imported)


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """Give a block and all that stands in it, but for expressions: most of a tree, and without imports or blocks."""
    yield block
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(block, field, ())
        for node in inner if isinstance(inner, list) else ():
            yield from _statements(node)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _names(node: ast.AST, path: Path) -> list[str]:
    """Return the library modules that an import statement may name, with full names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = node.module or ""
        if node.level:  # from .x import y: relative to the folder of the file
            folders = path.parents[node.level - 1].relative_to(LIBRARY).parts
            package = ".".join(["dnatune", *folders, *([node.module] if node.module else [])])
        # ``from dnatune import files`` names a module, ``from dnatune.files import whole`` a thing in one.
        names = [package, *(f"{package}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [name for name in names if name.split(".")[0] == "dnatune"]


def _file_of(module: str) -> Path | None:
    path = LIBRARY.joinpath(*module.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None
