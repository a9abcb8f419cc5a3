"""r-c3LA: r-cLA with a new selection at every chain reset (paper, section 2.3 and Algorithm 4).

Default: independent draws of r distinct columns (PROTOCOL 13.12). `draw: without_replacement` walks through a random
order of all columns, or of the aligned windows {0, r, 2r, ...} as the release's README has it.
"""

from peft_lib.methods.method import Method
from peft_lib.methods.selectors import ChainOptions, next_selection

METHOD = Method(
    id="r_c3la",
    name="r-c3LA",
    html="r-c<sup>3</sup>LA",
    latex="r-c$^3$LA",
    formula="W0 + s sum_j B_j A_j, A_j selects r random columns",
    source="paper, section 2.3 and Algorithm 4",
    family="future",
    trains=("B",),
    start=next_selection,
    chains=True,
    column_sparse=True,
    options=ChainOptions,
    dense_parent="rac_lora",
)
