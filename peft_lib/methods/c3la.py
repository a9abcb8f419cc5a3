"""c3LA, chained circulant cheap LoRA: link j adapts columns jr .. (j+1)r - 1, window by window to the right.

At a reset W += s B A_j in fp32, the window moves on by r, B = 0 (paper, section 2.3 and Algorithm 3; the text says
'left', formula and example go right). Past the end the windows start again at 0; where r does not divide d_in, the last
window lies flush right first ('wrap', PROTOCOL 13.10) or the remainder is never adapted ('drop', the release).
"""

from typing import Literal

from peft_lib.methods.method import Columns, LinkContext, Method, Options
from peft_lib.methods.selectors import window, windows


class C3laOptions(Options):
    remainder: Literal["wrap", "drop"] = "wrap"


def start(link: LinkContext, options: C3laOptions) -> Columns:
    starts = windows(link.d_in, link.rank, options.remainder)
    return window(starts[link.index % len(starts)], link.rank)


METHOD = Method(
    id="c3la",
    name="c3LA",
    html="c<sup>3</sup>LA",
    latex="c$^3$LA",
    formula="W0 + s sum_j B_j [0 | I_r at column jr | 0]",
    source="paper, section 2.3, Proposition 1 and Algorithm 3",
    family="future",
    trains=("B",),
    start=start,
    chains=True,
    column_sparse=True,
    options=C3laOptions,
    dense_parent="rac_lora",
)
