"""Full fine-tuning: every weight of the backbone and the head train. The paper's first baseline (FFT)."""

from peft_lib.methods.method import Method

METHOD = Method(
    id="fft",
    name="FFT",
    formula="W <- W - lr * grad",
    source="paper, section 2.1",
    family="past",
    trains=("backbone",),
    lr_group="fft",
)
