"""Kind `spectrum`: what was learnt, as a spectrum: effective rank, norms, columns touched; norms by layer; singular values."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from peft_lib.artefacts.places import OfPlaces, lines_of, panel_of
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.diagnostic import Row as Number
from peft_lib.diagnostics.spectrum import Spectrum, SpectrumOptions
from peft_lib.display.entries import entry
from peft_lib.display.remarks import single_seed, spread_remarks
from peft_lib.display.tables import method_heading, panel_name
from peft_lib.display.view import EMPTY, Footnotes, Picture, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.places import ends, kind_of, layer_of
from peft_lib.study.quantities import Quantity

if TYPE_CHECKING:
    from peft_lib.results.diagnosed import Diagnosed
    from peft_lib.study.plan import Plan

NO_RANK = "an update of zero has none"
SHOWN = {
    "effective_rank": Quantity("effective rank", f"an effective rank: {NO_RANK}", "", "none", digits=1, low=1),
    "stable_rank": Quantity("stable rank", f"a stable rank: {NO_RANK}", "", "none", digits=2, low=1),
    "update_norm": Quantity("norm", "update_norm", "", "none", digits=2, low=0),
    "relative_norm": Quantity("norm, % of W0's", "relative_norm", "%", "none", 100.0, digits=1, low=0),
    "update_spectral_norm": Quantity("spectral norm", "update_spectral_norm", "", "none", digits=2, low=0),
    "relative_spectral_norm": Quantity(
        "spectral norm, % of W0's", "relative_spectral_norm", "%", "none", 100.0, digits=1, low=0
    ),
    "columns_touched": Quantity(
        "columns touched, %", "columns_touched", "%", "none", 100.0, digits=1, low=0, high=100
    ),
}  # fmt: skip
"""Rows of the table: of each a mean over matrices, then over seeds."""
SINGULAR = "singular_value"
QUANTITY = {**SHOWN, SINGULAR: Quantity("singular value", SINGULAR, "", "none", digits=3, low=0)}
LAYERS, VALUES = "layers", "values"
"""Panels that figures draw, after the task: relative norms by layer, one for each kind of place; singular values."""


class SpectrumOfUpdates(SpectrumOptions, OfPlaces):
    """Spectra and norms of delta = W - W0."""

    kind: Literal["spectrum"]
    draws: tuple[Literal["layers", "values"], ...] = Field(
        ("layers", "values"), description="figures: relative norms by layer, singular values by place in their order"
    )

    switches = True

    @property
    def diagnostic(self) -> Spectrum:
        """What its runs have to be asked for."""
        return Spectrum.like(self)

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        return {self.diagnostic: self.run_ids(plan)}

    def build(self, context: Context) -> list[Cell]:
        """Per task and method: the table's quantities (rows), relative norms by layer, singular values by their place."""
        return [cell for group in context.groups for cell in self._of(context, group)]

    def _of(self, context: Context, group: Group) -> Iterator[Cell]:
        panel = panel_of(group)
        for name in SHOWN:
            yield self._cell(context, group, name, panel, name)
        found = [context.diagnosed(run_id, self.diagnostic) for run_id in group.run_ids]
        places = dict.fromkeys(r.place for f in found for r in self._rows(f, "relative_norm"))
        for place in places if LAYERS in self.draws else ():
            where = f"{panel}/{LAYERS}/{kind_of(str(place))}"
            yield self._cell(context, group, "relative_norm", where, str(layer_of(str(place))), place=place)
        number = max((int(r.x or 0) for f in found for r in self._rows(f, SINGULAR)), default=0)
        for index in range(1, number + 1) if VALUES in self.draws else ():
            yield self._cell(context, group, SINGULAR, f"{panel}/{VALUES}", str(index), x=index)

    def _cell(
        self, context: Context, group: Group, name: str, panel: str, row: str, place: str | None = None, x: int | None = None
    ) -> Cell:  # fmt: skip
        """The mean over places, or of one place: of a quantity, or of the singular values in place x."""

        def mean(found: "Diagnosed") -> float | None:
            rows = [r for r in self._rows(found, name) if place in (None, r.place)]
            values = [r.value for r in rows if r.x == x]
            if name == SINGULAR:  # a delta of lower rank has zeros there, which are not written down
                values += [0.0] * (len({r.place for r in rows}) - len(values))
            return fmean(values) if values else None

        return context.diagnosed_cell(group, self.diagnostic, QUANTITY[name], mean, name, panel=panel, row=row)

    def _rows(self, found: "Diagnosed", name: str) -> list[Number]:
        """Those of the places that count."""
        return [r for r in found.of(name) if r.place and ends(r.place, self.layers)]

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """A part per task; rows are quantities, columns are methods."""
        methods = list(dict.fromkeys(c.column for c in cells))
        single = single_seed(cells)
        lines: dict[tuple[str, str], dict[str, Cell]] = {}
        for cell in cells:
            if cell.row in SHOWN:
                lines.setdefault((cell.panel, cell.row), {})[cell.column] = cell
        rows = []
        for (_, name), line in lines.items():
            entries = tuple(entry(line[m], notes, single) if m in line else EMPTY for m in methods)
            rows.append(Row((SHOWN[name].label,), entries, panel_name(next(iter(line.values())), plan)))
        return [Table(("Of the update",), tuple(map(method_heading, methods)), tuple(rows))]

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display.line_panels import Scales, draw  # loads matplotlib

        pictures = []
        layers = self._panels(cells, LAYERS, plan)
        scales = Scales("layer", "norm of the update, % of W0's", log=True, whole=True)
        alt = "Lines of the update's Frobenius norm relative to the weights' over the layers, one for each method."
        pictures += draw(f"{self.id}_{LAYERS}", layers, scales, alt, folder)
        scales = Scales("place in the order of size", "singular value of the update", log=True, whole=True)
        alt = "Lines of the update's singular values in their order, mean over matrices, one for each method."
        return pictures + draw(f"{self.id}_{VALUES}", self._panels(cells, VALUES, plan), scales, alt, folder)

    @staticmethod
    def _panels(cells: list[Cell], part: str, plan: "Plan") -> dict[str, list[Cell]]:
        """Title -> cells of a figure, where there is more than one point along it."""
        panels: dict[str, list[Cell]] = {}
        for cell in cells:
            before, found, kind = cell.panel.partition(f"/{part}")
            if found:
                title = lines_of(replace(cell, panel=before), plan, kind.strip("/"))
                panels.setdefault(title, []).append(cell)
        return {title: part for title, part in panels.items() if len({c.row for c in part}) > 1}

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = [
            f"Of the update W - W0 of each of the {self.matrices}, mean over these and over seeds; weights of the {self.at} "
            "epoch. Effective rank: exponential of the entropy of the singular values as shares of their sum. Stable rank: "
            "squared Frobenius norm over squared spectral norm. Columns touched: input "
            "columns that any link of the chain has moved."
        ]
        return [*said, *spread_remarks(cells, tables)]
