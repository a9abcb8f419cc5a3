"""Words that findings are made of: values, intervals, lists, names."""

from peft_lib.display.entries import LONG, fixed, singles
from peft_lib.display.markup import plain_name
from peft_lib.results.cells import Cell
from peft_lib.study.quantities import Quantity

FEW = 4
"""Methods that are named one by one; more are counted."""


def value_of(cell: Cell) -> str:
    return f"{fixed(cell.number, cell.digits)}\u00a0{cell.unit}".rstrip()


def interval_of(cell: Cell) -> str:
    """The interval of a mean over seeds, or why there is none."""
    if cell.low is not None and cell.high is not None:
        digits = max(cell.digits - 1, 1)
        return f" (95 % interval {fixed(cell.low, digits)} to {fixed(cell.high, digits)}, {cell.n} seeds)"
    if cell.n > 1 and cell.values:
        return f" (seeds {singles(cell)}: too few for an interval)"
    return " (one seed: no interval)"


def in_points(metric: Quantity) -> bool:
    """Whether differences of the metric are called points: it is a fraction, shown in hundredths."""
    return metric.scale == 100


def size_of(cell: Cell, metric: Quantity) -> str:
    """A difference without its sign: 4.90 points."""
    return f"{fixed(abs(cell.number), cell.digits)}{' points' if in_points(metric) else ''}"


def difference_of(cell: Cell) -> str:
    """A tested difference with its interval: -1.19 [-3.95, +1.62]."""
    low, high = (fixed(end, cell.digits, signed=True) for end in (cell.low or 0.0, cell.high or 0.0))
    return f"{fixed(cell.number, cell.digits, signed=True)} [{low}, {high}]"


def and_list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def name_of(method_id: str) -> str:
    """A method's name that does not break at its hyphen."""
    return plain_name(method_id).replace("-", "\u2011")


def names_of(cells: list[Cell]) -> str:
    return and_list([name_of(c.column) for c in cells])


def status_of(cell: Cell) -> str:
    return LONG.get(cell.status, cell.status)


def sentence(text: str) -> str:
    """The text as a sentence; nothing for nothing."""
    return f"{text[0].upper()}{text[1:]}." if text else ""
