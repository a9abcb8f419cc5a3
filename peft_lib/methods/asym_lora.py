"""Asymmetric LoRA: LoRA with A ~ N(0, 0.02^2) frozen; B alone trains (Zhu et al. 2024; paper, section 2.2)."""

from peft_lib.methods.lora import start
from peft_lib.methods.method import Method

METHOD = Method(
    id="asym_lora",
    name="Asym",
    formula="W0 + s B A0, A0 frozen",
    source="paper, section 2.2",
    family="present",
    trains=("B",),
    start=start,
)
