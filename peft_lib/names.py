"""Words of error messages: what somebody who mistyped a name may have meant, and the gist of an exception."""

import difflib
from collections.abc import Iterable


def near_names(name: object, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names most like `name`, best first; empty if none is like it. Case does not matter."""
    lower: dict[str, str] = {}
    for candidate in known:
        lower.setdefault(candidate.lower(), candidate)
    return [lower[match] for match in difflib.get_close_matches(str(name).lower(), lower, n=count, cutoff=0.5)]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """' Did you mean: a, b?', to be put behind a sentence; empty if nothing is near."""
    near = near_names(name, known)
    return f" Did you mean: {', '.join(near)}?" if near else ""


def nearest(name: object, known: list[str]) -> str:
    """The remedy for a name that is not known: those that it may have meant, or all."""
    near = near_names(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, for a table or a sentence; the kind of exception if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
