"""CoLA, chain of LoRA: at a reset W += s B A, then A is redrawn and B = 0 (Xia et al. 2024; paper, section 2.2)."""

from peft_lib.methods.lora import start
from peft_lib.methods.method import Method

METHOD = Method(
    id="cola",
    name="CoLA",
    formula="W0 + s sum_j B_j A_j",
    source="paper, section 2.2",
    family="present",
    trains=("A", "B"),
    start=start,
    chains=True,
    lr_group="lora",
)
