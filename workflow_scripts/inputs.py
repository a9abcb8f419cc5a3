"""What a run reads, found for the commands that train it and that diagnose it: catalog entries, model and data folders."""

import shlex
import sys
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.errors import entry_of

if TYPE_CHECKING:
    from peft_lib.study.spec import RunSpec
    from peft_lib.training.assemble import Inputs


def inputs_of(spec: "RunSpec", options: Namespace, fingerprint: str, command: str) -> "Inputs":
    """options: models, datasets (catalog files) and resources, as the command was given them. command: the module that, with this
    process's arguments, does this again. Raises StudyError for an entry that the catalogs do not have. Loads torch."""
    from peft_lib.study.plan import prepared_folder
    from peft_lib.training.assemble import Inputs

    models, datasets = _catalogs(options.models, options.datasets)
    resources = Path(options.resources)
    return Inputs(
        model=entry_of(models, spec.model.id, options.models),
        dataset=entry_of(datasets, spec.dataset.id, options.datasets),
        model_dir=resources / "models" / spec.model.id,
        prepared_dir=resources / "prepared" / prepared_folder(spec.dataset.id, spec.model.id, spec.input_size),
        fingerprint=fingerprint,
        command=shlex.join(["python", "-m", f"workflow_scripts.{command}", *sys.argv[1:]]),
    )


@cache
def _catalogs(models: str, datasets: str) -> tuple[Any, Any]:
    """Read once for all runs of a job: reading them takes longer than the diagnostics of a small run."""
    from peft_lib.study.loading import load_datasets, load_models

    return load_models(models), load_datasets(datasets)
