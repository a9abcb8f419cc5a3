"""PaCA: r random columns of W are themselves the parameters (Woo et al. 2025; paper, section 2.3 and B).

P = W[:, cols] / s trains, and W[:, cols] = s P replaces the columns, so with the same selection P = const + B and every
optimiser without weight decay takes r-cLA's steps (PROTOCOL 13.40; a test). Runs in place by default: no side product
in the forward pass, and only the r selected inputs kept for the backward pass.
"""

from peft_lib.methods.method import Method
from peft_lib.methods.r_cla import start
from peft_lib.methods.selectors import SparseSelectorOptions

METHOD = Method(
    id="paca",
    name="PaCA",
    formula="W[:, cols] = s P, cols random",
    source="paper, section 2.3 and appendix B",
    family="paca",
    trains=("P",),
    start=start,
    column_sparse=True,
    options=SparseSelectorOptions,
    default_execution="inplace",
    twin="r_cla",
)
