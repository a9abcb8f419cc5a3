"""Many tests at once: Holm's correction, and groups of methods that no test of a row tells apart."""

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

ALPHA = 0.05
"""Chance of one wrong 'told apart' or more in a family of tests."""


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm, Scandinavian Journal of Statistics 6 (1979) 65-70), by statsmodels. No p, no result.

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it. Holds for dependent tests, as
    those of one test set are. Raises ValueError for what is no p-value.
    """
    if any(not 0 <= x <= 1 for x in p):  # a NaN too
        raise ValueError(f"p-values {list(p)} must be from 0 to 1")
    if len(p) == 0:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(x) for x in multipletests(list(p), method="holm")[1]]


def groups(count: int, apart: set[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The largest sets of methods of which no two are told apart, in the order of their first members.

    Methods are 0 to count - 1, in the order in which they are shown; apart: pairs (a, b), a < b. By insert and absorb (Piepho,
    Journal of Computational and Graphical Statistics 13 (2004) 456-466): begin with all methods in one set; each pair that is told
    apart splits every set that has both in two, each without one of them; sets within others are dropped. Every method is in a
    set, be it alone. A set says 'not told apart', not 'equal'.
    """
    sets = [frozenset(range(count))] if count else []
    for a, b in sorted(apart):
        split = [part for s in sets for part in ((s - {a}, s - {b}) if {a, b} <= s else (s,))]
        sets = [s for s in dict.fromkeys(split) if not any(s < other for other in split)]
    return sorted(tuple(sorted(s)) for s in sets)


def letters(count: int, apart: set[tuple[int, int]]) -> list[str]:
    """The letters of each method: methods that share one are not told apart (compact letter display). One character a group:
    a to z, A to Z, and behind them whatever letters Unicode has, so that two texts share a character if and only if they share a group."""
    found = groups(count, apart)
    return ["".join(_letter(i) for i, group in enumerate(found) if method in group) for method in range(count)]


def _letter(place: int) -> str:
    usual = ascii_lowercase + ascii_uppercase
    return usual[place] if place < len(usual) else chr(0x100 + place - len(usual))
