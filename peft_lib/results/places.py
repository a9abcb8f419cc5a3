"""Keys of adapted places, as diagnostics give them: which layer a place is in, which kind it is of, and names that end its key."""

import re
from collections.abc import Iterable


def ends(place: str, names: Iterable[str] | None) -> bool:
    """Whether one of the names ends the key, as under `targets` of the catalog: 'value', 'attn.qkv[128:192]'. None: all do."""
    return names is None or any(place == name or place.endswith(f".{name}") for name in names)


def layer_of(place: str) -> int:
    """The first number in the path: 3 of 'encoder.layer.3.attention.self.query'. 0 where it has none."""
    found = re.search(r"(?:^|\.)(\d+)(?=\.)", place)
    return int(found[1]) if found else 0


def kind_of(place: str) -> str:
    """What is the same in every layer, without what leads to the layers: 'attention.self.query', 'attn.qkv[0:64]'."""
    return re.split(r"(?:^|\.)\d+\.", place, maxsplit=1)[-1]
