"""The other processes of a run. One that runs out of memory tells them, or they would wait for it in a collective."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from torch import distributed
from torch.distributed import distributed_c10d

POLL_SECONDS = 1.0


class Peers:
    """Says, and hears, through the process group's store, which needs no collective: `failure` is what a peer said.

    gloo: a peer that leaves closes its connections, which ends every wait for it with an error. NCCL waits on, so there a
    thread looks at the store and aborts the group.
    """

    def __init__(self, accelerator: Accelerator, run_id: str) -> None:
        self.key = f"peft_lib/out_of_memory/{run_id}"
        self.store = distributed_c10d._get_default_store() if accelerator.num_processes > 1 else None
        self.nccl = self.store is not None and distributed.get_backend() == "nccl"

    @property
    def failure(self) -> str | None:
        """Why a peer (or this process) ran out of memory; None if none did."""
        if self.store is None or not self.store.check([self.key]):
            return None
        return self.store.get(self.key).decode()

    def report(self, reason: str) -> None:
        """Says that this process ran out of memory; no collective may follow."""
        if self.store is not None and not self.store.check([self.key]):
            self.store.set(self.key, reason)
        self.abort()

    def abort(self) -> None:
        if self.nccl and distributed.is_initialized():
            distributed_c10d._abort_process_group()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, a peer's failure ends this process's waits with an error."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(POLL_SECONDS):
                if self.failure is not None:
                    self.abort()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        if self.nccl:
            thread.start()
        try:
            yield
        finally:
            done.set()
            if self.nccl:
                thread.join()
