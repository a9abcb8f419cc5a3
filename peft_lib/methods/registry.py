"""Finding methods by id. Built-in ones are the files of this folder; plug-ins are files anywhere.

No list of names is kept in code: a new file is a new method, and no other method's fingerprint changes with it.
"""

import contextlib
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

from pydantic import BaseModel

import peft_lib.methods as package
from peft_lib.methods.method import Method, MethodError
from peft_lib.names import did_you_mean

SHARED = frozenset({"method", "registry", "selectors", "starts"})
"""Files of the folder that are no methods."""

_plugins: dict[str, tuple[Method, Path | None]] = {}


def available() -> tuple[str, ...]:
    """Ids of all methods, built-in ones first, each group in alphabetical order."""
    return (*built_in(), *sorted(_plugins))


def get_method(method_id: str) -> Method:
    """The method of that id. Raises MethodError with the nearest names if there is none."""
    if method_id in _plugins:
        return _plugins[method_id][0]
    if method_id in built_in():
        return importlib.import_module(f"{package.__name__}.{method_id}").METHOD
    hint = did_you_mean(method_id, available())
    raise MethodError(f"Unknown method {method_id!r}.{hint} Available: {', '.join(available())}")


def method_file(method_id: str) -> Path | None:
    """The file that defines a method (its fingerprint starts there); None for one made at run time."""
    if method_id in _plugins:
        return _plugins[method_id][1]
    get_method(method_id)
    return Path(package.__path__[0], f"{method_id}.py").resolve()


def load_plugin(path: Path | str) -> Method:
    """Registers the METHOD of a Python file outside the package.

    Raises MethodError if the file is absent, has no METHOD, was made for another API version, or uses a taken id.
    Loading the same file twice is harmless.
    """
    try:
        path = Path(path).expanduser().resolve()
        missing = not path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL in the name, no home folder
        raise MethodError(f"plug-in {str(path)!r}: {error}. Give the path of a Python file") from error
    if path.is_dir():
        raise MethodError(f"plug-in {path}: this is a folder. Give the path of a Python file that defines METHOD")
    if missing:
        raise MethodError(f"plug-in {path}: no such file. Give the path of a Python file that defines METHOD")
    module_name = f"peft_lib_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise MethodError(f"plug-in {path}: not a Python file. Give a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints must not mix with what a command prints
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's file does, planning goes on to the next problem
        raise MethodError(f"plug-in {path}: {type(error).__name__}: {error}") from error
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise MethodError(f"plug-in {path}: it must define METHOD = Method(...), found {type(method).__name__}")
    if wrong := _wrong_fields(method):
        raise MethodError(f"plug-in {path}: METHOD's {'; '.join(wrong)}. See docs/adding_a_method.md")
    if method.id in available() and method_file(method.id) != path:
        raise MethodError(
            f"plug-in {path}: method id {method.id!r} is taken by {method_file(method.id)}. Choose another"
        )
    sys.modules[module_name] = module
    _plugins[method.id] = (method, path)
    return method


def _wrong_fields(method: Method) -> list[str]:
    """Fields of a type that planning would stumble over: a dataclass checks none."""
    wrong = []
    for name in ("name", "formula", "source", "family", "lr_group", "html", "latex"):
        if not isinstance(getattr(method, name), str):
            wrong.append(f"{name} is a text, not {getattr(method, name)!r}")
    if not isinstance(method.trains, tuple) or not all(isinstance(name, str) for name in method.trains):
        wrong.append(f"trains is a tuple of names, e.g. ('B',), not {method.trains!r}")
    if not (isinstance(method.options, type) and issubclass(method.options, BaseModel)):
        wrong.append(f"options is a class of options (a subclass of Options), not {method.options!r}")
    if method.start is not None and not callable(method.start):
        wrong.append(f"start is a function, not {method.start!r}")
    rate = method.default_lr
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0):
        wrong.append(f"default_lr is a number above 0, not {rate!r}")
    for name in ("chains", "column_sparse", "scaled", "ranked"):
        if not isinstance(getattr(method, name), bool):
            wrong.append(f"{name} is True or False, not {getattr(method, name)!r}")
    return wrong


def register(method: Method) -> Method:
    """Registers a method made at run time (notebooks, tests); raises MethodError if its id is taken."""
    if method.id in available():
        raise MethodError(f"method id {method.id!r} is taken by {method_file(method.id)}. Choose another id")
    _plugins[method.id] = (method, None)
    return method


def unregister(method_id: str) -> None:
    """Forgets a plug-in (built-in methods stay)."""
    _plugins.pop(method_id, None)


def built_in() -> tuple[str, ...]:
    """Ids of the methods that come with the library, in alphabetical order."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in SHARED))
