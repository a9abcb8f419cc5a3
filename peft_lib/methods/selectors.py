"""Which r input columns a sparse method touches: the definitions of PROTOCOL section 6.4, letters as there."""

from typing import Literal

from pydantic import model_validator

from peft_lib.methods.method import Columns, LinkContext, LowRank, Options

INIT_STD = 0.02
"""Standard deviation of every Gaussian A (paper, section 4.1)."""


def windows(d_in: int, rank: int, remainder: Literal["wrap", "drop"] = "wrap") -> list[int]:
    """Start offsets of the circulant windows of width r: 0, r, 2r, ...

    Where r does not divide d_in, 'wrap' adds a last window flush right, so that every column is covered before the
    offsets return to 0; 'drop' leaves the d_in mod r trailing columns out (the release).
    """
    starts = list(range(0, d_in - rank + 1, rank))
    if remainder == "wrap" and d_in % rank:
        starts.append(d_in - rank)
    return starts


def window(start: int, rank: int) -> Columns:
    return Columns(tuple(range(start, start + rank)))


class SparseSelectorOptions(Options):
    """Options of methods that draw columns of W."""

    selector: Literal["columns", "aligned", "window"] = "columns"
    """(d) r distinct columns; (c) a window at a multiple of r; (f) a window anywhere."""


class SelectorOptions(Options):
    """Options of the random twins of cLA, which may also have (h), a dense A ~ N(0, 0.02^2), as the release does."""

    selector: Literal["columns", "aligned", "window", "gaussian"] = "columns"


class _Draw(Options):
    draw: Literal["independent", "without_replacement"] = "independent"
    """At a reset: an independent draw (Algorithm 4), or the next share of a random order of everything."""

    @model_validator(mode="after")
    def _drawable(self) -> "_Draw":
        selector = getattr(self, "selector", "columns")
        if self.draw == "without_replacement" and selector not in ("columns", "aligned"):
            raise ValueError(
                f"draw: without_replacement with selector {selector!r}: only 'columns' and 'aligned' can be used up"
            )
        return self


class ChainOptions(_Draw, SelectorOptions):
    """Options of r-c3LA."""


class SparseChainOptions(_Draw, SparseSelectorOptions):
    """Options of C-PaCA."""


def next_selection(link: LinkContext, options: ChainOptions | SparseChainOptions) -> Columns | LowRank:
    """Link j's selection under either way of drawing."""
    if options.draw == "without_replacement":
        return draw_without_replacement(link, options.selector)
    return draw(link, options.selector)


def draw(link: LinkContext, selector: str) -> Columns | LowRank:
    """One independent draw for one place and link."""
    match selector:
        case "columns":
            return Columns(tuple(sorted(link.permutation(link.d_in)[: link.rank])))
        case "aligned":
            starts = windows(link.d_in, link.rank, "drop")
            return window(starts[link.integer(len(starts))], link.rank)
        case "window":
            return window(link.integer(link.d_in - link.rank + 1), link.rank)
        case "gaussian":
            return LowRank(link.normal(INIT_STD))
        case _:
            raise ValueError(f"selector {selector!r}: use columns, aligned, window or gaussian")


def draw_without_replacement(link: LinkContext, selector: str) -> Columns:
    """Link j's share of a random order of all columns (or aligned windows); a new order once it is used up.

    Whole shares only: with r not dividing d_in, the last d_in mod r columns of each order are skipped.
    """
    shares = link.d_in // link.rank
    cycle, position = divmod(link.index, shares)
    if selector == "aligned":
        return window(link.rank * link.permutation(shares, cycle)[position], link.rank)
    order = link.permutation(link.d_in, cycle)
    return Columns(tuple(sorted(order[position * link.rank : (position + 1) * link.rank])))
