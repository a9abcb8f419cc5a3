"""LoRA+: LoRA whose B learns `ratio` times as fast as A (Hayou et al. 2024; paper, section 2.2).

`anchor` says which factor carries the tabled learning rate. Default B (PROTOCOL 13.6): A learns at lr / ratio, which is
stable; with anchor A, B learns at lr * ratio. The release of the RoBERTa code base did both at once: 256.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from peft_lib.methods.lora import start
from peft_lib.methods.method import Method, Options


class LoraPlusOptions(Options):
    ratio: float = Field(16.0, gt=0, description="learning rate of B divided by that of A")
    anchor: Literal["A", "B"] = Field("B", description="the factor whose learning rate is the tabled one")


def multipliers(options: LoraPlusOptions) -> Mapping[str, float]:
    return {"A": 1 / options.ratio} if options.anchor == "B" else {"B": options.ratio}


METHOD = Method(
    id="lora_plus",
    name="LoRA+",
    formula="W0 + s B A, lr_B = 16 lr_A",
    source="paper, section 2.2; Table 7's caption",
    family="present",
    trains=("A", "B"),
    start=start,
    options=LoraPlusOptions,
    lr_group="lora",
    lr_multipliers=multipliers,
)
