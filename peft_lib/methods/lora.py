"""LoRA: y = W0 x + s B A x, with A ~ N(0, 0.02^2), B = 0 at the start, both trained; s = alpha / r.

Source: paper, section 2.2 and Table 7's caption (Hu et al. 2022).
"""

from peft_lib.methods.method import LinkContext, LowRank, Method, Options
from peft_lib.methods.selectors import INIT_STD


def start(link: LinkContext, options: Options) -> LowRank:
    return LowRank(link.normal(INIT_STD))


METHOD = Method(
    id="lora",
    name="LoRA",
    formula="W0 + s B A",
    source="paper, section 2.2",
    family="past",
    trains=("A", "B"),
    start=start,
    lr_group="lora",
)
