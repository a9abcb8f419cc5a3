"""Finding the file of a backbone family by its catalog name."""

from types import ModuleType

from peft_lib.data.loaders import load_module


def get_backbone(name: str) -> ModuleType:
    """The backbone module `peft_lib.backbones.<name>`; UnknownModuleError, with near names, if there is none.

    It defines HEAD (paths of the modules that every method trains in full), build(entry, asset_dir, num_labels,
    head_generator) -> nn.Module, and forward(model, batch) -> logits (B, num_labels). A family that a study can
    pre-train also defines scratch(entry, num_labels, seed) -> nn.Module.
    """
    return load_module("peft_lib.backbones", name, marker="HEAD", kind="backbone")
