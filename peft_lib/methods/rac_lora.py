"""RAC-LoRA: chained Asymmetric LoRA. At a reset W += s B A0, A0 is redrawn (and stays frozen), B = 0.

Source: paper, section 2.2 (Malinovsky et al. 2024). A part of the release trains A here, which makes it CoLA.
"""

from peft_lib.methods.lora import start
from peft_lib.methods.method import Method

METHOD = Method(
    id="rac_lora",
    name="RAC",
    formula="W0 + s sum_j B_j A0_j, A0_j frozen",
    source="paper, section 2.2",
    family="present",
    trains=("B",),
    start=start,
    chains=True,
)
