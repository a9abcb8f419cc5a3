"""Models of the transformers library: their weights from a fetched folder, and their skeletons from the catalog alone.

Weights stream from safetensors, one file or many, to the device in the dtype asked for: an 8 B model in bf16 never has an
fp32 copy. Nothing draws from torch's global generator.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import logging

from peft_lib.backbones.weights import WeightsError, verified_sha256
from peft_lib.study.catalogs import ModelEntry


@dataclass(frozen=True)
class Family:
    """What is to be known of a model class of transformers."""

    kind: type[PreTrainedModel]
    config: type[PreTrainedConfig]
    blocks: str
    r"""Path of the list of blocks in a checkpoint, a pattern, e.g. r'encoder\.layer'."""
    dropped: tuple[str, ...] = ()
    """What of a checkpoint is not used, patterns for the start of names: heads of its pre-training, poolers."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Configuration of catalog entries that do not state it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    attention: str = "sdpa"


def load(
    family: Family, entry: ModelEntry, asset_dir: Path | str, dtype: torch.dtype, device: torch.device | str
) -> PreTrainedModel:
    """The first `entry.layers` blocks of the folder's model, in `dtype` on `device`, in training mode.

    Raises:
        WeightsError: if the folder lacks config.json or weights, they are not those of its manifest, do not fit the catalog
            entry, or hold something that is neither used nor known to be unused.
    """
    config = read_config(family, entry, asset_dir)
    blocks = config.num_hidden_layers
    config.num_hidden_layers = entry.layers or blocks
    with quiet():
        made: Any = family.kind.from_pretrained(
            asset_dir, config=config, local_files_only=True, use_safetensors=True, dtype=dtype,
            device_map={"": str(device)}, attn_implementation=family.attention, ignore_mismatched_sizes=True,
            output_loading_info=True, **family.arguments,
        )  # fmt: skip
    model, info = made
    _check(family, asset_dir, info, range(config.num_hidden_layers, blocks))
    if torch.device(device).type == "cpu":
        # Copies: safetensors maps the file, and a tensor's alignment there would change the last bits of products.
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
    return model.train()


def skeleton(family: Family, entry: ModelEntry) -> PreTrainedModel:
    """The same model on the meta device: shapes without weights, from the catalog alone."""
    config = catalog_config(family, entry)
    config.num_hidden_layers = _layers(entry, config, "its architecture")
    config._attn_implementation = family.attention
    with torch.device("meta"), quiet():
        return family.kind(config, **family.arguments)


def catalog_config(family: Family, entry: ModelEntry) -> PreTrainedConfig:
    """The configuration that `architecture` of the catalog states, all blocks included. Raises WeightsError."""
    facts = {**family.facts, **entry.architecture}
    try:
        with quiet():
            return family.config(**facts)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise WeightsError(f"model '{entry.id}': architecture {facts} is none of {entry.backbone}: {error}") from error


def read_config(family: Family, entry: ModelEntry, asset_dir: Path | str) -> PreTrainedConfig:
    """asset_dir/config.json, all blocks included. Raises WeightsError if it is missing, the folder is not that of its
    manifest, or it says other than the catalog."""
    path = Path(asset_dir, "config.json")
    if not path.is_file():
        raise WeightsError(f"no {path}: fetch the model first (python -m workflow_scripts.fetch_asset)")
    verified_sha256(asset_dir)
    config = family.config.from_json_file(path)
    stated = catalog_config(family, entry)
    for name in (*family.facts, *entry.architecture):
        if getattr(config, name, None) != getattr(stated, name, None):
            raise WeightsError(
                f"{path} has {name}={getattr(config, name, None)!r}, the catalog's architecture of '{entry.id}' says "
                f"{getattr(stated, name, None)!r}: correct the catalog, or fetch the model that it means"
            )
    _layers(entry, config, str(path))
    return config


def _layers(entry: ModelEntry, config: PreTrainedConfig, where: str) -> int:
    if entry.layers is not None and entry.layers > config.num_hidden_layers:
        raise WeightsError(
            f"model '{entry.id}' asks for {entry.layers} layers, {where} has {config.num_hidden_layers}: lower `layers` in "
            "the catalog"
        )
    return entry.layers or config.num_hidden_layers


def _check(family: Family, asset_dir: Path | str, info: Mapping[str, Any], cut: range) -> None:
    """Raises WeightsError unless every weight was found and everything else is known to be unused."""
    prefix = rf"({re.escape(family.kind.base_model_prefix)}\.)?"
    starts = [*family.dropped, *(rf"{family.blocks}\.{index}\." for index in cut)]
    unused = re.compile(rf"{prefix}({'|'.join(starts)})") if starts else re.compile(r"(?!)")
    problems = [f"missing {name}" for name in sorted(info["missing_keys"])]
    problems += [f"unexpected {name}" for name in sorted(info["unexpected_keys"]) if not unused.match(name)]
    problems += [f"{name} is {tuple(its)}, not {tuple(ours)}" for name, its, ours in sorted(info["mismatched_keys"])]
    problems += list(info["error_msgs"])
    if problems:
        raise WeightsError(
            f"weights of {asset_dir} do not fit the catalog's architecture: {'; '.join(problems[:5])}"
            f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}; correct its layers or architecture"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own report and progress bars: what is wrong is said by `_check`."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
