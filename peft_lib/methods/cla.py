"""cLA, cheap LoRA: A0 = [I_r | 0] frozen, so B adapts the first r input columns of W (paper, Algorithm 1).

y = W0 x + s B x[:r]. It is Asymmetric LoRA with a selector for A0, and D-PaCA with another parameter.
"""

from peft_lib.methods.method import Columns, LinkContext, Method, Options
from peft_lib.methods.selectors import window


def start(link: LinkContext, options: Options) -> Columns:
    return window(0, link.rank)


METHOD = Method(
    id="cla",
    name="cLA",
    formula="W0 + s B [I_r | 0]",
    source="paper, section 2.3 and Algorithm 1",
    family="future",
    trains=("B",),
    start=start,
    column_sparse=True,
    dense_parent="asym_lora",
)
