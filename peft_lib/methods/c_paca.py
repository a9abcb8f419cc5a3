"""C-PaCA: PaCA whose columns are redrawn at every chain reset, P read anew from the current W (appendix B.1).

On the same selections it is r-c3LA.
"""

from peft_lib.methods.method import Method
from peft_lib.methods.selectors import SparseChainOptions, next_selection

METHOD = Method(
    id="c_paca",
    name="C-PaCA",
    formula="W[:, cols_j] = s P_j, cols_j redrawn at resets",
    source="paper, appendix B.1",
    family="paca",
    trains=("P",),
    start=next_selection,
    chains=True,
    column_sparse=True,
    options=SparseChainOptions,
    default_execution="inplace",
    twin="r_c3la",
)
