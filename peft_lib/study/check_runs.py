"""Whether a run's settings, its method, its model and its data set fit together."""

from collections.abc import Mapping, Sequence
from typing import Any

from peft_lib.methods.method import Method
from peft_lib.names import nearest
from peft_lib.study.catalogs import DatasetEntry, ModelEntry, Shape
from peft_lib.study.layering import Resolved, ResolvedHow
from peft_lib.study.problems import ABSENT
from peft_lib.study.settings import SHORTEST_TEXT
from peft_lib.study.spec import RunSpec
from peft_lib.study.tally import Tally

REQUIRED = tuple(
    name
    for name, info in RunSpec.model_fields.items()
    if info.is_required() and name in ("lr", "epochs", "batch_size", "input_size")
)
HIGH_LR = 1.0
SETTING_LAYERS = ("defaults", "rules", "rules_from", "grids")


def check_run(
    grid: str, model: ModelEntry, data: DatasetEntry, method: Method, settings: Resolved, how: ResolvedHow, tally: Tally
) -> bool:
    """Rules between a run's settings, its model and its data set; notes what is broken and says whether all is well."""
    broken = {place[-1] for place in tally.parser.broken if place and place[0] in SETTING_LAYERS}
    broken |= {place[-2] for place in tally.parser.broken if len(place) > 2 and "vary" in place}
    s, places = settings.relevant, settings.places
    good = True
    run = f"{method.id} on {model.id}/{data.id}"

    def refuse(setting: str, rule: str, remedy: str, who: str = method.id, value: Any = None) -> None:
        nonlocal good
        good = False
        if setting in broken:
            return
        where = places.get(setting, ("grids", grid))
        tally.refuse(where, setting, s.get(setting) if value is None else value, rule, remedy, who)

    unread = any(
        p == ("defaults",) or (p[:1] in (("rules",), ("rules_from",)) and len(p) < 4) for p in tally.parser.broken
    )
    for name in REQUIRED:
        if s.get(name) is None:
            good = False
            if name not in broken and not unread:  # a layer that could not be read may set it
                rule = f"{name} is not set for some runs"
                remedy = f"set {name} under defaults, a rule or grids.{grid}.set"
                tally.refuse(("defaults", name), "missing", ABSENT, rule, remedy, run)
    if not good:
        return False
    if not method.trains and data.outputs is None and not model.also_trained:
        rule = f"{method.id} trains the head alone, and where text is generated there is none"
        tally.refuse(("grids", grid, "methods"), "head", method.id, rule, f"leave it out for {data.id}", data.id)
        good = False
    if method.has_factors:
        targets = s.get("targets", RunSpec.model_fields["targets"].default)
        shapes = model.targets.get(targets)
        if shapes is None:
            near = nearest(targets, list(model.targets))
            refuse("targets", f"{model.id} has no target set of that name", near, model.id, targets)
        elif method.uses("rank"):
            rank = s.get("rank", RunSpec.model_fields["rank"].default)
            largest = _largest_rank(method, shapes)
            if largest is None:
                rule = f"the method {method.id} cannot say how large its rank may be: its max_rank fails"
                tally.refuse(("grids", grid, "methods"), "max_rank", method.id, rule, "mend the plug-in", method.id)
                good = False
            elif rank > largest:
                rule = f"rank is larger than the smallest adapted place of {model.id} allows ({largest})"
                refuse("rank", rule, f"use at most {largest}, or give these methods a rank of their own", value=rank)
    if method.chains:
        _chain(settings, refuse)
    if model.modality == "text" and s["input_size"] < SHORTEST_TEXT:
        rule = f"{SHORTEST_TEXT} tokens are the least that texts are prepared for"
        refuse("input_size", rule, f"use at least {SHORTEST_TEXT}", model.id)
    if model.max_length is not None and s["input_size"] > model.max_length:
        rule = f"{model.id} reads at most {model.max_length} tokens"
        refuse("input_size", rule, f"use at most {model.max_length}", model.id)
    image = next((model.architecture[n] for n in ("img_size", "image_size") if n in model.architecture), None)
    if model.modality == "image" and image is not None and s["input_size"] != image:
        refuse("input_size", f"{model.id} reads images of {image} pixels", f"use {image}", model.id)
    _augmentation(s, data, refuse)
    _data_limits(s, data, refuse)
    _schedule(settings, refuse)
    _how(how, method, settings, tally)
    if s["lr"] > HIGH_LR:
        rule = f"a learning rate above {HIGH_LR:g} rarely trains"
        tally.warn(places.get("lr", ("defaults",)), "lr", s["lr"], rule, "check that it is meant", method.id)
    return good


def _how(resolved: ResolvedHow, method: Method, settings: Resolved, tally: Tally) -> None:
    how, places = resolved.how, resolved.places
    if how.execution != "default" and method.has_factors:
        allowed = method.executions(method.parse_options(settings.options or {}))
        if how.execution not in allowed:
            rule = f"{method.id} cannot run as {how.execution}"
            remedy = f"use default or {', '.join(allowed)}, or set it in a rule for the methods that can"
            tally.refuse(places["execution"], "execution", how.execution, rule, remedy, method.id)
    precision = settings.relevant.get("precision", RunSpec.model_fields["precision"].default)
    if how.storage == "bf16" and precision != "bf16" and "backbone" not in method.trains:
        rule = f"frozen weights in bf16 are multiplied in bf16; these runs have precision {precision}"
        remedy = "set storage: fp32 for them, or precision: bf16"
        tally.refuse(places["storage"], "storage", how.storage, rule, remedy, method.id)
    batch = -(-settings.relevant["batch_size"] // how.processes)
    if how.micro_batch is not None and how.micro_batch > batch and places["micro_batch"][0] != "catalogs":
        rule = f"micro_batch is above the {batch} items of a batch that a process takes, so it splits none"
        remedy = f"use at most {batch}, or set it in a rule for the runs that need it"
        tally.warn(places["micro_batch"], "micro_batch", how.micro_batch, rule, remedy, method.id)


def _largest_rank(method: Method, shapes: Sequence[Shape]) -> int | None:
    """Largest rank that every place takes; None where a plug-in's own rule raises or gives no number."""
    try:
        return min(int(method.largest_rank(shape.d_in, shape.d_out)) for shape in shapes)
    except Exception:  # noqa: BLE001 - a stranger's function
        return None


def _chain(settings: Resolved, refuse: Any) -> None:
    s = settings.relevant
    period, count, epochs = s.get("chain_period"), s.get("chain_count"), s["epochs"]
    if period is not None and count is not None:
        rule = "a chain method needs exactly one of chain_period and chain_count; here both are set at once"
        refuse("chain_count", rule, "remove one of them")
    elif period is None and count is None:
        rule = "a chain method needs exactly one of chain_period and chain_count"
        refuse("chain_period", rule, "set chain_period: 1 under defaults or a rule", value=ABSENT)
    elif period is not None and period >= epochs:
        rule = f"no chain reset ever happens: chain_period {period} is not below epochs {epochs}"
        remedy = f"use at most {epochs - 1}" if epochs > 1 else "use at least 2 epochs"
        refuse("chain_period", rule, f"{remedy}, or a method without a chain")
    elif count is not None and count > epochs - 1:
        rule = f"{epochs} epochs have room for {epochs - 1} resets, between epochs"
        remedy = f"use at most {epochs - 1}" if epochs > 1 else "use at least 2 epochs"
        refuse("chain_count", rule, f"{remedy}, or more epochs")
    if s.get("chain_spread") is not None and count is None and period is not None:
        rule = "chain_spread says how the resets of chain_count are spread; these runs have a chain_period"
        refuse("chain_spread", rule, "remove it, or give chain_count in place of chain_period")


def _augmentation(s: Mapping[str, Any], data: DatasetEntry, refuse: Any) -> None:
    """What changes training items or targets, where these have it."""
    for name in ("flip", "rand_augment", "mixup", "cutmix"):
        if s.get(name) and data.modality != "image":
            rule = f"{name} changes images, and {data.id} is {data.modality}"
            refuse(name, rule, "set it in a rule for the data sets of images", data.id)
    for name in ("label_smoothing", "mixup", "cutmix"):
        if s.get(name) and data.task != "classification":
            rule = f"{name} mixes or smooths classes, and the task of {data.id} is {data.task}"
            refuse(name, rule, "set it in a rule for the data sets for classification", data.id)


def _data_limits(s: Mapping[str, Any], data: DatasetEntry, refuse: Any) -> None:
    rows, limit = data.sizes["train"], s.get("train_limit")
    if limit is not None and limit > rows:
        refuse("train_limit", f"{data.id} has {rows} training rows", f"use at most {rows}, or null for all", data.id)
    size = min(limit or rows, rows)
    if s["batch_size"] > size:
        rule = f"a batch is larger than the training set of {data.id} ({size})"
        refuse("batch_size", rule, f"use at most {size}", data.id)
    largest = max((n for split, n in data.sizes.items() if split != "train"), default=0)
    if s.get("eval_limit") is not None and s["eval_limit"] > largest:
        rule = f"{data.id} has at most {largest} rows in a split for evaluation"
        refuse("eval_limit", rule, f"use at most {largest}, or null for all", data.id)
    if "validation" not in data.sizes and s.get("selection", "val_loss") != "last":
        rule = f"{data.id} has no validation split to select an epoch by"
        refuse("selection", rule, "set selection: last for it", data.id, s.get("selection", "val_loss"))


def _schedule(settings: Resolved, refuse: Any) -> None:
    s, given = settings.relevant, settings.places
    if s.get("schedule", "constant") != "constant" and "min_lr" in given and s["min_lr"] > s["lr"]:
        rule = f"min_lr is where the schedule ends, and may not be above lr ({s['lr']:g})"
        refuse("min_lr", rule, f"use at most {s['lr']:g}")
    if s.get("warmup_ratio") and "warmup_lr" in given and s["warmup_lr"] > s["lr"]:
        rule = f"warmup_lr is where the warm-up starts, and may not be above lr ({s['lr']:g})"
        refuse("warmup_lr", rule, f"use at most {s['lr']:g}")
