"""Fingerprints: which source code a run's numbers depend on, as a hash that formatting does not change.

The closure starts at the run's method, backbone and data set files and at `training/run.py`, follows imports inside
peft_lib, and hashes each file's syntax tree without docstrings (comments are not in it). `study/`, `results/` and `report/`
are left out: they plan, file and show numbers, and what of a plan matters to a run is in its spec.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
NOT_NUMBERS = {"study", "results", "report"}


def closure(roots: Iterable[Path]) -> tuple[Path, ...]:
    """All files inside peft_lib reachable by imports from `roots`, the roots included, sorted."""
    found: set[Path] = set()
    todo = [root.resolve() for root in roots]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imports(path)
    return tuple(sorted(found))


def fingerprint(roots: Iterable[Path], extra: Iterable[str] = ()) -> str:
    """First 16 hex digits of the SHA-256 over the closure's syntax trees and the `extra` texts."""
    digest = hashlib.sha256()
    for path in closure(roots):
        name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
        digest.update(f"{name}:{syntax_hash(path)}\n".encode())
    for text in extra:
        digest.update(f"+{text}\n".encode())
    return digest.hexdigest()[:16]


@cache
def syntax_hash(path: Path) -> str:
    """SHA-256 of a file's syntax tree, docstrings removed."""
    tree = _parse(path)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [s for s in node.body if not _is_text(s)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    """A bare string: a docstring, or the description under a field."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    names = {name for node in ast.walk(_parse(path)) for name in _names(node)}
    return tuple(sorted({f for name in names for f in _files(name)}))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(name: str) -> Iterator[Path]:
    """Files of a dotted module name inside peft_lib: the module, and the packages above it."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name or (len(parts) > 1 and parts[1] in NOT_NUMBERS):
        return
    for length in range(2, len(parts) + 1):
        base = PACKAGE.joinpath(*parts[1:length])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                yield candidate


def tree_hash(*folders: str) -> str:
    """First 16 hex digits of a SHA-256 over all files below folders of the repository: syntax of Python, bytes of others."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(
            p for p in (PACKAGE.parent / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ):
            content = syntax_hash(path) if path.suffix == ".py" else hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(PACKAGE.parent).as_posix()}:{content}\n".encode())
    return digest.hexdigest()[:16]
