"""How far a run has come: progress, the selected epoch's snapshot, the clock; saved after every epoch, and resumed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from peft_lib.layers.delta_file import Snapshot
from peft_lib.training.build import Built
from peft_lib.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from peft_lib.training.clock import Clock
from peft_lib.training.optimizer import load_state_tensors, state_tensors


@dataclass
class State:
    progress: Progress
    clock: Clock
    checkpoint: Path
    selected: Snapshot | None = None
    final: Snapshot | None = None

    def resume(self, run: Built) -> None:
        """Continues from the checkpoint, if there is one of this very run."""
        self.progress.identity = json.dumps(run.identity, sort_keys=True)
        loaded = load_checkpoint(self.checkpoint, self.progress.identity)
        if loaded is None:
            return
        snapshots, optimizer, self.progress = loaded
        run.adapter.restore(snapshots["current"])
        self.selected = snapshots.get("selected")
        load_state_tensors(run.optimizer, optimizer)
        self.clock.add(self.progress.seconds)
        self.progress.attempts += 1
        print(f"resuming after epoch {self.progress.epoch}", flush=True)

    def save(self, run: Built) -> None:
        """Checkpoint after an epoch, by the main process."""
        accelerator = run.request.accelerator
        if accelerator.is_main_process:
            # the time of this very save is not in it: a resumed run's seconds miss one save
            self.progress.seconds = self.clock.read()
            snapshots = {"current": replace(run.adapter.snapshot(), epoch=self.progress.epoch)}
            if self.selected is not None:
                snapshots["selected"] = self.selected
            state = state_tensors(run.optimizer)
            save_checkpoint(self.checkpoint, run.adapter.header, snapshots, state, self.progress)
        accelerator.wait_for_everyone()

    def kept(self, keep: str) -> dict[str, Snapshot]:
        """Snapshots for the delta file of a run that ended well."""
        if keep == "none":
            return {}
        snapshots = {"selected": self.selected, "final": self.final if keep == "both" else None}
        return {tag: snapshot for tag, snapshot in snapshots.items() if snapshot is not None}
