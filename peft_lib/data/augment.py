"""Augmentation of training images: mirroring, RandAugment, mixup and cutmix, drawn without any shared generator.

A `Look` says how one item looks in one epoch; all its draws come from (run seed, "augment", epoch, row). A `Plan` adds how
the item is mixed; the draws of a batch come from (run seed, "mix", epoch, first row of the effective batch), and each item
is mixed with the row before it (the first with the last), as torchvision's MixUp and CutMix do. Plans are made for an
effective batch before it is cut over processes and micro-batches, so that neither these nor the number of workers change a
pixel, and torch's global generator (dropout's) is never touched. RandAugment's operations are torchvision's.

    augmentation = Augmentation(spec, classes)
    plans = augmentation.plans(epoch, batch_rows)  # one per row, or None: nothing is active
    batch = data.collate(rows, plans)  # plans cut like the rows
    targets = augmentation.targets(data.y, plans)  # (B, classes) fp32 for F.cross_entropy, or None: classes as they are
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from peft_lib.seeds import derive_seed, generator
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from PIL.Image import Image

MAGNITUDES = 31
"""RandAugment's strengths are 0 to 30, torchvision's default scale."""


class AugmentationError(ValueError):
    """Settings of augmentation that say nothing that could be done."""


Operations = tuple[tuple[str, float], ...]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Look:
    """Row `row`, mirrored left to right or not, then changed by `operations` (name, signed magnitude) in order."""

    row: int
    flip: bool = False
    operations: Operations = ()


@dataclass(frozen=True)
class Plan:
    """One item: x = share own + (1 - share) partner, or, with a box (x1, y1, x2, y2), own with partner's pixels in the box.

    The target is share own + (1 - share) partner in both cases: under cutmix, share is the part of the area left to own.
    """

    own: Look
    partner: Look | None = None
    share: float = 1.0
    box: Box | None = None


class Augmentation:
    """What a run does to its training images; see the top of this file for its use.

    Attributes:
        active: whether anything is done at all.
    """

    def __init__(self, spec: RunSpec, classes: int | None) -> None:
        """Args: the run's spec, and how many classes it tells apart (None where it does not classify).

        Raises AugmentationError for a rand_augment that is not <operations>x<magnitude>, or mixing without classes.
        """
        self._spec, self._classes = spec, classes
        self._count, self._magnitude = rand_augment_of(spec.rand_augment) if spec.rand_augment else (0, 0)
        self._mixes = spec.mixup > 0 or spec.cutmix > 0
        if self._mixes and classes is None:
            raise AugmentationError(
                f"mixup={spec.mixup}, cutmix={spec.cutmix} mix the targets of two items, but data set "
                f"'{spec.dataset.id}' has no classes: set both to 0"
            )
        self.active = spec.flip or self._count > 0 or self._mixes

    def plans(self, epoch: int, rows: np.ndarray) -> list[Plan] | None:
        """How the items of one effective batch look in an epoch (1-based), in the order of `rows`; None: as they are."""
        if not self.active:
            return None
        looks = [self._look(epoch, int(row)) for row in rows]
        if not self._mixes:
            return [Plan(look) for look in looks]
        share, box = self._mix(epoch, int(rows[0]))
        return [Plan(look, looks[place - 1], share, box) for place, look in enumerate(looks)]

    def targets(self, y: np.ndarray, plans: Sequence[Plan] | None) -> torch.Tensor | None:
        """(B, classes) fp32 shares of each class, which add up to 1, from the classes `y` (N,) of all rows; None if none mixes.

        F.cross_entropy(logits, targets, label_smoothing=e) smooths them as it does whole classes.
        """
        if plans is None or not self._mixes or self._classes is None:
            return None
        pairs = [(y[plan.own.row], y[(plan.partner or plan.own).row]) for plan in plans]
        own, partner = torch.nn.functional.one_hot(torch.as_tensor(np.array(pairs)), self._classes).float().unbind(1)
        share = torch.tensor([plan.share for plan in plans], dtype=torch.float64)[:, None]
        return partner * (1 - share).float() + own * share.float()

    def _look(self, epoch: int, row: int) -> Look:
        draws = generator(self._spec.seed, "augment", epoch, row)
        flip = bool(torch.rand((), generator=draws) < 0.5)  # drawn in any case: the operations do not depend on it
        names = tuple(self._magnitudes) if self._count else ()
        operations = []
        for _ in range(self._count):  # in torchvision's own order of draws, which a test compares
            name = names[int(torch.randint(len(names), (), generator=draws))]
            magnitude, signed = self._magnitudes[name]
            if signed and torch.rand((), generator=draws) <= 0.5:
                magnitude *= -1
            operations.append((name, magnitude))
        return Look(row, flip and self._spec.flip, tuple(operations))

    @cached_property
    def _magnitudes(self) -> dict[str, tuple[float, bool]]:
        """Operation -> its magnitude at the run's strength and input size, and whether its sign is drawn."""
        size = self._spec.input_size
        found = {}
        for name, (scale, signed) in _rand_augment()._AUGMENTATION_SPACE.items():
            steps = scale(MAGNITUDES, size, size)
            found[name] = (0.0, False) if steps is None else (float(steps[self._magnitude]), signed)
        return found

    def _mix(self, epoch: int, first: int) -> tuple[float, Box | None]:
        """Share and box of a batch: Beta(alpha, alpha); where both mixup and cutmix are set, each in half of the batches."""
        spec, size = self._spec, self._spec.input_size
        draws = np.random.default_rng(derive_seed(spec.seed, "mix", epoch, first))
        cut = spec.cutmix > 0 and (spec.mixup == 0 or draws.random() < 0.5)
        share = float(draws.beta(spec.cutmix, spec.cutmix) if cut else draws.beta(spec.mixup, spec.mixup))
        return cut_box(share, size, (int(draws.integers(size)), int(draws.integers(size)))) if cut else (share, None)


def cut_box(share: float, size: int, centre: tuple[int, int]) -> tuple[float, Box]:
    """The box of area (1 - share) size^2 around centre (x, y), cut off at the edges; and the share that is really left."""
    half = int(0.5 * (1 - share) ** 0.5 * size)
    (x1, x2), (y1, y2) = ((max(c - half, 0), min(c + half, size)) for c in centre)
    return 1 - (x2 - x1) * (y2 - y1) / size**2, (x1, y1, x2, y2)


def rand_augment_of(text: str) -> tuple[int, int]:
    """(operations, magnitude) of e.g. "2x9"; raises AugmentationError unless at least 1 operation and 0 to 30."""
    found = re.fullmatch(r"([1-9][0-9]?)x([0-9]|[12][0-9]|30)", text)
    if not found:
        raise AugmentationError(
            f"rand_augment {text!r} is not <operations>x<magnitude>: 1 or more operations, magnitude 0 to "
            f"{MAGNITUDES - 1}, e.g. 2x9"
        )
    return int(found[1]), int(found[2])


def apply(look: Look, image: "Image") -> "Image":
    """The image (mode L or RGB, at the model's size) as the look says. Draws nothing; threads may call it together."""
    from PIL.Image import Transpose

    if look.flip:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if look.operations:
        library = _rand_augment()
        for name, magnitude in look.operations:
            image = library._apply_image_or_video_transform(
                image, name, magnitude, interpolation=library.interpolation, fill=library._fill
            )
    return image


def _rand_augment() -> Any:
    from torchvision.transforms.v2 import RandAugment  # here: only runs that use it pay for the import

    return RandAugment()
