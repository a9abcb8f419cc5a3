"""One run, start to finish: `train(spec, ...)`. Callable many times in one process; it leaves no global state behind."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from filelock import FileLock, Timeout
from torch.nn import functional as F

from peft_lib.backbones.loading import get_backbone
from peft_lib.data.batches import PreparedImages, PreparedText, load_prepared
from peft_lib.data.loaders import get_loader
from peft_lib.files import write_text
from peft_lib.layers.adapter import Adapter, adapt
from peft_lib.layers.delta_file import Snapshot, write_delta
from peft_lib.methods.registry import get_method
from peft_lib.run_files import EPOCHS, PREDICTIONS, RESULT, write_rows
from peft_lib.seeds import derive_seed, generator
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from peft_lib.training.evaluation import DIRECTION, Evaluation, evaluate, predictions, to_device
from peft_lib.training.optimizer import build_optimizer, clear_state, load_state_tensors, set_lr, state_tensors
from peft_lib.training.record import identity_columns, machine_columns, now
from peft_lib.training.schedule import chain_resets, lr_factor

PHASES = ("setup", "train", "eval", "save")


class RunError(RuntimeError):
    """A run that cannot start; the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Execution:
    """How a run is executed. Recorded with the result, never part of the spec."""

    layers: str = "default"
    device: str = "auto"
    threads: int = 1
    micro_batch: int | None = None
    deterministic: bool = True
    keep: str = "selected"


@dataclass(frozen=True)
class Inputs:
    """What a run reads: catalog entries, the model's folder, the prepared data's folder; and what it records."""

    model: ModelEntry
    dataset: DatasetEntry
    model_dir: Path
    prepared_dir: Path
    fingerprint: str = ""
    command: str = ""


class Diverged(Exception):
    """The loss is no longer finite."""


def train(spec: RunSpec, out_dir: Path | str, inputs: Inputs, execution: Execution = Execution()) -> str:
    """Trains one run and writes its files to `out_dir`; returns its status: 'ok', 'diverged' or 'out_of_memory'.

    result.parquet is written last: its presence means a whole run. An interrupted run resumes from its last epoch with
    the same numbers. Raises RunError if the inputs do not fit the spec or another process writes to the folder.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _check(spec, inputs)
    get_backbone(inputs.model.backbone)  # imports the model's library now: that time is not the run's
    accelerator = _accelerator(spec, execution)
    lock = FileLock(out_dir / ".lock", timeout=0)
    try:
        if accelerator.is_main_process:
            lock.acquire()
        return _Run(spec, out_dir, inputs, execution, accelerator).carry_out()
    except Timeout as error:
        raise RunError(f"{out_dir}: another process is running this run. Wait for it, or stop it first") from error
    finally:
        lock.release()


def _accelerator(spec: RunSpec, execution: Execution) -> Accelerator:
    """Accelerate keeps its settings for the life of a process; a second run may need others."""
    machine.prepare_process(execution.threads, execution.device, execution.deterministic)
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    cpu = execution.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(cpu=cpu, mixed_precision="bf16" if spec.precision == "bf16" else "no")


def _check(spec: RunSpec, inputs: Inputs) -> None:
    for name, mine, catalog in (
        ("model", spec.model, inputs.model.ref()),
        ("dataset", spec.dataset, inputs.dataset.ref()),
    ):
        if mine != catalog:
            raise RunError(f"the spec's {name} is {mine}, the catalog's {catalog}. Plan the study anew")


@dataclass
class _Run:
    """One attempt at a run."""

    spec: RunSpec
    out_dir: Path
    inputs: Inputs
    execution: Execution
    accelerator: Accelerator
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*PHASES, "cpu"), 0.0))

    def carry_out(self) -> str:
        self.cpu_start = time.process_time()
        with self.phase("setup"):
            self.set_up()
        reason = None
        status = "ok"
        try:
            self.resume()
            for epoch in range(self.progress.epoch + 1, self.spec.epochs + 1):
                self.epoch(epoch)
            final = self.adapter.snapshot() if self.execution.keep == "both" else None
            columns, found = self.report()
        except Diverged as error:
            status, reason = "diverged", str(error)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            where = machine.device_name(self.accelerator.device)
            status, reason = "out_of_memory", f"{str(error).splitlines()[0]} (on {where})"
        if status != "ok":
            columns, found, final = {}, [], None
        if self.accelerator.is_main_process:
            self.write(status, reason, columns, found, final)
        self.accelerator.wait_for_everyone()
        return status

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the wall time of the block to a phase; waits for the accelerator, or its work would count elsewhere."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.accelerator.device.type == "cuda":
                torch.cuda.synchronize(self.accelerator.device)
            self.seconds[name] += time.perf_counter() - start

    def set_up(self) -> None:
        """Builds everything from the spec; nothing here depends on what ran before in this process."""
        spec, inputs = self.spec, self.inputs
        self.data: PreparedText | PreparedImages = load_prepared(inputs.prepared_dir)
        self.rows = self.cut(get_loader(inputs.dataset.loader))
        self.backbone: ModuleType = get_backbone(inputs.model.backbone)
        head_draws = generator(spec.seed, "head")
        model = self.backbone.build(inputs.model, inputs.model_dir, len(self.data.labels), head_draws)
        model.to(self.accelerator.device)
        method = get_method(spec.method)
        layers = self.execution.layers if method.has_factors else "none"
        self.adapter: Adapter = adapt(
            model, method, rank=spec.rank, alpha=spec.alpha, scaling=spec.scaling, seed=spec.seed, execution=layers,
            targets=inputs.model.targets.get(spec.targets, ()), head=self.backbone.HEAD, **spec.options,
        )  # fmt: skip
        self.counts = self.adapter.counts()
        optimizer = build_optimizer(self.adapter, spec)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.total_steps = spec.epochs * math.ceil(len(self.rows["train"]) / spec.batch_size)
        self.resets = chain_resets(spec) if method.chains else ()
        identity = [
            spec.canonical,
            inputs.fingerprint,
            self.data.manifest["sha256"],
            machine.versions(),
            self.adapter.execution,
        ]
        self.progress = Progress(json.dumps(identity), started=now())
        self.selected: Snapshot | None = None
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.accelerator.device)

    def cut(self, loader: ModuleType) -> dict[str, np.ndarray]:
        """Rows of train, validation and test: the data set's splits, then the spec's limits."""
        spec = self.spec
        seed = spec.seed if spec.split_seed is None else spec.split_seed
        splits = self.data.splits(seed, loader)
        for name, limit in (("train", spec.train_limit), ("validation", spec.eval_limit), ("test", spec.eval_limit)):
            if name not in splits:
                raise RunError(
                    f"data set {spec.dataset.id} has no {name} split; a run needs train, validation and test"
                )
            if limit is not None and limit < len(splits[name]):
                order = torch.randperm(len(splits[name]), generator=generator(seed, "limit", name)).numpy()
                splits[name] = splits[name][np.sort(order[:limit])]
        return splits

    @property
    def checkpoint(self) -> Path:
        return self.out_dir / "checkpoint" / "epoch.safetensors"

    def resume(self) -> None:
        """Continues from the checkpoint, if there is one of this very run."""
        if self.accelerator.is_main_process:
            (self.out_dir / "result.parquet").unlink(missing_ok=True)
            write_text(self.out_dir / "spec.json", self.spec.canonical + "\n")
        found = load_checkpoint(self.checkpoint, self.progress.identity)
        if found is not None:
            snapshots, optimizer, self.progress = found
            self.adapter.restore(snapshots["current"])
            self.selected = snapshots.get("selected")
            load_state_tensors(self.optimizer, optimizer)
            for name, value in self.progress.seconds.items():
                self.seconds[name] += value
            print(f"resuming after epoch {self.progress.epoch}", flush=True)
        self.progress.attempts += 1

    def epoch(self, epoch: int) -> None:
        """One epoch: chain reset if due, training, validation, selection, checkpoint."""
        if epoch in self.resets:
            self.adapter.next_link()
            clear_state(self.optimizer, self.adapter, self.spec.optimizer_reset)
        with self.phase("train"):
            running = self.train_epoch(epoch)
        with self.phase("eval"):
            validation = self.evaluate("validation")
        facts = [
            ("train", "loss", running),
            ("train", "lr", self.spec.lr * lr_factor(self.spec, self.progress.step - 1, self.total_steps)),
            ("train", "link", float(self.adapter.links - 1)),
            ("validation", "loss", validation.loss),
            ("validation", self.inputs.dataset.metric, validation.metric),
        ]
        for split, metric, value in facts:
            row = {"epoch": epoch, "step": self.progress.step, "split": split, "metric": metric, "value": value}
            self.progress.rows.append(row)
        print(
            f"epoch {epoch}/{self.spec.epochs}  train loss {running:.4f}  validation loss {validation.loss:.4f}  "
            f"{self.inputs.dataset.metric} {validation.metric:.4f}", flush=True,
        )  # fmt: skip
        if not math.isfinite(running) or not math.isfinite(validation.loss):
            raise Diverged(f"loss not finite in epoch {epoch}: train {running}, validation {validation.loss}")
        self.select(epoch, validation)
        self.progress.epoch = epoch
        if epoch < self.spec.epochs:
            with self.phase("save"):
                self.save()

    def train_epoch(self, epoch: int) -> float:
        """Trains on every item once; returns the mean train-mode loss over the items, in nats."""
        spec, rows = self.spec, self.rows["train"]
        order = rows[torch.randperm(len(rows), generator=generator(spec.seed, "order", epoch)).numpy()]
        # dropout is the only consumer of the global generator, and starts anew in every epoch and process
        torch.manual_seed(derive_seed(spec.seed, "dropout", epoch, self.accelerator.process_index))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        self.model.train()
        for start in range(0, len(order), spec.batch_size):
            set_lr(self.optimizer, lr_factor(spec, self.progress.step, self.total_steps))
            loss_sum += self.step(order[start : start + spec.batch_size])
            if spec.clip_norm is not None:
                self.accelerator.clip_grad_norm_(parameters, spec.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.progress.step += 1
        return float(self.accelerator.reduce(loss_sum, "sum")) / len(order)

    def step(self, batch_rows: np.ndarray) -> torch.Tensor:
        """Gradient of the mean loss over one effective batch, in micro-batches; returns this process's loss sum.

        Each process takes every n-th row. DDP averages gradients over processes, hence the factor num_processes.
        """
        world = self.accelerator.num_processes
        mine = batch_rows[self.accelerator.process_index :: world]
        weight = world / len(batch_rows)
        if len(mine) == 0:  # a last batch smaller than the number of processes: DDP still expects a backward pass
            mine, weight = batch_rows[:1], 0.0
        size = self.execution.micro_batch or len(mine)
        total = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        for start in range(0, len(mine), size):
            chosen = mine[start : start + size]
            batch = to_device(self.data.collate(chosen), self.accelerator)
            labels = torch.from_numpy(self.data.y[chosen]).to(self.accelerator.device)
            with self.accelerator.autocast():
                logits = self.backbone.forward(self.model, batch)
            loss = F.cross_entropy(logits.float(), labels, reduction="sum")
            self.accelerator.backward(loss * weight)
            total += loss.detach() * bool(weight)
        return total

    def evaluate(self, split: str) -> Evaluation:
        metric = self.inputs.dataset.metric
        limit = self.execution.micro_batch
        return evaluate(self.model, self.backbone, self.data, self.rows[split], metric, self.accelerator, limit)

    def select(self, epoch: int, validation: Evaluation) -> None:
        """Keeps the best epoch so far: lowest loss or best metric on validation (the first of equals), or the last."""
        sign = -1.0 if DIRECTION[self.inputs.dataset.metric] == "higher" else 1.0
        score = {"val_loss": validation.loss, "val_metric": sign * validation.metric, "last": -float(epoch)}[
            self.spec.selection
        ]
        if self.progress.selected_score is None or score < self.progress.selected_score:
            self.progress.selected_score, self.progress.selected_epoch = score, epoch
            self.selected = replace(self.adapter.snapshot(), epoch=epoch)

    def save(self) -> None:
        """Checkpoint after an epoch, by the main process."""
        if self.accelerator.is_main_process:
            # the time of this very save is not in it: a resumed run's seconds miss one save
            self.progress.seconds = {**self.seconds, "cpu": self.seconds["cpu"] + time.process_time() - self.cpu_start}
            snapshots = {"current": replace(self.adapter.snapshot(), epoch=self.progress.epoch)}
            if self.selected is not None:
                snapshots["selected"] = self.selected
            save_checkpoint(
                self.checkpoint, self.adapter.header, snapshots, state_tensors(self.optimizer), self.progress
            )
        self.accelerator.wait_for_everyone()

    def report(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Measures the selected epoch: test once, validation, clean train loss. Returns result columns, predictions."""
        memory = machine.memory_peaks(self.accelerator.device)  # before the report, which trains nothing
        assert self.selected is not None
        self.adapter.restore(self.selected)
        with self.phase("eval"):
            test, clean = self.evaluate("test"), self.evaluate("train")
        labels = self.data.y
        frequent = np.bincount(labels[self.rows["train"]]).argmax()
        if not all(math.isfinite(e.loss) for e in (test, clean)):
            raise Diverged(f"test loss {test.loss}, train loss {clean.loss} at the selected epoch")
        metric = self.inputs.dataset.metric
        running, chosen = (self.progress.at_selected(split) for split in ("train", "validation"))
        links = max((link.index + 1 for link in self.selected.open.values()), default=0)
        columns = {
            "selected_epoch": self.progress.selected_epoch, "links": links, "test_metric": test.metric,
            "val_metric": chosen[metric], "test_loss": test.loss, "val_loss": chosen["loss"], "train_loss": clean.loss,
            "train_loss_running": running["loss"], "gap": test.loss - clean.loss,
            "majority": float(np.mean(labels[self.rows["test"]] == frequent)), **memory,
        }  # fmt: skip
        return columns, predictions(test, self.data)

    def write(
        self,
        status: str,
        reason: str | None,
        columns: dict[str, Any],
        found: list[dict[str, Any]],
        final: Snapshot | None,
    ) -> None:
        """Writes the run's files, result.parquet last, and removes the checkpoint."""
        spec, progress = self.spec, self.progress
        with self.phase("save"):
            kept = {"selected": self.selected} if status == "ok" and self.execution.keep != "none" else {}
            if final is not None:
                kept["final"] = replace(final, epoch=progress.epoch)
            facts = {**self.adapter.header, "run_id": spec.run_id}
            write_delta(self.out_dir / "delta.safetensors", facts, {k: s for k, s in kept.items() if s is not None})
            write_rows(self.out_dir / "epochs.parquet", progress.rows, EPOCHS)
            write_rows(self.out_dir / "predictions.parquet", found, PREDICTIONS)
        seconds, rows = self.seconds, self.rows
        row = {
            **identity_columns(spec, self.inputs.dataset), **machine_columns(self.accelerator.device),
            "status": status, "reason": reason, "execution": self.adapter.execution,
            "epochs": progress.epoch, "steps": progress.step, "attempts": progress.attempts, "started": progress.started,
            **{f"n_{split}": len(rows[split]) for split in rows},
            **{f"{kind}_parameters": count for kind, count in self.counts.items()},
            "samples_per_s": progress.epoch * len(rows["train"]) / seconds["train"] if status == "ok" else None,
            "wall_s": sum(seconds[p] for p in PHASES), **{f"{p}_s": seconds[p] for p in PHASES},
            "cpu_s": seconds["cpu"] + time.process_time() - self.cpu_start,
            "threads": self.execution.threads, "processes": self.accelerator.num_processes,
            "fingerprint": self.inputs.fingerprint, "data_sha256": self.data.manifest["sha256"],
            "command": self.inputs.command, **columns,
        }  # fmt: skip
        write_rows(self.out_dir / "result.parquet", [row], RESULT)
        shutil.rmtree(self.out_dir / "checkpoint", ignore_errors=True)


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises its own type; the CPU allocator raises a plain RuntimeError with this text."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
