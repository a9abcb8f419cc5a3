"""How far a run has come: progress, the selected epoch's snapshot, the clock; saved after every epoch, and resumed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from peft_lib.layers.delta_file import Snapshot
from peft_lib.layers.trajectory import epoch_file, write_epoch
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
    trajectory: Path | None = None
    """Folder for a delta file of every epoch; None: the run keeps no trajectory."""

    def resume(self, run: Built) -> None:
        """Continues from the checkpoint, if there is one of this very run."""
        self.progress.identity = json.dumps(run.identity, sort_keys=True)
        loaded = load_checkpoint(self.checkpoint, self.progress.identity)
        if loaded is None or not self._follows(loaded[2].epoch):
            return
        snapshots, optimizer, self.progress = loaded
        run.adapter.restore(snapshots["current"])
        self.selected = snapshots.get("selected")
        load_state_tensors(run.optimizer, optimizer)
        self.clock.add(self.progress.seconds)
        self.progress.attempts += 1
        print(f"resuming after epoch {self.progress.epoch}", flush=True)

    def _follows(self, epoch: int) -> bool:
        """Whether the trajectory has every epoch up to that one: an attempt that kept none leaves it without its start."""
        if self.trajectory is None or all(epoch_file(self.trajectory, e).is_file() for e in range(epoch + 1)):
            return True
        print(f"not resumed after epoch {epoch}: the trajectory of the epochs before was not kept", flush=True)
        return False

    def follow(self, run: Built, epoch: int) -> None:
        """Writes the trajectory's file of an epoch, by the main process, where the run keeps one."""
        if self.trajectory is not None and run.request.accelerator.is_main_process:
            facts = {
                "run_id": run.request.spec.run_id, "fingerprint": run.request.inputs.fingerprint,
                "started": self.progress.started,
            }  # fmt: skip
            write_epoch(self.trajectory, {**run.adapter.header, **facts}, run.adapter.snapshot(), epoch)

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
