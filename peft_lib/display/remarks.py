"""Sentences below a table that more than one kind of artefact needs."""

from peft_lib.diagnostics.options import Around
from peft_lib.display.markup import plain_name
from peft_lib.display.view import Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import SINGLE
from peft_lib.statistics.intervals import FEWEST


def single_seed(cells: list[Cell]) -> bool:
    """Whether every measured cell is of one seed: said once, not in each of them."""
    measured = [c for c in cells if c.method and c.value is not None]
    return bool(measured) and all(c.n <= 1 for c in measured)


def marks_remarks(cells: list[Cell], highlight: int) -> list[str]:
    """What the marks of best values mean, and where there are none."""
    if not highlight:
        return []
    nearest = " (nearest to zero, as the paper marks gaps)" if any(c.direction == "none" for c in cells) else ""
    said = [f"Best {highlight} of each row marked{nearest}." if highlight > 1 else "Best of each row marked."]
    if _place_not_given(cells, highlight):
        said.append("A place that more cells share than there are marks left is not given.")
    if any(c.status == "partial" for c in cells):
        said.append("Cells with fewer runs than planned (n of m) take no place.")
    return said


def _place_not_given(cells: list[Cell], highlight: int) -> bool:
    """Whether a row has fewer marks than it could have."""
    rows: dict[tuple, list[Cell]] = {}
    for c in cells:
        if c.method and c.complete:
            rows.setdefault(c.key, []).append(c)
    return any(sum(c.rank_in_row is not None for c in row) < min(highlight, len(row)) for row in rows.values())


def ratio_remarks(normalise_to: str | None) -> list[str]:
    """What every value of the table is divided by."""
    if not normalise_to:
        return []
    return [f"Ratio of means to {plain_name(normalise_to)}; no interval is given for a ratio."]


def spread_remarks(cells: list[Cell], tables: list[Table]) -> list[str]:
    """What the spread below the values is, or that there is none."""
    if single_seed(cells):
        return [f"{SINGLE[0].upper()}{SINGLE[1:]}."]
    kinds = {kind for t in tables for kind in t.line_kinds}
    said = []
    if "sd" in kinds:
        said.append("\u00b1: standard deviation over seeds.")
    if "interval" in kinds:
        said.append("Interval: 95 % interval of the mean over seeds, within the range of the quantity.")
    if "values" in kinds:
        said.append(f"Values with a semicolon between: the single seeds, in place of an interval below {FEWEST} seeds.")
    return said


def published_remarks(cells: list[Cell], published: str | None) -> list[str]:
    """How many cells stand beside a number of the paper."""
    if not published:
        return []
    joined = sum(c.published is not None or c.published_text is not None for c in cells)
    return [
        f"{joined} cells have a published counterpart."
        if joined
        else "No cell of this table has a published counterpart."
    ]


def around_remark(options: Around) -> str:
    """At which weights, along what and on which items the loss was taken."""
    moment = "selected epoch" if options.at == "selected" else "last epoch"
    moves = "all matrices move" if options.subspace == "all" else "the weights of the run's target set alone move"
    scaled = {
        "row": "every row of a direction has the norm of the weight's row (filter normalisation), which makes a direction of few "
        "columns a steep one",
        "tensor": "every weight's direction has the norm of the weight",
        "none": "directions have length 1",
    }[options.normalisation]
    items = (
        f"{options.batches} batches of {options.batch_size}"
        if options.batch_size
        else f"{options.batches} of the run's batches"
    )
    return (
        f"Around the weights of the {moment}, adapters merged: {moves}, biases and norms do not; {scaled}. Loss in evaluation mode "
        f"on the same validation items everywhere: {items}, or all where there are fewer."
    )
