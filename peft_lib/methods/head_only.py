"""Linear probe: the backbone stays frozen and the classification head alone trains.

Not in the paper. It is the floor that every adapter has to beat, so the default study includes it.
"""

from peft_lib.methods.method import Method

METHOD = Method(
    id="head_only",
    name="Head only",
    formula="W fixed",
    source="ours: baseline without any adaptation of the backbone",
    family="baseline",
    trains=(),
    floor=True,
)
