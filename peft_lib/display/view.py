"""A table as it is shown, before it is HTML or LaTeX: labels, entries, footnotes. Both renderings read this."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase

from markupsafe import Markup, escape

from peft_lib.display.latex_text import NARROW, latex_text
from peft_lib.display.markup import latex_name, safe_html, short
from peft_lib.methods.registry import get_method

HEADING = 40
"""Characters of a method's name in a heading in LaTeX; the HTML page has all of them."""


@dataclass(frozen=True)
class Line:
    """A kind of small line below a value: its name in a narrow column, and at the page's switch, if it has one."""

    short: str
    switch: str = ""


LINES = {
    "n": Line("runs"), "edge": Line("edge"), "sd": Line("sd", "sd"), "interval": Line("95%", "95 % interval"),
    "bounds": Line("95%"),
    "values": Line("seeds", "single seeds"), "change": Line("change", "change vs best"),
    "ratio": Line("ratio", "ratio to reference"), "formula": Line("formula"), "paper": Line("paper", "published"),
    "also": Line("paper"), "difference": Line("diff."),
    "intended": Line("intended"),
}  # fmt: skip
"""In the order in which they stand."""


@dataclass(frozen=True)
class Label:
    """A heading in both languages; safe as it stands."""

    html: Markup
    latex: str
    css: str = ""

    @classmethod
    def plain(cls, text: str, css: str = "") -> "Label":
        return cls(escape(text), latex_text(text, NARROW), css)

    @classmethod
    def method(cls, method_id: str) -> "Label":
        method = get_method(method_id)
        css = re.sub(r"[^a-z0-9-]", "-", f"family-{method.family}".lower())
        return cls(safe_html(method.html), latex_name(short(method.latex, HEADING)), css)


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table. Plain text throughout; templates escape it."""

    text: str
    lines: Mapping[str, str] = field(default_factory=dict)
    mark: int = 0
    tied: bool = False
    status: str = "ok"
    notes: tuple[str, ...] = ()
    title: str = ""
    heat: float | None = None
    run: str | None = None


EMPTY = Entry("", status="empty")


@dataclass(frozen=True)
class Row:
    """One row. `group` opens a new part of the table where it differs from the row above; a label in both languages is a Label."""

    labels: "tuple[str | Label, ...]"
    entries: tuple[Entry, ...]
    group: str = ""

    @property
    def lines(self) -> list[str]:
        """Kinds of lines that any entry of the row has."""
        return [name for name in LINES if any(name in e.lines for e in self.entries)]


@dataclass(frozen=True)
class Table:
    """One grid of entries. `spans`: (text, number of columns) above the column headings."""

    headings: tuple[str, ...]
    columns: tuple[Label, ...]
    rows: tuple[Row, ...]
    spans: tuple[tuple[str, int], ...] = ()
    title: str = ""
    about: str = ""

    @property
    def line_kinds(self) -> list[str]:
        return [name for name in LINES if any(name in row.lines for row in self.rows)]


@dataclass(frozen=True)
class Picture:
    """A drawn figure: file name without ending, what it shows in words, its size in pixels.

    scene: name of a file beside it with the same data as a script, which the page can show in three dimensions; empty: none.
    """

    name: str
    alt: str
    title: str
    width: int
    height: int
    scene: str = ""


class Footnotes:
    """Numbers footnotes of one artefact by letters, equal texts once."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def mark(self, text: str | None) -> tuple[str, ...]:
        """The letter of a footnote; nothing for no text."""
        if not text:
            return ()
        return (self.texts.setdefault(text, _letters(len(self.texts))),)

    @property
    def items(self) -> list[tuple[str, str]]:
        return [(letter, text) for text, letter in self.texts.items()]


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    high, low = divmod(place, len(ascii_lowercase))
    return (_letters(high - 1) if high else "") + ascii_lowercase[low]
