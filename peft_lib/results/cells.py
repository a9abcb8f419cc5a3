"""Cell: one entry of a table or one point of a figure, with its spread, its origin and what is wrong with it.

All artefacts share one schema, so HTML, LaTeX, JSON and CSV are renderings of the same rows.
"""

from dataclasses import dataclass

APART = " | "
"""Between the reasons of a caveat."""


@dataclass(frozen=True)
class Cell:
    """Values are in `unit`, as displayed (percent, not fractions). Fields: see DESCRIPTIONS."""

    artefact: str
    kind: str
    panel: str
    model: str
    dataset: str
    row: str
    column: str
    metric: str
    method: str | None = None
    unit: str = ""
    direction: str = "none"
    digits: int = 2
    value: float | None = None
    sd: float | None = None
    n: int = 0
    planned: int = 0
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    points: tuple[float | None, ...] = ()
    ratio: float | None = None
    expected: float | None = None
    intended: float | None = None
    text: str | None = None
    source: str | None = None
    published: float | None = None
    published_text: str | None = None
    published_also: str | None = None
    published_note: str | None = None
    difference: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    status: str = "ok"
    reason: str | None = None
    change_vs_best: float | None = None
    rank_in_row: int | None = None
    tied: bool = False
    edge: str | None = None
    caveat: str | None = None
    run_ids: tuple[str, ...] = ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """The single reasons why the published value is no fair target."""
        return tuple(self.caveat.split(APART)) if self.caveat else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say of the published value, one by one."""
        return tuple(self.published_note.split(APART)) if self.published_note else ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The row that the cell stands in."""
        return self.panel, self.model, self.dataset, self.row

    @property
    def number(self) -> float:
        """The value of a cell that has one. Raises ValueError otherwise."""
        if self.value is None:
            raise ValueError(f"cell {self.artefact} {self.key} {self.column} has no value: {self.status}")
        return self.value

    @property
    def measured(self) -> bool:
        """Whether the value was measured by fresh runs, be it fewer than planned: it may be drawn and divided, marked."""
        return self.value is not None and self.status in ("ok", "partial")

    @property
    def complete(self) -> bool:
        """Whether every planned run is in the value: only such cells are ranked, named in findings, or divided by.

        A method that lost a seed could win because of the seed it lost.
        """
        return self.value is not None and self.status == "ok"


DESCRIPTIONS = {
    "artefact": "id of the artefact in the study",
    "kind": "kind of the artefact",
    "panel": "part of the artefact: a quantity (efficiency, cost, curves), a task and method (heatmap)",
    "model": "model id",
    "dataset": "data set id",
    "row": "row label within model and data set: varied settings, epoch; empty where these two say it all",
    "column": "column key: method id, 'baseline', value of a setting, name of a setting",
    "metric": "quantity, one of peft_lib/study/quantities.py; epoch metric (curves)",
    "method": "method id; null where a cell belongs to none or to several",
    "unit": "unit of value, sd, low, high, expected, published, difference",
    "direction": "higher or lower is better; none: nearest to zero is best",
    "digits": "decimals to print",
    "value": "mean over seeds; null if no run has a value",
    "sd": "standard deviation over seeds (ddof 1); null for one seed and for ratios",
    "n": "runs that the value is the mean of",
    "planned": "runs that the study plans for this cell",
    "low": "lower end of the 95 % interval of the mean over seeds (docs/results.md); null below three seeds",
    "high": "upper end of it",
    "values": "the single runs' values that the value is the mean of, in the order of run_ids",
    "points": "numbers that are drawn together, in the order that the kind says: the losses of a landscape row by row (b from -m to m, in each a from -m to m; null where the loss is not finite), a path's a and b epoch by epoch",
    "ratio": "value divided by the reference method's",
    "expected": "value by formula (trainable parameters)",
    "intended": "counts: the value of our own reading, where the printed count needs another one",
    "text": "what is shown where a cell is no number (hyper-parameters); comparisons: letters of groups, verdict, items right alone",
    "source": "where a setting comes from: defaults, grid, varied, or a rule's source; counts: the reading that gives the value; comparisons: the method compared with",
    "published": "the paper's value, in the unit of the value (efficiency: the paper's ratio)",
    "published_text": "the published value as printed, or the paper's setting",
    "published_also": "what else the paper prints there: the value that a ratio was made of, a ratio, a change",
    "published_note": "what there is to say of the printed value (counts: how it was counted); it may still be a target; ' | ' between several",
    "difference": "value (efficiency: ratio; counts of parameters: value at the digits of the published one) minus published",
    "p": "p-value of the cell's test, which its artefact names; null where nothing was tested",
    "p_adjusted": "the same after Holm's correction over the family that the artefact names",
    "status": "ok, partial (fewer runs than planned), mismatch, not_available, or that of the failed runs",
    "reason": "why the status is not ok, and why an interval is absent",
    "change_vs_best": "sparse methods: change against the row's best value in percent",
    "rank_in_row": "1..3 for the best three of a row (heatmap: 1 for the best of the panel)",
    "tied": "whether another cell of the row (heatmap: panel) has the same value and so the same place",
    "edge": "heatmap, best of a panel: the settings whose smallest or largest value it has; the optimum may lie outside",
    "caveat": "why the published value is no fair target; ' | ' between several reasons",
    "run_ids": "runs behind the cell",
}
