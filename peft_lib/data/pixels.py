"""Batches of pixels from prepared images, resized when they are made.

Where all resized pixels together are small they are made once and kept; else worker threads make the items of a batch, and
those of the next batches meanwhile (Pillow and NumPy release the interpreter's lock). Every item is computed by itself, so
the number of threads changes no bit.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from peft_lib.data.augment import Look, Plan, apply
from peft_lib.data.images import MODES, cpus, decode, image_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

KEEP_BYTES = 256 * 2**20
"""Resized pixels of all rows are kept if they take no more (uint8)."""
MOST_WORKERS = 8
AHEAD = 2
"""Batches in the making while one is used."""

Rows = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class _Job:
    """A batch in the making: pixels of the items asked for and then of the partners that are no such items, one slot each."""

    slots: torch.Tensor
    tasks: list[Future[None]]
    plans: Sequence[Plan] | None
    places: dict[Look, int]
    size: int


class Pixels:
    """Images of one prepared folder as a model reads them.

    Args:
        manifest: of the folder: image_size, channels, image_mean, image_std.
        table: its rows, memory-mapped or not: only the rows of a batch are ever read.
        keep_bytes: limit of what is kept resized.
        workers: threads; 0 computes in the caller. An execution detail: results do not depend on it.
    """

    def __init__(
        self, manifest: dict, table: pa.Table, keep_bytes: int = KEEP_BYTES, workers: int | None = None
    ) -> None:
        self.workers = min(MOST_WORKERS, cpus()) if workers is None else workers
        self._mode = MODES[manifest["channels"]]
        self._source = image_pixels(table) if "image" in table.column_names else table["encoded"]
        self._size = int(manifest["image_size"])
        self._mean, self._std = (
            torch.tensor(manifest[f"image_{name}"], dtype=torch.float32)[:, None, None] for name in ("mean", "std")
        )
        # (C, 256): what each value 0..255 of a channel becomes
        self._values = self._normalised(torch.arange(256, dtype=torch.uint8)[None])[:, 0].numpy()
        self.shape = (manifest["channels"], self._size, self._size)
        self._kept: np.ndarray | None = None
        if len(table) * int(np.prod(self.shape)) <= keep_bytes:
            self._kept = self._resized(len(table))

    def batch(self, rows: Rows, plans: Sequence[Plan] | None = None) -> torch.Tensor:
        """(B, C, H, W) fp32 of the rows in their order: (value / 255 - mean) / std per channel; see `stream`."""
        return self._finish(self._start(rows, plans))

    def stream(self, requests: Iterable[tuple[Rows, Sequence[Plan] | None]]) -> Iterator[torch.Tensor]:
        """What `batch` gives for each request, in order; the threads meanwhile work on the next ones.

        A request is rows, and how to augment them (data/augment.py: one plan per row), or None: as they are.
        """
        waiting: deque[_Job] = deque()
        try:
            for rows, plans in requests:
                waiting.append(self._start(rows, plans))
                if len(waiting) > (AHEAD if self.workers else 0):
                    yield self._finish(waiting.popleft())
            while waiting:
                yield self._finish(waiting.popleft())
        finally:  # left early: nobody wants the rest
            for task in (task for job in waiting for task in job.tasks):
                task.cancel()

    def _start(self, rows: Rows, plans: Sequence[Plan] | None) -> _Job:
        rows = np.asarray(rows, dtype=np.int64)
        if plans is None and self._kept is not None:
            pixels = torch.from_numpy(np.ascontiguousarray(self._kept[rows].transpose(0, 3, 1, 2)))
            return _Job(self._normalised(pixels), [], None, {}, len(rows))
        looks = [Look(int(row)) for row in rows] if plans is None else [plan.own for plan in plans]
        if [look.row for look in looks] != rows.tolist():
            raise ValueError(f"plans are for rows {[look.row for look in looks]}, asked for are {rows.tolist()}")
        places = {look: place for place, look in enumerate(looks)}
        for plan in plans or ():
            if plan.partner is not None and plan.partner not in places:
                places[plan.partner] = len(looks)
                looks.append(plan.partner)
        slots = self._empty(len(looks))
        tasks: list[Future[None]] = []
        for look, slot in zip(looks, slots.numpy(), strict=True):
            if self.workers:
                tasks.append(self._pool.submit(self._make, look, slot))
            else:
                self._make(look, slot)
        return _Job(slots, tasks, plans, places, len(rows))

    def _empty(self, count: int) -> torch.Tensor:
        """(count, C, H, W) fp32, with the strides of the batches of kept pixels: a convolution's last bits depend on them."""
        channels, height, width = self.shape
        if channels == 1:
            return torch.empty(count, height, width, 1).permute(0, 3, 1, 2)
        return torch.empty(count, channels, height, width)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.to(torch.float32) / 255 - self._mean) / self._std

    def _finish(self, job: _Job) -> torch.Tensor:
        for task in job.tasks:
            task.result()
        if job.plans is None or all(plan.partner is None for plan in job.plans):
            return job.slots[: job.size]
        mixed = self._empty(job.size)
        for place, plan in enumerate(job.plans):
            own = job.slots[place]
            partner = own if plan.partner is None else job.slots[job.places[plan.partner]]
            if plan.box is None:
                mixed[place] = partner * (1 - plan.share) + own * plan.share
            else:
                x1, y1, x2, y2 = plan.box
                mixed[place] = own
                mixed[place, :, y1:y2, x1:x2] = partner[:, y1:y2, x1:x2]
        return mixed

    def _make(self, look: Look, slot: np.ndarray) -> None:
        """Fills a slot (C, H, W) fp32 with one item."""
        image = np.asarray(apply(look, self._image(look.row))).reshape(self._size, self._size, -1)
        for channel, values in enumerate(self._values):
            np.take(values, image[..., channel], out=slot[channel], mode="clip")

    def _image(self, row: int) -> "Image":
        """A picture at the model's size: converted to its channels, then resized straight to a square, bilinear, antialiased."""
        from PIL import Image

        if self._kept is not None:
            return _picture(self._kept[row])
        if isinstance(self._source, np.ndarray):
            image = _picture(self._source[row])
            image = image if image.mode == self._mode else image.convert(self._mode)
        else:
            image = decode(self._source[row].as_buffer(), self._mode)
        if image.size == (self._size, self._size):
            return image
        return image.resize((self._size, self._size), Image.Resampling.BILINEAR)

    def _resized(self, count: int) -> np.ndarray:
        """All pictures, uint8 (N, H, W, C): the prepared file's own memory where it has this form already."""
        channels, height, width = self.shape
        if isinstance(self._source, np.ndarray) and self._source.shape[1:] == (height, width, channels):
            return self._source
        made = np.empty((count, height, width, channels), dtype=np.uint8)

        def make(row: int) -> None:
            made[row] = np.asarray(self._image(row)).reshape(height, width, channels)

        list(self._pool.map(make, range(count)) if self.workers else map(make, range(count)))
        return made

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="pixels")


def _picture(pixels: np.ndarray) -> "Image":
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
