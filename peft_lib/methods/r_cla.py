"""r-cLA, random cheap LoRA: A0 selects r columns drawn once per place (paper, section 2.3 and Algorithm 2).

Algorithm 2 draws a block number and uses it as a column offset; PROTOCOL 6.4 lists the readings. Default: r distinct
columns, drawn without replacement for every place on its own.
"""

from peft_lib.methods.method import Columns, LinkContext, LowRank, Method
from peft_lib.methods.selectors import SelectorOptions, draw


def start(link: LinkContext, options: SelectorOptions) -> Columns | LowRank:
    return draw(link, options.selector)


METHOD = Method(
    id="r_cla",
    name="r-cLA",
    formula="W0 + s B A0, A0 selects r random columns",
    source="paper, section 2.3 and Algorithm 2",
    family="future",
    trains=("B",),
    start=start,
    column_sparse=True,
    options=SelectorOptions,
    dense_parent="asym_lora",
)
