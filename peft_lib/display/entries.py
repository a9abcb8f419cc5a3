"""From a cell to what is printed of it: numbers, signs, short words for what went wrong, tooltip."""

from peft_lib.display.view import Entry, Footnotes
from peft_lib.results.cells import Cell
from peft_lib.results.context import SINGLE

MINUS = "\u2212"
SHORT = {
    "diverged": "div.", "out_of_memory": "OOM", "missing": "missing", "unreadable": "unread.", "not_available": "n/a",
    "stale": "stale", "partial": "partial",
}  # fmt: skip
LONG = {
    "diverged": "diverged", "out_of_memory": "out of memory", "missing": "not run", "unreadable": "unreadable",
    "not_available": "not available", "stale": "stale: made by other code or data",
    "partial": "fewer runs than planned",
    "mismatch": "differs from the formula", "ok": "ok",
}  # fmt: skip
SHOWN_SEEDS = 5
"""Up to so many single values stand in a tooltip; all are in the CSV and JSON files."""


def fixed(value: float, digits: int, signed: bool = False) -> str:
    """A number with a true minus sign; thousands are set off in whole numbers."""
    text = f"{abs(value):,.{digits}f}" if digits == 0 else f"{abs(value):.{digits}f}"
    zero = float(text.replace(",", "")) == 0
    return ("" if zero else MINUS if value < 0 else "+" if signed else "") + text


def lines_of(cell: Cell, single: bool) -> dict[str, str]:
    """Lines below the value. `single`: every value of the table is from one seed, which is said once, not here."""
    lines = {}
    if cell.status == "partial":
        lines["n"] = f"{cell.n} of {cell.planned}"
    elif cell.n == 1 and not single and cell.reason == SINGLE:
        lines["n"] = "1 seed"
    counted = cell.metric == "trainable_parameters"
    if cell.edge:
        lines["edge"] = f"edge: {', '.join(setting_at(end) for end in cell.edge.split(', '))}"
    if cell.low is None and cell.n > 1 and cell.values and not counted:
        # Too few for an interval, and their sd says no more than they do.
        lines["values"] = singles(cell)
    elif cell.sd is not None and not counted:
        lines["sd"] = f"\u00b1{fixed(cell.sd, cell.digits)}"
    if cell.low is not None and cell.high is not None and cell.kind != "efficiency" and not counted:
        # A tenth of a percent is more than an interval from a few seeds can carry.
        digits = 1 if cell.digits == 2 else cell.digits
        lines["interval"] = f"[{fixed(cell.low, digits)}, {fixed(cell.high, digits)}]"
    if cell.change_vs_best is not None:
        lines["change"] = change_text(cell.change_vs_best)
    # As many digits as the paper's ratios.
    ratio_digits = 3 if cell.published is not None else 2
    if cell.ratio is not None:
        lines["ratio"] = f"\u00d7{cell.ratio:.{ratio_digits}f}"
    if cell.status == "mismatch" and cell.expected is not None:
        lines["formula"] = fixed(cell.expected, cell.digits)
    of_ratio = cell.kind == "efficiency" and cell.ratio is not None
    digits = ratio_digits if of_ratio else cell.digits
    if cell.published is not None:
        printed = cell.published_text or fixed(cell.published, digits)
        lines["paper"] = f"\u00d7{printed}" if of_ratio else printed
    if cell.published_also:
        lines["also"] = cell.published_also
    if cell.difference is not None:
        lines["difference"] = fixed(cell.difference, digits, signed=True)
    return lines


def change_text(percent: float | str) -> str:
    """A change in percent, its sign as an arrow; a text keeps its digits."""
    text = percent if isinstance(percent, str) else f"{percent:.2f}"
    arrow = "\u25bc" if text.startswith("-") else "\u25b2"
    return f"{arrow}{text.lstrip('+-')}%"


def singles(cell: Cell) -> str:
    """The single runs' values. Semicolons: whole numbers have commas inside."""
    return "; ".join(fixed(v, cell.digits) for v in cell.values)


def setting_at(end: str) -> str:
    """Name of the setting in 'largest head_lr_mult'."""
    return end.split(" ", 1)[1].replace("_", " ")


def entry(cell: Cell, notes: Footnotes, single: bool = False, digits: int | None = None) -> Entry:
    """The entry of a numeric cell."""
    digits = cell.digits if digits is None else digits
    if cell.value is None:
        text = SHORT.get(cell.status, cell.status)
    else:
        text = fixed(cell.value, digits) + {"mismatch": "\u2260", "stale": "\u2020"}.get(cell.status, "")
    wrong = cell.status != "ok" or (cell.reason and cell.reason != SINGLE)
    letters = notes.mark(_note(cell)) if wrong else ()
    for caveat in cell.caveats:
        letters += notes.mark(f"no fair target: {caveat}")
    for note in cell.notes:
        letters += notes.mark(f"published value: {note}")
    return Entry(
        text=text, lines=lines_of(cell, single), mark=cell.rank_in_row or 0, tied=cell.tied, status=cell.status, notes=letters,
        title=tooltip(cell), run=cell.run_ids[0] if cell.run_ids else None,
    )  # fmt: skip


def _note(cell: Cell) -> str:
    return cell.reason or ("" if cell.status == "ok" else LONG.get(cell.status, cell.status))


def tooltip(cell: Cell) -> str:
    """What a pointer sees: value, spread, number of runs, status, runs."""
    parts = []
    if cell.value is not None:
        parts.append(f"mean {fixed(cell.value, cell.digits)} {cell.unit}".strip())
    if cell.sd is not None:
        parts.append(f"sd {fixed(cell.sd, cell.digits)}")
    if cell.low is not None and cell.high is not None:
        parts.append(f"95 % interval {fixed(cell.low, cell.digits)} to {fixed(cell.high, cell.digits)}")
    if 1 < len(cell.values) <= SHOWN_SEEDS:
        parts.append(f"single seeds {singles(cell)}")
    if cell.planned:
        parts.append(f"{cell.n} of {cell.planned} runs")
    if cell.tied:
        parts.append("tied: another has the same value")
    if cell.edge:
        parts.append(
            f"best of its panel at the edge of the grid ({cell.edge.replace('_', ' ')}): the optimum may lie outside"
        )
    if cell.status != "ok" or cell.reason:
        parts.append(_note(cell))
    if cell.run_ids:
        shown = ", ".join(cell.run_ids[:5])
        parts.append(f"runs {shown}{' ...' if len(cell.run_ids) > 5 else ''}")
    return "; ".join(parts)
