"""Fingerprints: which source code a run's numbers depend on, as a hash that formatting does not change.

The closure starts at the run's method, backbone and data set files and at `training/run.py`, follows imports inside
peft_lib, and hashes each file's syntax tree without docstrings (comments are not in it) and without texts for people.
Files that compute no number are left out (`NOT_NUMBERS`): they plan, file, show or word things, and what of a plan matters
to a run is in its spec or among the values that `Plan` adds to the hash. Every Python from 3.11 on gives the same hash.
"""

import ast
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
NOT_NUMBERS = {"study", "results", "artefacts", "display", "report", "names", "run_files"}
"""Packages and modules of peft_lib that no number depends on: `names` words errors, `run_files` describes columns."""

FOR_PEOPLE = {
    "Method": {"name", "formula", "source", "html", "latex", "family", "twin", "dense_parent", "floor"},
    "Field": {"description", "examples"},
}
"""Call -> keywords that tables and the report show, and training does not read."""


def closure(roots: Iterable[Path]) -> tuple[Path, ...]:
    """All files inside peft_lib reachable by imports from `roots`, the roots included, sorted."""
    reached: set[Path] = set()
    todo = [root.resolve() for root in roots]
    while todo:
        path = todo.pop()
        if path not in reached:
            reached.add(path)
            todo += _read(path)[1]
    return tuple(sorted(reached))


def fingerprint(roots: Iterable[Path], extra: Iterable[str] = ()) -> str:
    """First 16 hex digits of the SHA-256 over the closure's syntax trees and the `extra` texts."""
    digest = hashlib.sha256(_listed(tuple(roots)))
    for text in extra:
        digest.update(f"+{text}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _listed(roots: tuple[Path, ...]) -> bytes:
    """Every file of the closure with its hash: many runs have the same files."""
    lines = []
    for path in closure(roots):
        name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
        lines.append(f"{name}:{syntax_hash(path)}\n")
    return "".join(lines).encode()


def syntax_hash(path: Path) -> str:
    """SHA-256 of a file's syntax tree, without docstrings, texts for people and positions. Raises SyntaxError."""
    return _read(path)[0]


@cache
def _read(path: Path) -> tuple[str, tuple[Path, ...]]:
    """The hash of a file's syntax tree, and the files inside peft_lib that it imports: parsed once for both."""
    if path in _remembered:
        return _remembered[path]
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names = {name for node in ast.walk(tree) for name in _names(node)}
    imports = tuple(sorted({file for name in names for file in _files(name)}))
    return hashlib.sha256(_dump(tree).encode()).hexdigest(), imports


Readings = dict[str, tuple[str, tuple[str, ...]]]
"""File below PACKAGE -> the hash of its syntax tree, the files below PACKAGE that it imports."""
_remembered: dict[Path, tuple[str, tuple[Path, ...]]] = {}


def readings() -> Readings:
    """What was read of every file of peft_lib, for a process that knows that they are still the same (plan_cache.py)."""
    files = {file: _read(file) for file in _files_below(PACKAGE) if file.suffix == ".py"}
    return {
        file.relative_to(PACKAGE).as_posix(): (content, tuple(i.relative_to(PACKAGE).as_posix() for i in imports))
        for file, (content, imports) in files.items()
    }


def remember(known: Readings) -> None:
    """Takes what another process read, so that no file is parsed again. Only for files whose content is the same."""
    for name, (content, imports) in known.items():
        _remembered[PACKAGE / name] = (content, tuple(PACKAGE / i for i in imports))


def forget() -> None:
    """Reads files anew from now on: they may have changed since this process read them."""
    _remembered.clear()
    _read.cache_clear()
    _listed.cache_clear()


def _dump(node: object) -> str:
    """A syntax tree as text that is the same under every Python: `ast.dump` differs, since versions add empty fields,
    leave empty ones out, cut f-strings in other places, and know other characters as printable."""
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        fields["body"] = [s for s in fields["body"] if not _is_text(s)] or [ast.Pass()]
    elif isinstance(node, ast.Call):
        hidden = FOR_PEOPLE.get(_called(node), set())
        fields["keywords"] = [k for k in node.keywords if k.arg not in hidden]
    elif isinstance(node, ast.JoinedStr):
        fields["values"] = list(_joined(node.values))
    shown = (f"{name}={_dump(value)}" for name, value in fields.items() if not _is_empty(name, value))
    return f"{type(node).__name__}({','.join(shown)})"


def _is_empty(name: str, value: object) -> bool:
    """Fields without a say: absent ones, and those that other fields imply (Load or Store, u'', type comments)."""
    return value is None or value == [] or name in ("ctx", "kind", "type_comment", "type_ignores")


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _joined(values: list[ast.expr]) -> Iterator[ast.expr]:
    """Parts of an f-string, neighbouring texts as one and empty ones left out."""
    for is_text, parts in itertools.groupby(values, lambda part: isinstance(part, ast.Constant)):
        if not is_text:
            yield from parts
        elif text := "".join(part.value for part in parts):  # type: ignore[attr-defined]
            yield ast.Constant(text)


def _is_text(statement: ast.stmt) -> bool:
    """A bare string: a docstring, or the description under a field."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


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


def tree_hash(*paths: str, extra: Iterable[str] = ()) -> str:
    """First 16 hex digits of a SHA-256 over files and folders of the repository (syntax of Python, bytes of others) and
    the `extra` texts. Raises FileNotFoundError for a path that is not there."""
    digest = hashlib.sha256()
    for path in (file for name in paths for file in _files_below(PACKAGE.parent / name)):
        content = syntax_hash(path) if path.suffix == ".py" else hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PACKAGE.parent).as_posix()}:{content}\n".encode())
    for text in extra:
        digest.update(f"+{text}\n".encode())
    return digest.hexdigest()[:16]


def _files_below(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: a fingerprint is to be taken of it, and it is not there")
    files = path.rglob("*") if path.is_dir() else [path]
    return sorted(p for p in files if p.is_file() and "__pycache__" not in p.parts)
