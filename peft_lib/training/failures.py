"""Ends of a run that are results: it diverged, or there was not enough memory."""

import torch


class Diverged(Exception):
    """The loss is no longer finite."""


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises its own type; the CPU allocator raises a plain RuntimeError with this text."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
