"""How a command ends when its input is wrong: the message on stderr, exit status 2, no traceback."""

import sys
from collections.abc import Callable


def run(main: Callable[[], int | None]) -> int:
    """The exit status of `main()`. Errors that peft_lib words for people, and files that cannot be opened, are input;
    any other exception is a fault of the program and keeps its traceback."""
    try:
        return main() or 0
    except OSError as error:
        if not error.filename:
            raise
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    except Exception as error:
        if not is_for_people(error):
            raise
        print(error, file=sys.stderr)
    return 2


def is_for_people(error: Exception) -> bool:
    """Whether its class is one of peft_lib's, such as StudyError, or built on one; found without importing them."""
    return any(kind.__module__.split(".")[0] == "peft_lib" for kind in type(error).__mro__)
