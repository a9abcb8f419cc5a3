"""Ends of a run that are results: it diverged, or there was not enough memory."""

import errno

import torch

from peft_lib.names import first_line

SIGNS = ("out of memory", "_STATUS_ALLOC_FAILED", "can't allocate memory")
"""In plain RuntimeErrors of CUDA ('CUDA error: out of memory'), cuBLAS and cuDNN, and torch's CPU allocator."""


class Diverged(Exception):
    """The loss is no longer finite."""


def out_of_memory_reason(error: BaseException) -> str | None:
    """First line of the error, if it says that memory ran out; None for any other error."""
    short = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    )
    if short or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)):
        return first_line(error)
    return None
