"""Tables as LaTeX (booktabs, longtable). Widths are planned: a table that is too wide is parted."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from peft_lib.display.latex_text import NARROW, Latex, latex_text, shown_length, stacked
from peft_lib.display.markup import short
from peft_lib.display.view import LINES, Entry, Label, Row, Table

WIDTH = 751.0
"""Text width in points: A4 lying down with margins of 1.6 cm."""
CHARACTER, SMALL = 4.0, 2.85
"""Points per character at \\scriptsize and \\tiny, with room for wide letters."""
GAP = 4.6
"""Points between two columns: twice \\tabcolsep."""
TASK, KIND = 86.0, 23.0
"""Widths of the task column and of the column that names small lines."""
STACK = 8
"""Lines of a column heading."""
LABEL = 60
"""Characters of a row's label; the HTML page has all of them."""
PANEL_TITLE = 44
"""Characters of a heat map's title from which on it wraps."""


@dataclass(frozen=True)
class Block:
    """A part of a table that fits a page's width. `part` says which, if there are several; remarks stand below it if `after`."""

    code: Latex
    part: str
    after: bool = True


def of_several(tables: Sequence[Table], make: Callable[[Table], list[Block]]) -> list[Block]:
    """The blocks of an artefact's tables. Of several tables each is named by its title, and the remarks stand below the last."""
    made = [(table, make(table)) for table in tables]
    if len(made) < 2:
        return [block for _, blocks in made for block in blocks]
    return [
        replace(block, part=": ".join(t for t in (table.title, block.part) if t), after=table is tables[-1])
        for table, blocks in made
        for block in blocks
    ]


def entry(e: Entry) -> Latex:
    """Main line of an entry: heat, value, mark by shape and colour, footnote letters."""
    heat = "" if e.heat is None else rf"\cellcolor{{heat!{round(6 + 60 * e.heat)}}}"
    text = rf"\textbf{{{latex_text(e.text, NARROW)}}}" if e.mark == 1 else latex_text(e.text, NARROW)
    mark = rf"\rank{'ABC'[e.mark - 1]}{{}}" + r"{\tiny$=$}" * e.tied if e.mark else ""
    notes = rf"\textsuperscript{{{','.join(e.notes)}}}" if e.notes else ""
    return Latex(heat + text + mark + notes)


def heading(label: Label, room: float = 0.0) -> Latex:
    """A column heading, words on top of each other, side by side where they fit the room (points) that the column has anyway;
    the end of a very high stack left out."""
    lines: list[str] = []
    for word in stacked(label.latex):
        if lines and _text_width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    lines = lines if len(lines) <= STACK else [*lines[: STACK - 1], r"\ldots{}"]
    return Latex(lines[0] if len(lines) == 1 else r"\shortstack{\strut " + r"\\".join(lines) + "}")


def by_method(table: Table) -> list[Block]:
    """Rows are tasks, each with its small lines below it; without any, a row is one line where there is room."""
    fixed = TASK + KIND + 2 * GAP if table.line_kinds else TASK + GAP
    widths = [_width(table, place) for place in range(len(table.columns))]
    parts = _parts(widths, WIDTH - fixed)
    task = TASK
    if not table.line_kinds and len(parts) == 1:
        table = replace(table, rows=tuple(replace(row, labels=(_joined(row.labels),)) for row in table.rows))
        needed = max((_text_width(_label(row.labels[0])) for row in table.rows), default=TASK)
        task = min(max(needed, TASK), WIDTH - sum(widths) - GAP)
    return [Block(_method_code(table, a, b, task), name) for a, b, name in parts]


def _joined(labels: tuple[str | Label, ...]) -> str | Label:
    """The labels of a row in one."""
    return labels[0] if len(labels) == 1 else ", ".join(str(label) for label in labels if label)


def _width(table: Table, place: int) -> float:
    """Points that a column needs: the widest of heading word, values with their marks, and small lines."""
    widths = [max(map(_text_width, stacked(table.columns[place].latex)))]
    for row in table.rows:
        e = row.entries[place]
        widths.append((len(e.text) + 2 * bool(e.mark) + e.tied + 0.7 * sum(len(n) + 1 for n in e.notes)) * CHARACTER)
        widths += [len(text) * SMALL for text in e.lines.values()]
    return max(widths) + GAP


def _parts(widths: list[float], room: float) -> list[tuple[int, int, str]]:
    """Column ranges that fit the room, about equally wide, and what to call them."""
    fewest = len(_cuts(widths, room))
    even = next(
        r for r in (*(sum(widths) / fewest * (1 + k / 20) for k in range(20)), room) if len(_cuts(widths, r)) == fewest
    )
    ranges = _cuts(widths, min(even, room))
    return [(a, b, f"part {i} of {len(ranges)}" if len(ranges) > 1 else "") for i, (a, b) in enumerate(ranges, 1)]


def _cuts(widths: list[float], room: float) -> list[tuple[int, int]]:
    cuts, used = [0], 0.0
    for place, width in enumerate(widths):
        if used + width > room and place > cuts[-1]:
            cuts.append(place)
            used = 0.0
        used += width
    return list(pairwise([*cuts, len(widths)]))


def _method_code(table: Table, start: int, stop: int, task: float) -> Latex:
    columns = table.columns[start:stop]
    kinds = bool(table.line_kinds)
    preamble = (
        rf"@{{}}>{{\raggedright\arraybackslash}}p{{{task:g}pt}}" + (r"l" if kinds else "") + "c" * len(columns) + "@{}"
    )
    lines = _head(table, start, stop, kinds)
    body: list[str] = []
    group = ""
    for place, row in enumerate(table.rows):
        part = Row(row.labels, row.entries[start:stop], row.group)
        if row.group != group:
            body += [r"\midrule"] * bool(place) + [
                rf"\multicolumn{{{len(columns) + 1 + kinds}}}{{@{{}}l}}{{\textit{{{latex_text(row.group)}}}}}\\*"
            ]
            group = row.group
        elif place:
            body.append(r"\addlinespace[3pt]")
        body += _row(part, row.lines, kinds, task)
    return _longtable(preamble, lines, body)


def _head(table: Table, start: int, stop: int, kinds: bool) -> list[str]:
    """Heading lines: families over the methods, then the methods."""
    names = [name for name, count in table.spans for _ in range(count)][start:stop]
    lead = " &" if kinds else ""
    lines = [r"\toprule"]
    if len(set(names)) > 1:
        cells, rules, at = [], [], 2 + kinds
        for name, run in groupby(names):
            count = len(list(run))
            # A name is left out where its one column is too narrow for it.
            shown = name if count > 1 or len(name) <= 8 else ""
            cells.append(rf" & \multicolumn{{{count}}}{{c}}{{{latex_text(shown)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}" if shown else "")
            at += count
        lines += [f"{lead}{''.join(cells)}\\\\", "".join(rules)]
    named = latex_text(table.headings[0]) if len(table.headings) == 1 else ""
    lines.append(
        named
        + lead
        + "".join(f" & {heading(table.columns[i], _width(table, i) - GAP)}" for i in range(start, stop))
        + r"\\"
    )
    return [*lines, r"\midrule"]


def _row(row: Row, kinds: list[str], named: bool, task: float = TASK) -> Iterator[str]:
    """A row's values, then its small lines; the task's labels hang beside them. No page break in between."""
    texts = [_label(short(label, LABEL) if isinstance(label, str) else label) for label in row.labels]
    needed = sum(1 + int(1.25 * _text_width(text) // task) for text in texts) if named or len(texts) > 1 else 1
    height = max(needed, 1 + len(kinds))
    label = r"\\ ".join(texts)
    if len(texts) > 1:
        label = rf"\smash{{\parbox[t]{{{task:g}pt}}{{\raggedright {label}}}}}"
    for place in range(height):
        if place == 0:
            name, cells = "", [str(entry(e)) for e in row.entries]
        elif place <= len(kinds):
            kind = kinds[place - 1]
            name = rf"\tiny {latex_text(LINES[kind].short)}"
            cells = [rf"\tiny {latex_text(e.lines[kind])}" if kind in e.lines else "" for e in row.entries]
        else:
            name, cells = "", [""] * len(row.entries)
        end = r"\\" if place == height - 1 else r"\\*"
        yield " & ".join([label if place == 0 else "", *([name] if named else []), *cells]) + end


def _text_width(code: str) -> float:
    """Points that escaped code takes in one line."""
    return (shown_length(code) + len(re.findall("[MW@%]", code))) * CHARACTER


def _longtable(preamble: str, head: list[str], body: list[str]) -> Latex:
    return Latex("\n".join([
        rf"\begin{{longtable}}{{{preamble}}}", r"\tablecaption\\", *head, r"\endfirsthead", *head, r"\endhead",
        r"\bottomrule", r"\endlastfoot", *body, r"\end{longtable}",
    ]))  # fmt: skip


def of_texts(table: Table) -> list[Block]:
    """Settings: rows of words, columns of equal width that wrap."""
    labels = len(table.headings)
    label_widths = [_label_width(table, place) for place in range(labels)]
    fixed = sum(label_widths) + labels * GAP
    count = len(table.columns)
    room = WIDTH - fixed
    each = max(min(int(room // 85), count), 1)
    width = min(room / each - GAP - 1, 200)
    starts = range(0, count, each)
    blocks = []
    for i, start in enumerate(starts, 1):
        columns = table.columns[start : start + each]
        cell = rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}"
        preamble = (
            "@{}"
            + "".join(rf">{{\raggedright\arraybackslash}}p{{{w:.0f}pt}}" for w in label_widths)
            + cell * len(columns)
            + "@{}"
        )
        names = [latex_text(h) for h in table.headings] + [Latex(c.latex) for c in columns]
        head = [r"\toprule", " & ".join(names) + r"\\", r"\midrule"]
        body: list[str] = []
        last, group = None, ""
        for row in table.rows:
            if row.group != group:
                group = row.group
                opening = rf"\multicolumn{{{labels + len(columns)}}}{{@{{}}l}}{{\textit{{{latex_text(group)}}}}}\\*"
                body += [*[r"\midrule"] * bool(body), opening]
            shown = ["" if row.labels[0] == last else _label(row.labels[0]), *map(_label, row.labels[1:])]
            last = row.labels[0]
            cells = [_with_paper(e) for e in row.entries[start : start + each]]
            body.append(" & ".join([*shown, *cells]) + r"\\")
        part = f"part {i} of {len(starts)}" if len(starts) > 1 else ""
        blocks.append(Block(_longtable(preamble, head, body), part))
    return blocks


def _label_width(table: Table, place: int) -> float:
    """Points of a column of row labels: as wide as its longest text, up to a limit behind which they wrap."""
    texts = [latex_text(table.headings[place]), *(_label(row.labels[place]) for row in table.rows)]
    return min(max(map(_text_width, texts)) + GAP, TASK + 30)


def _label(label: str | Label) -> str:
    return label.latex if isinstance(label, Label) else latex_text(label, NARROW)


def _with_paper(e: Entry) -> Latex:
    paper = rf" {{\tiny (paper: {latex_text(e.lines['paper'], NARROW)})}}" if "paper" in e.lines else ""
    return Latex(entry(e) + paper)


def panels(tables: tuple[Table, ...]) -> Latex:
    """Heat maps side by side, as many as fit a line; each is an unbreakable box with its title."""
    lines, about = [], None
    for table in tables:
        if table.about != about:
            about = table.about
            lines.append(rf"\par\medskip\noindent\textit{{{latex_text(about)}}}\par\nopagebreak\smallskip\noindent")
        lines.append(_panel(table) + r"\hspace{1.4em}")
    return Latex("\n".join(lines))


def _panel(table: Table) -> str:
    count = len(table.columns)
    title = rf"\textbf{{{latex_text(table.title, NARROW)}}}"
    axis = " by ".join([table.headings[0], *(name for name, _ in table.spans)])
    above = rf"{title} \tiny {latex_text(axis)}"
    if shown_length(title) > PANEL_TITLE:
        above = rf"\parbox[t]{{{PANEL_TITLE * CHARACTER:g}pt}}{{\raggedright {above}}}"
    lines = [
        rf"\begin{{tabular}}[t]{{@{{}}r{'c' * count}@{{}}}}",
        rf"\multicolumn{{{count + 1}}}{{@{{}}l}}{{{above}}}\\", r"\toprule",
        "".join(f" & {label.latex}" for label in table.columns) + r"\\", r"\midrule",
    ]  # fmt: skip
    for row in table.rows:
        lines += _row(row, row.lines, False)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
