"""Finding the file of a task by its catalog name."""

from types import ModuleType

from peft_lib.data.loaders import load_module


def get_task(name: str) -> ModuleType:
    """The task module `peft_lib.tasks.<name>`; UnknownModuleError, with near names, if there is none.

    It defines what the loop, the evaluation and the records ask of a task:

    MEASURES             metric -> f(Answers) -> float, exact over all items, never a mean of batch means; label, unit and
                         direction of each are in study/quantities.py.
    DECODED              those of them that need written text; a task that has any says MAX_NEW_TOKENS, the longest answer.
    losses(outputs, targets, smoothing)    (B,) fp32 losses in nats (squared units for regression), one per item, not divided
                         by its weight; `outputs` are what the backbone's `forward` gave.
    weights(data)        (N,) float64: what an item counts in a mean loss, 1, or its target tokens. Known from the prepared
                         data, so processes agree on a batch's denominator without asking each other.
    answers(outputs, targets)  (prediction, score), two (B,) tensors: the task's answer from one forward pass, and how sure it is.
    baseline(train, metric, test)          the metric of the best constant answer: what a run has to beat; None if there is none.
    shown(value, data)   a label or prediction as text, for predictions.parquet.
    """
    return load_module("peft_lib.tasks", name, marker="MEASURES", kind="task")
