"""A run as landscapes see it: adapters merged, the weights that move, the loss at fixed items, the states before.

Nothing here loads torch before it is called: planning imports this file with the kinds beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from peft_lib.diagnostics.diagnostic import NotAvailable
from peft_lib.diagnostics.options import Around

if TYPE_CHECKING:
    from torch import Tensor, nn

    from peft_lib.analysis.landscape import Objective
    from peft_lib.analysis.space import Space
    from peft_lib.analysis.trajectory_pca import Block
    from peft_lib.diagnostics.opened import OpenedRun
    from peft_lib.layers.delta_file import Snapshot
    from peft_lib.layers.links import AnyLink
    from peft_lib.layers.place import Place


class InFull(NamedTuple):
    """Where a weight of the space lies that was trained in full: rows from `start` of a parameter, which may be kept turned."""

    parameter: str
    start: int
    turned: bool


@dataclass(frozen=True)
class Centre:
    """A run's weights at a moment, in the plain model.

    epoch: of that moment. space: the weights that may move. objective: the mean loss at the fixed items. places: of the
    adapter that was merged, by the weight of the space that they are rows of. in_full: weights trained in full, by name.
    """

    run: "OpenedRun"
    at: str
    epoch: int
    space: "Space"
    objective: "Objective"
    places: "dict[str, list[tuple[int, Place]]]"
    in_full: dict[str, InFull]


def centre_of(run: "OpenedRun", options: Around) -> Centre:
    """Restores the run's state and merges its adapter: `run` has none from then on. Raises NotAvailable for a state that it has
    not kept."""
    from peft_lib.analysis.space import all_weights, weights_of
    from peft_lib.layers.targets import rows_of

    run.restore(run.require(options.at))
    adapter = run.assembled.adapter
    places, trained = dict(adapter.places), set(adapter.trained_in_full())
    model = adapter.merge()
    by_place = options.subspace == "adapted"
    space = weights_of(model, run.targets()) if by_place else all_weights(model)
    found: dict[str, list[tuple[int, Place]]] = {}
    for key, place in places.items():
        name, start = (key, 0) if by_place else (f"{place.target.path}.weight", place.start)
        if name in space:
            found.setdefault(name, []).append((start, place))
    if by_place:
        of = {t.key: (f"{t.path}.weight", rows_of(t, model.get_submodule(t.path))[0]) for t in run.targets()}
    else:
        of = {name: (name, 0) for name in space}
    parameters = dict(model.named_parameters())
    in_full = {
        name: InFull(parameter, start, space[name].stride() != parameters[parameter].stride())
        for name, (parameter, start) in of.items()
        if parameter in trained
    }
    epoch = int(run.result["selected_epoch"]) if options.at == "selected" else run.spec.epochs
    return Centre(run, options.at, epoch, space, objective_of(run, model, options), found, in_full)


def objective_of(run: "OpenedRun", model: "nn.Module", options: Around) -> "Objective":
    """The mean loss in evaluation mode over validation items that (seed, validation split) determine.

    `batches` times the batch size of them, or all where there are fewer. In fp32, unless the options or weights that are
    stored in bf16 ask for the run's own arithmetic. In evaluation mode an item's loss does not depend on its batch, so they pass through the model in large ones, of
    items of similar lengths.
    """
    import numpy as np
    import torch

    from peft_lib.analysis.landscape import Objective
    from peft_lib.seeds import generator
    from peft_lib.training.batching import batches
    from peft_lib.training.evaluation import EVAL_BATCH, EVAL_TOKENS

    parts = run.assembled
    rows = parts.rows["validation"]
    order = torch.randperm(len(rows), generator=generator(options.seed, "landscape", "items")).numpy()
    chosen = rows[order[: options.batches * (options.batch_size or run.spec.batch_size)]]
    lengths = parts.data.n_tokens[chosen]
    limit = int(run.result["micro_batch"] or EVAL_BATCH)
    cut = batches(np.argsort(lengths, kind="stable"), lengths, min(EVAL_BATCH, limit), EVAL_TOKENS)
    made = [(on(run, parts.data.collate(chosen[c])), on(run, parts.data.targets(chosen[c]))) for c in cut]

    own = options.precision == "run" or run.result["storage"] == "bf16"

    def loss(model: "nn.Module", batch: Any) -> "Tensor":
        inputs, targets = batch
        with run.autocast() if own else nullcontext():
            outputs = parts.backbone.forward(model, inputs)
        total: Tensor = parts.task.losses(outputs, targets).double().sum()
        return total

    return Objective(model, made, loss, float(parts.items.weights[chosen].sum()))


def on(run: "OpenedRun", batch: "dict[str, Tensor]") -> "dict[str, Tensor]":
    return {name: tensor.to(run.device) for name, tensor in batch.items()}


def epochs_before(centre: Centre) -> list[int]:
    """Epochs of the run's trajectory before the centre's, 0 (before the first step) included. Raises NotAvailable if the run
    has kept no trajectory, or the centre is its start."""
    run = centre.run
    if not (run.folder / "trajectory").is_dir():
        raise NotAvailable(f"the run kept no trajectory (keep: {run.result['keep']})")
    epochs = [epoch for epoch in run.epochs if epoch < centre.epoch]
    if not epochs:
        raise NotAvailable("the centre is the state before the first step: no path leads to it")
    return epochs


def offsets_of(centre: Centre, epochs: Sequence[int]) -> "Callable[[], Iterator[Block]]":
    """What makes the offsets W^t - W^centre of the epochs: blocks of rows, for all epochs at once.

    An adapted place's weights are those of its chain of links; links that both states have cancel out without being
    added. Parameters trained in full are read row by row from the trajectory's files, so no epoch's weights are ever whole in
    memory.
    """
    run = centre.run
    chains = [_chains(run.snapshot(epoch)) for epoch in epochs] if centre.places else []
    reference = _chains(run.snapshot(centre.at)) if centre.places else {}

    def blocks() -> "Iterator[Block]":
        for name, places in centre.places.items():
            for start, place in places:
                key = place.target.key
                yield from _of_place(place, name, start, [state[key] for state in chains], reference[key])
        yield from _in_full(centre, epochs)

    return blocks


def _chains(snapshot: "Snapshot") -> "dict[str, tuple[AnyLink, ...]]":
    return {key: (*snapshot.closed[key], link) for key, link in snapshot.open.items()}


def _of_place(
    place: "Place", name: str, start: int, states: "list[tuple[AnyLink, ...]]", reference: "tuple[AnyLink, ...]"
) -> "Iterator[Block]":
    """Offsets of one place, K x d_out x d_in in all."""
    import torch

    from peft_lib.analysis.space import BLOCK
    from peft_lib.analysis.trajectory_pca import Block
    from peft_lib.layers.links import Link, effective_weight

    if not all(isinstance(link, Link) for chain in (*states, reference) for link in chain):
        # such links do not add up: from the weights, which they may change in any way
        first = (place.weight if place.original is None else place.original).cpu().float()
        seed = place.seed
        after = [effective_weight(first, place.completed(s[:-1], s[-1], seed)) for s in (*states, reference)]
        made = torch.stack(after[:-1]) - after[-1]
        yield Block(name, slice(start, start + place.d_out), made.to(place.weight.device))
        return
    step = max(1, BLOCK // (2 * len(states) * place.d_in))
    for top in range(0, place.d_out, step):
        rows = slice(top, min(top + step, place.d_out))
        made = torch.stack([_difference(state, reference, rows, place.d_in) for state in states])
        yield Block(name, slice(start + rows.start, start + rows.stop), made.to(place.weight.device))


def _difference(state: "tuple[AnyLink, ...]", reference: "tuple[AnyLink, ...]", rows: slice, d_in: int) -> "Tensor":
    """Some rows of what one chain adds, less those of the other; links that are closed in both are the same."""
    import torch

    from peft_lib.layers.links import Link

    shared = min(len(state), len(reference)) - 1
    total = torch.zeros(rows.stop - rows.start, d_in)
    for chain, sign in ((state, 1.0), (reference, -1.0)):
        for link in chain[shared:]:
            assert isinstance(link, Link)
            total += sign * replace(link, B=link.B[rows], P=None).delta(d_in)
    return total


def _in_full(centre: Centre, epochs: Sequence[int]) -> "Iterator[Block]":
    """Offsets of the parameters trained in full; the centre's values are the model's own."""
    import torch
    from safetensors import safe_open

    from peft_lib.analysis.space import BLOCK
    from peft_lib.analysis.trajectory_pca import Block
    from peft_lib.layers.trajectory import TAG, epoch_file

    folder = centre.run.trajectory.folder
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(epoch_file(folder, epoch), framework="pt")) for epoch in epochs]
        for name, (parameter, start, turned) in centre.in_full.items():
            weight = centre.space[name]
            slices = [file.get_slice(f"trained/{TAG}/{parameter}") for file in files]
            step = max(1, BLOCK // (2 * len(epochs) * max(1, weight[0].numel())))  # the last block is still held
            for top in range(0, len(weight), step):
                rows = slice(top, min(top + step, len(weight)))
                stored = slice(start + rows.start, start + rows.stop)
                made = torch.empty(len(epochs), *weight[rows].shape, device=weight.device)
                for one, part in zip(made, slices, strict=True):
                    one.copy_(part[:, stored].t() if turned else part[stored])
                yield Block(name, rows, made.sub_(weight[rows]))
