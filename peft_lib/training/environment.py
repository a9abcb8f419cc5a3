"""The environment of a run: what launchers and users left there for Accelerate does not reach it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from peft_lib.training.errors import RunError

SETTINGS = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_")
"""Accelerate and its plug-ins take defaults from variables that begin so; a run's settings are its own arguments."""

RENDEZVOUS = ("TORCHELASTIC_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
RANKS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "FORK_LAUNCHED",
)  # fmt: skip


def is_foreign(name: str, alone: bool = True) -> bool:
    """Whether a variable is a setting of Accelerate, or, for a process that is alone, tells it of others."""
    return name.startswith(SETTINGS) or (alone and (name.startswith(RENDEZVOUS) or name in RANKS))


@contextmanager
def own_environment(processes: int) -> Iterator[None]:
    """Hides Accelerate's variables; and for a single process those that would make it wait for others.

    Raises RunError if several processes are asked for and this one was not started as one of that many.
    """
    world = os.environ.get("WORLD_SIZE")
    if processes > 1 and world != str(processes):
        raise RunError(
            f"processes: {processes}, but WORLD_SIZE is {world or 'not set'}: start the run with "
            f"torchrun --standalone --nproc_per_node {processes} --module workflow_scripts.train"
        )
    names = [name for name in os.environ if is_foreign(name, alone=processes == 1)]
    removed = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(removed)
