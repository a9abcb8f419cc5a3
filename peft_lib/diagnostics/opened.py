"""A finished run, opened for diagnostics: its delta, its trajectory, the matrices before and after, the model itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peft_lib.backbones.loading import get_backbone
from peft_lib.diagnostics.diagnostic import NotAvailable
from peft_lib.diagnostics.registry import DiagnosticError
from peft_lib.layers.delta_file import Delta, Snapshot, read_delta
from peft_lib.layers.links import AnyLink, TensorLink, effective_weight
from peft_lib.layers.targets import Target, resolve_targets, rows_of, weight_matrix
from peft_lib.layers.trajectory import Trajectory
from peft_lib.seeds import generator
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.spec import RunSpec
from peft_lib.training.assemble import Assembled, Inputs, assemble

Moment = str | int
"""'selected' (the reported epoch), 'final' (the last), 'initial' (before the first step), or the number of an epoch."""


@dataclass(eq=False)
class OpenedRun:
    """What diagnostics read of a run. Everything is read when it is first asked for.

    result: the row of result.parquet. cache: a folder for what runs of one model share.
    """

    spec: RunSpec
    inputs: Inputs
    result: Mapping[str, Any]
    folder: Path
    cache: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def delta(self) -> Delta:
        """The run's delta file. Raises DeltaError if it cannot be read."""
        return read_delta(self.folder / "delta.safetensors")

    @cached_property
    def trajectory(self) -> Trajectory:
        """The run's deltas of every epoch. Raises DiagnosticError where they are of another attempt than the result, and
        DeltaError where there are none."""
        found = Trajectory(self.folder / "trajectory")
        header = found.header(found.epochs[-1])
        if header["started"] != self.result["started"] or len(found.epochs) != self.spec.epochs + 1:
            raise DiagnosticError(
                f"{found.folder}: the trajectory is of an attempt that started {header['started']}, the result of one that "
                f"started {self.result['started']}. Repeat the run (snakemake --forcerun train)"
            )
        return found

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of the trajectory, from 0, before the first step, to the last."""
        return self.trajectory.epochs

    def snapshot(self, at: Moment = "selected") -> Snapshot:
        """What was learnt up to that moment. Raises DiagnosticError for a moment that the run has not kept."""
        if isinstance(at, int):
            return self.trajectory.snapshot(at)
        if at == "initial":
            return self._initial
        if at in self.delta.snapshots:
            return self.delta.snapshot(at)
        if at == "final" and self.result["selected_epoch"] == self.spec.epochs:
            return self.delta.snapshot("selected")
        if at == "final" and (self.folder / "trajectory").is_dir():
            return self.trajectory.snapshot(self.epochs[-1])
        raise DiagnosticError(
            f"{self.folder}: no state {at!r} was kept, only {', '.join(self.delta.snapshots)}. Set keep: both and repeat the "
            "run (snakemake --forcerun train)"
        )

    def require(self, at: Moment) -> Snapshot:
        """`snapshot`, for what does not exist without it. Raises NotAvailable for a moment that the run has not kept."""
        try:
            return self.snapshot(at)
        except DiagnosticError as error:
            kept = f"the run kept no weights of its {at} epoch (keep: {self.result['keep']})"
            raise NotAvailable(f"{kept}: set keep: both and repeat it") from error

    @cached_property
    def assembled(self) -> Assembled:
        """Model, adapter and data of the run. The model is as before the first step until `restore` is called."""
        parts = assemble(self.spec, self.inputs, self.device, storage=str(self.result["storage"]))
        parts.model.eval()
        return parts

    @cached_property
    def _initial(self) -> Snapshot:
        """As before the first step; taken before the model is changed for the first time."""
        return self.assembled.adapter.snapshot()

    def restore(self, at: Moment | Snapshot = "selected") -> None:
        """Puts the model of `assembled` into the state at that moment, or into one that was read before."""
        initial = self._initial  # before the model is changed
        self.assembled.adapter.restore(initial if at == "initial" else self._state(at))

    def _state(self, at: Moment | Snapshot) -> Snapshot:
        return at if isinstance(at, Snapshot) else self.snapshot(at)

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic in which the run computed its forward passes."""
        if self.spec.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    @property
    def weights_sha256(self) -> str:
        """Of the model's weights before training, as the run has checked them."""
        return str(self.result["weights_sha256"])

    def targets(self, targets: str | None = None) -> tuple[Target, ...]:
        """Places of a target set of the model's catalog entry. None: those of the run; where its method adapts none (full
        fine-tuning), qv, or the entry's first. Raises DiagnosticError for a set that the entry does not have."""
        known = self.inputs.model.targets
        name = targets or self.inputs.model.target_set(self.spec.targets)
        if name not in known:
            raise DiagnosticError(
                f"target set {name!r}: model {self.inputs.model.id} has none of that name, it has {', '.join(known)}"
            )
        return _places(self.inputs.model.model_dump_json(), self.inputs.dataset.outputs, name)

    def matrices(
        self, targets: str | None = None, at: Moment | Snapshot = "selected"
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(place, W0, W): weights before training and at that moment (or in a state that was read before), fp32, (d_out, d_in), on the CPU, one place at a time.

        Nothing depends on which method was trained: under full fine-tuning, and for places that no adapter is at, W is the
        model's own weight at that moment (W0 itself where it was frozen). `targets`: see there. W0 is as the run stored it
        (rounded, with bf16 storage); W is not rounded.
        """
        snapshot = self._state(at)
        entry, outputs = self.inputs.model.model_dump_json(), self.inputs.dataset.outputs
        base = _base(entry, self.inputs.model_dir, outputs, str(self.result["storage"]))
        for target in self.targets(targets):
            module = base.get_submodule(target.path)
            start, stop = rows_of(target, module)
            before = weight_matrix(module).detach()[start:stop].float()
            yield target.key, before, self._after(target, module, before, snapshot)

    def _after(self, target: Target, module: nn.Module, before: Tensor, snapshot: Snapshot) -> Tensor:
        if target.key in snapshot.open:
            return effective_weight(before, self._links(target.key, snapshot))
        name = f"{target.path}.weight"
        if name not in snapshot.trained:
            return before.clone()
        start, stop = rows_of(target, module)
        whole = snapshot.trained[name].float()
        return (whole.t() if weight_matrix(module) is not module.weight else whole)[start:stop]  # GPT-2's (d_in, d_out)

    def _links(self, place: str, snapshot: Snapshot) -> Sequence[AnyLink]:
        """The place's links, with what a file leaves out."""
        links = (*snapshot.closed[place], snapshot.open[place])
        if any(isinstance(link, TensorLink) and link.frozen is None for link in links):
            adapter = self.assembled.adapter
            return adapter.places[place].completed(snapshot.closed[place], snapshot.open[place], adapter.header["seed"])
        return links


@lru_cache(maxsize=4)
def _places(entry: str, outputs: int | None, targets: str) -> tuple[Target, ...]:
    """Found on the skeleton, so that an adapted model is not in the way. `entry`: JSON, which can be hashed."""
    model = ModelEntry.model_validate_json(entry)
    backbone = get_backbone(model.backbone)
    heads = backbone.heads(model, outputs)
    return tuple(resolve_targets(backbone.skeleton(model, outputs), model.targets[targets], heads))


@lru_cache(maxsize=1)
def _base(entry: str, model_dir: Path, outputs: int | None, storage: str) -> nn.Module:
    """The model before training, which runs of one model have in common but for their heads. Never changed."""
    model = ModelEntry.model_validate_json(entry)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[storage]
    made: nn.Module = get_backbone(model.backbone).build(model, model_dir, outputs, generator(0, "head"), dtype, "cpu")
    return made
