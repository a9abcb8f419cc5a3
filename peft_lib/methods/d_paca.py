"""D-PaCA: PaCA on the first r columns of W, cLA's columns (paper, appendix B.1)."""

from peft_lib.methods.cla import start
from peft_lib.methods.method import Method

METHOD = Method(
    id="d_paca",
    name="D-PaCA",
    formula="W[:, :r] = s P",
    source="paper, appendix B.1",
    family="paca",
    trains=("P",),
    start=start,
    column_sparse=True,
    default_execution="inplace",
    twin="cla",
)
