"""Greedy decoding of the answers to a set of prompts, batched with left padding."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from peft_lib.data.batches import PreparedText
from peft_lib.training.assemble import Assembled
from peft_lib.training.batching import batches
from peft_lib.training.build import to_device
from peft_lib.training.errors import RunError

DECODE_BATCH = 64
DECODE_TOKENS = 128 * 256
"""Largest decoding batch: prompts, and tokens of prompts (with padding) and answers together."""


@torch.no_grad()
def decode(parts: Assembled, rows: np.ndarray, accelerator: Accelerator, batch_limit: int | None = None) -> np.ndarray:
    """(N,) one line of text per row (object): the most probable token at every step, up to EOS, the end of the line or
    the task's MAX_NEW_TOKENS (PROTOCOL section 8), or half of what the model reads. Rows of one group share their prompt,
    which is answered once. Of a prompt that leaves no room for the answer the last tokens are read.

    Prompts are split over the processes. Raises RunError for a model that cannot generate.
    """
    data = parts.data
    assert isinstance(data, PreparedText)
    if not hasattr(parts.backbone, "generate"):
        raise RunError(f"model {parts.inputs.model.id} cannot write text: its backbone has no generate()")
    # from the found task, not imported: runs without text must not depend on how text is judged (study/fingerprint.py)
    longest, new = int(data.manifest["max_length"]), int(parts.task.MAX_NEW_TOKENS)
    if parts.inputs.model.max_length is not None:
        new = min(new, parts.inputs.model.max_length // 2)
        longest = min(longest, parts.inputs.model.max_length - new)
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(data.groups[row], int(row))
    asked = np.array(list(first.values()))
    prompts = data.prompt_lengths(asked)
    mine = np.argsort(prompts, kind="stable")[accelerator.process_index :: accelerator.num_processes]
    lengths = np.minimum(prompts, longest) + new
    tokenizer = load_tokenizer(parts.inputs.model_dir)
    eos = int(data.manifest["eos_token_id"])
    stop = newline_tokens(tokenizer)
    texts: list[tuple[str, str]] = []
    for places in batches(mine, lengths, min(DECODE_BATCH, batch_limit or DECODE_BATCH), DECODE_TOKENS):
        chosen = asked[places]
        batch = to_device(data.prompts(chosen, longest), accelerator)
        with accelerator.autocast():
            ids = parts.backbone.generate(parts.model, batch, new, eos, stop)
        texts += [(data.groups[row], line(tokenizer, out, eos)) for row, out in zip(chosen, ids.tolist(), strict=True)]
    if accelerator.num_processes > 1:
        texts = gather_object(texts)
    answered = dict(texts)
    return np.array([answered[data.groups[row]] for row in rows], dtype=object)


def line(tokenizer: Any, ids: list[int], eos: int) -> str:
    """The text of token ids up to EOS and the end of the line."""
    if eos in ids:
        ids = ids[: ids.index(eos)]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).partition("\n")[0]


def newline_tokens(tokenizer: Any) -> frozenset[int]:
    """Ids of all tokens whose text holds the end of a line."""
    return frozenset(i for i in range(tokenizer.get_vocab_size()) if "\n" in tokenizer.decode([i]))


def load_tokenizer(model_dir: Path) -> Any:
    from tokenizers import Tokenizer  # here: only runs that write text need it

    return Tokenizer.from_file(str(Path(model_dir, "tokenizer.json")))
