"""Reads the tables of a report's page back: which text stands in which section, table, row and column. For tests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """One entry of a table. `heading`: what stands above the table; `lines`: kind of small line -> its text."""

    section: str
    heading: str
    caption: str
    group: str
    labels: tuple[str, ...]
    column: str
    text: str
    lines: dict[str, str] = field(hash=False)


class _Reader(HTMLParser):
    """Collects text by the element that it belongs to; `abbr` and footnote letters are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Place] = []
        self.section = self.heading = self.caption = self.group = ""
        self.columns: list[str] = []
        self.labels: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.at = 0
        self.into: list[str] = []
        self.in_head = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attributes}
        classes = given.get("class", "").split()
        if tag == "section":
            self.section, self.heading = given.get("id", ""), ""
        elif tag == "h3":
            self._begin("heading", "h3")
        elif tag == "table":
            self.caption = self.group = ""
            self.columns = []
        elif tag == "caption":
            self._begin("caption", "caption")
        elif tag == "thead":
            self.in_head = True
        elif tag == "tr":
            self.labels, self.at = [], 0
        elif tag == "th":
            kind = "group" if given.get("scope") in ("rowgroup", "colgroup") else "label"
            if self.in_head and given.get("scope") == "col" and "label" not in classes:
                kind = "column"
            self._begin(kind, "th")
        elif tag == "td" and not self.in_head:
            self.texts = {"value": []}
            self.into.append("value")
        elif tag == "span" and any(c.startswith("line-") for c in classes):
            kind = next(c.removeprefix("line-") for c in classes if c.startswith("line-"))
            self.texts[kind] = []
            self.into.append(kind)
        elif tag in ("abbr", "span", "sup") and self.into and self.into[-1] not in ("label", "column", "group"):
            self.into.append(
                "" if tag == "abbr" or "notes" in classes or "mark" in classes or "tie" in classes else self.into[-1]
            )

    def _begin(self, kind: str, tag: str) -> None:
        self.texts[kind] = []
        self.into.append(kind)

    def handle_data(self, data: str) -> None:
        if self.into and self.into[-1]:
            self.texts.setdefault(self.into[-1], []).append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "thead":
            self.in_head = False
        elif tag in ("h3", "caption", "th"):
            kind = self.into.pop()
            text = "".join(self.texts.pop(kind)).strip()
            if kind == "label" and not self.in_head:
                self.labels.append(text)
            elif kind == "column":
                self.columns.append(text)
            elif kind in ("heading", "caption") or (kind == "group" and not self.in_head):
                setattr(self, kind, text)
        elif tag == "td" and not self.in_head:
            self.into.pop()
            lines = {k: "".join(v).strip() for k, v in self.texts.items()}
            text = lines.pop("value")
            column = self.columns[self.at] if self.at < len(self.columns) else ""
            self.places.append(
                Place(self.section, self.heading, self.caption, self.group, tuple(self.labels), column, text, lines)
            )
            self.at += 1
        elif tag in ("abbr", "span", "sup") and self.into and self.into[-1] not in ("label", "column", "group"):
            self.into.pop()


def places(page: Path) -> Iterator[Place]:
    """Every entry of every table of a page, in its order."""
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    yield from reader.places
