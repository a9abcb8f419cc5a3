"""Where a run's time goes: wall seconds by phase and processor seconds, over all attempts."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

PHASES = ("setup", "train", "eval", "save")


class Clock:
    """Starts when it is made. Seconds of earlier attempts are added with `add`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys((*PHASES, "cpu"), 0.0)
        self._cpu_start = time.process_time()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the wall time of the block to a phase; waits for the accelerator, or its work would count elsewhere."""
        start = time.perf_counter()
        try:
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        finally:
            self.seconds[name] += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Seconds up to now: one entry per phase, and 'cpu' of this process."""
        return {**self.seconds, "cpu": self.seconds["cpu"] + time.process_time() - self._cpu_start}

    def add(self, earlier: Mapping[str, float]) -> None:
        for name, value in earlier.items():
            self.seconds[name] += value
