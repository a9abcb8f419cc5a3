"""What an artefact of kind `comparisons` is made of: the names of its panels and columns, and a difference in words."""

from peft_lib.results.cells import Cell
from peft_lib.statistics.families import ALPHA

VALUE = "value"
"""Means of methods; `text`: letters, methods that share one are not told apart. And the constant answer."""
LEADER, AGAINST = "leader", "against"
"""Difference to the row's best, and to a named method (`source`: which); `values` by seed; `text`: the verdict."""
RIGHT_ALONE = "right alone"
"""After one of these two: `text`: by seed, items that the method alone has right and that the other alone has; `values`: exact p."""
LIMITS = "limits"
"""Columns: what the row could have found, and what limits it."""
MORE = 10
"""Seeds that a study might have had."""
SINGLE, CORRECTED, MORE_SEEDS = "detectable", "detectable corrected", f"detectable corrected {MORE} seeds"
TEST_ITEMS, SEEDS, LAST_EPOCH, NOT_LEARNT = (
    "test items",
    "seeds",
    "selected at the last epoch",
    "not above the constant answer",
)

BEHIND, AHEAD, DIFFERS, ALIKE, WEAK = "behind", "ahead", "differs", "not told apart", "not after correction"


def verdict(cell: Cell) -> str:
    """A tested difference in words. A difference of a quantity without direction is no merit."""
    if cell.p is None or cell.p_adjusted is None:
        raise ValueError(f"cell {cell.key} {cell.column} has not been tested: {cell.status}")
    if cell.p_adjusted >= ALPHA:
        return WEAK if cell.p < ALPHA else ALIKE
    if cell.direction == "none":
        return DIFFERS
    return AHEAD if (cell.number > 0) == (cell.direction == "higher") else BEHIND


def told_apart(cell: Cell) -> bool:
    """Whether the difference is more than chance after correction."""
    return cell.p_adjusted is not None and cell.p_adjusted < ALPHA
