"""Finding the file of a backbone family by its catalog name."""

from types import ModuleType

from peft_lib.data.loaders import load_module


def get_backbone(name: str) -> ModuleType:
    """The backbone module `peft_lib.backbones.<name>`; UnknownModuleError, with near names, if there is none.

    It defines

    STYLE       "pair" (tokens of two texts with segments), "prompt" (tokens of one text) or "pixels"
    OPTIONS     names of the options that a catalog entry may set; planning reads the literal
    heads(entry, outputs) -> paths of the modules that every method trains in full
    targets(entry) -> names of the modules in each target set, for `describe`
    build(entry, asset_dir, outputs, draws, dtype, device) -> nn.Module: frozen weights in `dtype` on `device`, the head and
                all else that trains in fp32; `outputs` numbers per item, or None for text. New weights come from `draws` alone
    skeleton(entry, outputs) -> the same module on the meta device, from the catalog alone
    forward(model, batch) -> (B, outputs); for text the logits (T, V) of the batch's T target tokens (`causal`)
    generate(model, batch, max_new_tokens, eos_id, stop) -> (B, n) token ids (decoders)
    scratch(entry, num_labels, seed) -> nn.Module (a family that a study can pre-train)
    """
    return load_module("peft_lib.backbones", name, marker="STYLE", kind="backbone")
