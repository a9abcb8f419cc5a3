"""How a command ends when its input is wrong: the message on stderr, exit status 2, no traceback."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from peft_lib.names import did_you_mean
from peft_lib.study.problems import Problem, StudyError

E = TypeVar("E")
CLOSED = 128 + 13
"""Exit status of a program whose reader has closed the pipe, as a shell has it (SIGPIPE)."""


def run(main: Callable[[], int | None]) -> int:
    """The exit status of `main()`. Errors that peft_lib words for people, and files that cannot be opened, are input;
    any other exception is a fault of the program and keeps its traceback."""
    try:
        status = main() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` has read enough; what Python still wants to flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except OSError as error:
        if error.filename:
            print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        elif isinstance(error, FileNotFoundError):  # raised by a library, which names the file in its own words
            print(f"file not found: {error}", file=sys.stderr)
        else:
            raise
    except Exception as error:
        if not is_for_people(error):
            raise
        print(error, file=sys.stderr)
    return 2


def is_for_people(error: Exception) -> bool:
    """Whether its class is one of ours, such as StudyError, or built on one; found without importing them."""
    return any(kind.__module__.split(".")[0] in ("peft_lib", "workflow_scripts") for kind in type(error).__mro__)


def entry_of(catalog: Mapping[str, E], name: str, file: Path | str) -> E:
    """The entry of that id. Raises StudyError with near names if the catalog has none."""
    if name not in catalog:
        remedy = f"use one of {', '.join(catalog)}.{did_you_mean(name, catalog)}"
        raise StudyError([Problem("", name, f"no entry of that id in {file}", remedy)], "command line")
    return catalog[name]
