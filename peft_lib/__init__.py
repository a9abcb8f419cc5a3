"""Adapters, studies and reports for "Beyond LoRA: Is Sparsity-Induced Adaptation Better?" (arXiv 2606.13767).

`from peft_lib import adapt` gives the adapter library; it loads torch on first use. Importing peft_lib does not.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["adapt", "check", "read_delta"]


def __getattr__(name: str) -> Any:
    if name == "adapt":
        from peft_lib.layers.adapter import adapt

        return adapt
    if name == "check":
        from peft_lib.layers.checking import check

        return check
    if name == "read_delta":
        from peft_lib.layers.delta_file import read_delta

        return read_delta
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
