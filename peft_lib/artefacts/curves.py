"""Kind `curves`: loss and metric per epoch and method, mean over seeds with its spread."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peft_lib.artefacts.kind import OfGrids
from peft_lib.display.view import Picture
from peft_lib.names import first_line
from peft_lib.results.baseline import baseline
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.statistics.intervals import summarise
from peft_lib.study.quantities import Quantity, quantity

if TYPE_CHECKING:
    import pandas as pd

    from peft_lib.study.plan import Plan


class Curves(OfGrids):
    """Training curves, a figure per task."""

    kind: Literal["curves"]

    template = "curves"
    switches = True

    def build(self, context: Context) -> list[Cell]:
        """Panels `train/loss`, `validation/loss`, `validation/<metric>`; row: the epoch. Only ok runs have a curve."""
        cells: list[Cell] = []
        for row in context.rows():
            metric = context.plan.datasets[row[0].dataset].metric
            for group in row:
                epochs, problems = _read(context, group)
                blank: dict[str, Any] = {"value": None, "sd": None, "low": None, "high": None, "values": ()}
                pattern = replace(context.cell(group, "test_metric", row=""), **blank)
                if problems:
                    cells.append(
                        replace(pattern, panel="validation/loss", status="unreadable", reason="; ".join(problems), n=0)
                    )
                elif epochs.empty:
                    cells.append(replace(pattern, panel="validation/loss", n=0))
                for (split, name), part in epochs.groupby(["split", "metric"], sort=True):
                    if name == "loss" or (split == "validation" and name == metric):
                        shown = quantity("val_loss" if name == "loss" else "test_metric", metric)
                        curve = replace(
                            pattern, panel=f"{split}/{name}", metric=str(name), unit=shown.unit, direction=shown.direction,
                            digits=shown.digits,
                        )  # fmt: skip
                        cells += _points(curve, part, shown)
            drawn = {(c.model, c.dataset, c.panel) for c in cells}
            if (
                row[0].model,
                row[0].dataset,
                f"validation/{metric}",
            ) in drawn:  # not where it needs text, which is written once
                cells.append(replace(baseline(context, row), panel=f"validation/{metric}", metric=metric))
        return cells

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import curve_figures  # loads matplotlib

        return curve_figures.draw(self.id, cells, plan, folder)


def _read(context: Context, group: Group) -> tuple["pd.DataFrame", list[str]]:
    """Epochs of the group's good runs, and what could not be read."""
    import pandas as pd
    import pyarrow as pa

    from peft_lib.results.collect import read_epochs

    tables, problems = [], []
    for run_id in group.run_ids:
        row = context.runs.loc[run_id]
        if row["status"] == "ok":
            try:
                tables.append(read_epochs(context.results / "runs" / row["folder"]).assign(run=run_id))
            except (OSError, pa.ArrowException) as error:
                problems.append(f"epochs.parquet of {run_id}: {first_line(error)}")
    empty = pd.DataFrame(columns=["epoch", "step", "split", "metric", "value", "run"])
    return (pd.concat(tables) if tables else empty), problems


def _points(curve: Cell, part: "pd.DataFrame", what: Quantity) -> list[Cell]:
    points = []
    by_epoch: dict[int, list[float]] = {}
    for epoch, value in zip(part["epoch"], part["value"], strict=True):
        if value is not None and math.isfinite(value):
            by_epoch.setdefault(int(epoch), []).append(float(value) * what.scale)
    for epoch, values in sorted(by_epoch.items()):
        s = summarise(values, what.low, what.high)
        spread: dict[str, Any] = {
            "value": s.mean, "sd": s.sd, "n": s.n, "low": s.low, "high": s.high, "values": s.values,
        }  # fmt: skip
        points.append(replace(curve, row=str(epoch), **spread))
    return points
