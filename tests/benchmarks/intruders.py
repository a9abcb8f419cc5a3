"""What intruder dimensions of a model's matrices cost, with and without the singular vectors of its weights on disk.

`python -m tests.benchmarks.intruders FOLDER --base none` counts the intruders of one run (made up, LoRA's rank 8) and prints the
counts; `measure` does so for each way, each in a process of its own.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.measure import Taken, take

MATRICES, SIZE, RANK = 24, 768, 8
"""Queries and values of RoBERTa-Base or ViT-Base; PROTOCOL section 9."""


def measure(folder: Path, root: Path, matrices: int = MATRICES, size: int = SIZE) -> Iterator[Taken]:
    """Seconds of the SVDs of trained weights alone, and of counting with W0's computed anew, stored, and read."""
    command = [sys.executable, "-m", "tests.benchmarks.intruders", str(folder / "spectra")]
    command += ["--matrices", str(matrices), "--size", str(size)]
    what = f"{matrices} matrices of {size} x {size}"
    yield take(f"SVDs of {what}", [*command, "--base", "alone"], root)[0]
    plain, counts = take(f"intruders of {what}, no cache", [*command, "--base", "none"], root, f"SVDs of {what}")
    yield plain
    for state in ("empty", "filled"):
        taken, said = take(f"intruders of {what}, cache {state}", [*command, "--base", "cache"], root, plain.what)
        assert said == counts, f"{taken.what}: the counts differ from those without a cache: {said} {counts}"
        yield taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", choices=("alone", "none", "cache"), required=True)
    parser.add_argument("--matrices", type=int, default=MATRICES)
    parser.add_argument("--size", type=int, default=SIZE)
    options = parser.parse_args()

    import torch

    from peft_lib.analysis.base_spectra import BaseSpectra
    from peft_lib.analysis.intruders import count, intruder_cosines
    from peft_lib.analysis.singular import singular_vectors
    from peft_lib.diagnostics.intruders import THRESHOLDS

    spectra = BaseSpectra(options.folder, "0" * 64)
    totals = torch.zeros(len(THRESHOLDS), dtype=torch.int64)
    for number in range(options.matrices):
        draw = torch.Generator().manual_seed(number)
        before = torch.randn(options.size, options.size, generator=draw) / options.size**0.5
        b, a = (torch.randn(shape, generator=draw) for shape in ((options.size, RANK), (RANK, options.size)))
        after = before + 0.3 * (b @ a) / options.size
        if options.base == "alone":
            singular_vectors(after)
            continue
        base = spectra.of(f"layer.{number}", before) if options.base == "cache" else singular_vectors(before)
        totals += torch.tensor(count(intruder_cosines(before, after, base), THRESHOLDS))
    print(totals.tolist())


if __name__ == "__main__":
    main()
