"""Augmentation: torchvision's pictures, drawn so that neither processes, micro-batches nor workers change one."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import v2

from peft_lib.data.augment import Augmentation, AugmentationError, Look, apply, cut_box, rand_augment_of
from peft_lib.data.image_input import image_columns
from peft_lib.data.pixels import Pixels
from peft_lib.seeds import derive_seed
from tests.runs import spec_of
from tests.unit.test_images import COLOUR, colour_table

SIZE, CLASSES, SEED = 24, 3, 12
TABLE, FACTS = image_columns(colour_table(40), SIZE, COLOUR, None)
Y = TABLE["label"].to_numpy().astype(np.int64)
EVERYTHING = {"flip": True, "rand_augment": "2x9", "mixup": 0.8, "cutmix": 1.0}


def augmentation(**settings) -> Augmentation:
    return Augmentation(spec_of("lora", seed=SEED, input_size=SIZE, **settings), CLASSES)


def plain() -> torch.Tensor:
    return Pixels(FACTS, TABLE).batch(range(40))


def test_nothing_is_done_unless_asked():
    nothing = augmentation(label_smoothing=0.1)
    assert not nothing.active
    assert nothing.plans(1, np.arange(8)) is None and nothing.targets(Y, None) is None


def test_half_of_the_items_are_mirrored_anew_in_each_epoch():
    flip, rows = augmentation(flip=True), np.arange(4000)
    drawn = [[plan.own.flip for plan in flip.plans(epoch, rows)] for epoch in (1, 2)]
    for flips in drawn:
        assert abs(np.mean(flips) - 0.5) < 4 * 0.5 / 4000**0.5  # four standard errors
    assert abs(np.corrcoef(*drawn)[0, 1]) < 4 / 4000**0.5
    plans = flip.plans(1, np.arange(40))
    batch = Pixels(FACTS, TABLE).batch(range(40), plans)
    for item, before, plan in zip(batch, plain(), plans, strict=True):
        assert torch.equal(item, before.flip(-1) if plan.own.flip else before)
    assert flip.targets(Y, plans) is None


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("setting", ["1x0", "2x9", "3x30"])
def test_rand_augment_is_torchvisions(mode, setting):
    """The same seed in torch's global generator gives the same operations and pixels there."""
    ours, (count, magnitude) = augmentation(rand_augment=setting), rand_augment_of(setting)
    library = v2.RandAugment(count, magnitude)
    names = set()
    for row in range(60):
        pixels = np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        look = ours.plans(3, np.array([row]))[0].own
        names |= {name for name, _ in look.operations}
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(SEED, "augment", 3, row))
            torch.rand(())  # the draw of mirroring comes first
            expected = library(image)
        assert not look.flip and np.array_equal(np.asarray(apply(look, image)), np.asarray(expected))
    assert len(names) > 10


def test_operations_do_not_depend_on_mirroring():
    one, two = (augmentation(rand_augment="2x9", flip=flip).plans(1, np.arange(30)) for flip in (False, True))
    assert [plan.own.operations for plan in one] == [plan.own.operations for plan in two]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_is_torchvisions(kind):
    ours, rows = augmentation(**{kind: 1.0}), np.random.default_rng(0).permutation(40)[:17]
    plans = ours.plans(2, rows)
    batch, targets = Pixels(FACTS, TABLE).batch(rows, plans), ours.targets(Y, plans)
    images, labels = plain()[rows], torch.from_numpy(Y[rows])
    share, box = plans[0].share, plans[0].box
    assert all((plan.share, plan.box) == (share, box) for plan in plans)
    library = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[kind](num_classes=CLASSES)
    library.make_params = lambda inputs: {"lam": share, "lam_adjusted": share, "box": box}
    expected, expected_targets = library(images, labels)
    assert torch.equal(batch, expected) and torch.equal(targets, expected_targets)
    assert not torch.equal(batch, images)


def test_the_box_of_cutmix_is_torchvisions():
    library = v2.CutMix(num_classes=2)
    for seed in range(200):
        torch.manual_seed(seed)
        share = float(library._dist.sample(()))
        x, y = int(torch.randint(SIZE, (1,))), int(torch.randint(SIZE, (1,)))
        torch.manual_seed(seed)
        found = library.make_params([torch.zeros(1, 3, SIZE, SIZE)])
        left, box = cut_box(share, SIZE, (x, y))
        assert box == found["box"] and left == found["lam_adjusted"]


def test_mixtures_have_the_distribution_asked_for_and_take_turns():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)); with both set, each kind has half of the batches."""
    alpha, batches = 0.4, 3000
    drawn = augmentation(mixup=alpha)
    shares = np.array([drawn.plans(1, np.array([row]))[0].share for row in range(batches)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * (variance / batches) ** 0.5
    assert abs(shares.var() / variance - 1) < 0.1
    both = augmentation(mixup=alpha, cutmix=1.0)
    cut = np.mean([both.plans(1, np.array([row]))[0].box is not None for row in range(batches)])
    assert abs(cut - 0.5) < 4 * 0.5 / batches**0.5
    assert augmentation(mixup=alpha).plans(1, np.arange(4)) != augmentation(mixup=alpha).plans(2, np.arange(4))


def test_soft_targets_add_up_to_one_and_can_be_smoothed():
    ours, rows = augmentation(**EVERYTHING), np.arange(40)
    logits = torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(0))
    for epoch in range(1, 9):
        plans = ours.plans(epoch, rows)
        targets = ours.targets(Y, plans)
        assert targets.shape == (40, CLASSES) and targets.dtype == torch.float32 and targets.min() >= 0
        assert torch.allclose(targets.sum(1), torch.ones(40), atol=1e-6)  # two roundings of numbers up to 1
        smooth = 0.9 * targets + 0.1 / CLASSES
        expected = -(smooth * logits.log_softmax(-1)).sum()
        assert F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum") == pytest.approx(
            float(expected), rel=1e-5
        )


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("keep_bytes", [0, 2**30], ids=["lazy", "kept"])
def test_no_bit_depends_on_processes_micro_batches_or_workers(workers, keep_bytes):
    """The effective batch is planned, then its rows and plans are cut alike: each item is what it is in the whole batch."""
    ours, rows = augmentation(**EVERYTHING), np.random.default_rng(3).permutation(40)[:19]
    pixels = Pixels(FACTS, TABLE, keep_bytes=keep_bytes, workers=workers)
    for epoch in (1, 2, 5):  # mixup and cutmix both occur
        plans = ours.plans(epoch, rows)
        whole, targets = Pixels(FACTS, TABLE, workers=0).batch(rows, plans), ours.targets(Y, plans)
        for processes, micro in ((1, 19), (1, 4), (2, 5), (3, 1)):
            cuts = [
                slice(rank + start * processes, rank + (start + micro) * processes, processes)
                for rank in range(processes)
                for start in range(0, 19, micro)
            ]
            cuts = [cut for cut in cuts if len(rows[cut])]
            batches = pixels.stream((rows[cut], plans[cut]) for cut in cuts)
            for batch, cut in zip(batches, cuts, strict=True):
                assert torch.equal(batch, whole[cut])
                assert torch.equal(ours.targets(Y, plans[cut]), targets[cut])
    kinds = {plans[0].box is None for plans in (ours.plans(epoch, rows) for epoch in (1, 2, 5))}
    assert kinds == {True, False}


def test_no_shared_generator_is_touched():
    torch.rand(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    ours = augmentation(**EVERYTHING)
    for workers in (0, 2):
        Pixels(FACTS, TABLE, keep_bytes=0, workers=workers).batch(range(40), ours.plans(1, np.arange(40)))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1]) and states[2] == random.getstate()  # noqa: NPY002


def test_batches_without_plans_are_never_augmented():
    pixels = Pixels(FACTS, TABLE, keep_bytes=0)
    before = pixels.batch(range(40))
    pixels.batch(range(40), augmentation(**EVERYTHING).plans(1, np.arange(40)))
    assert torch.equal(pixels.batch(range(40)), before) and torch.equal(before, plain())


def test_plans_of_other_rows_are_refused():
    plans = augmentation(flip=True).plans(1, np.array([3, 4]))
    with pytest.raises(ValueError, match=r"plans are for rows \[3, 4\], asked for are \[4, 3\]"):
        Pixels(FACTS, TABLE).batch([4, 3], plans)


def test_a_batch_that_is_left_early_leaves_the_pixels_usable():
    pixels = Pixels(FACTS, TABLE, keep_bytes=0, workers=2)
    stream = pixels.stream(([n], None) for n in range(40))
    assert torch.equal(next(stream)[0], plain()[0])
    stream.close()
    assert torch.equal(pixels.batch([7])[0], plain()[7])


@pytest.mark.parametrize("text", ["", "2", "2x", "x9", "0x9", "2x31", "2x9.5", "-1x9", "2 x 9", "2x09", "two"])
def test_what_is_no_rand_augment_is_refused(text):
    with pytest.raises(AugmentationError, match="operations>x<magnitude>"):
        rand_augment_of(text)


def test_mixing_without_classes_is_refused():
    with pytest.raises(AugmentationError, match="has no classes: set both to 0"):
        Augmentation(spec_of("lora", mixup=0.2), None)
    assert Augmentation(spec_of("lora", flip=True), None).active


def test_a_look_says_all_about_an_item():
    assert Look(3) == Look(3) != Look(3, True)
