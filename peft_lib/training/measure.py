"""What is measured once, at the selected epoch."""

import math
from typing import Any

from peft_lib.training import machine
from peft_lib.training.build import Built
from peft_lib.training.evaluation import evaluate_split, predictions
from peft_lib.training.failures import Diverged
from peft_lib.training.state import State


def measure_selected(run: Built, state: State) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Test once, validation as recorded, clean train loss. Returns result columns, and the rows of predictions.parquet.

    Leaves the model in the selected state. Raises Diverged if a loss or a measure is not finite.
    """
    progress, items = state.progress, run.items
    headline = run.request.inputs.dataset.metric
    memory = machine.memory_peaks(run.request.accelerator.device)  # before the measurement, which trains nothing
    assert state.selected is not None
    run.adapter.restore(state.selected)
    running, validation = (progress.at_selected(split) for split in ("train", "validation"))
    with state.clock.phase("eval"):
        test, clean = evaluate_split(run, "test", decoded=True), evaluate_split(run, "train")
        if headline not in validation:  # it needs text, which is written once and not every epoch
            validation |= evaluate_split(run, "validation", decoded=True).measures
    if not all(math.isfinite(e.loss) for e in (test, clean)):
        raise Diverged(f"test loss {test.loss}, train loss {clean.loss} at the selected epoch")
    if not all(math.isfinite(value) for value in test.measures.values()):  # a perplexity beyond any number
        raise Diverged(f"test measures {test.measures} at the selected epoch")
    columns = {
        "selected_epoch": progress.selected_epoch,
        "links": max((link.index + 1 for link in state.selected.open.values()), default=0),
        "test_metric": test.measures[headline],
        "val_metric": validation[headline],
        "test_measures": sorted(test.measures.items()),
        "test_loss": test.loss,
        "val_loss": validation["loss"],
        "train_loss": clean.loss,
        "train_loss_running": running["loss"],
        "gap": test.loss - clean.loss,
        "baseline": items.task.baseline(items.data.y[items.rows["train"]], headline, test.answers),
        **memory,
    }
    return columns, predictions(test, items)
