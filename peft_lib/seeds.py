"""Stateless seeds: every consumer of randomness derives its own generator from (run seed, names...).

Because no generator is shared, nothing needs saving for a resume, and adding a consumer shifts no other. Generators live
on the CPU, so a GPU run draws the same numbers.
"""

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """63-bit seed: SHA-256 over the run seed and the consumer's names, e.g. derive_seed(12, "order", epoch)."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """CPU generator for one consumer, independent of every other (seed, names) pair."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
