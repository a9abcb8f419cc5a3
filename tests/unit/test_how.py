"""How runs are executed, and what catalogs recommend: layers, their order, and what of it reaches a run's id (nothing)."""

from pathlib import Path

import pytest

from peft_lib.study import check_datasets, check_names
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.how import How
from peft_lib.study.parsing import Parser
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from tests.bad_input.cases import models, put, study, top
from tests.bad_input.test_bad_input import _no_plugin_stays, plan  # noqa: F401 - a fixture

RULE = "    set: {lr: 1e-3}\n    source: ours\n"
LAST = "rules:\n  - when: {method: fft}\n"


def hows(made: Plan) -> dict[tuple[str, str], set[How]]:
    """(model, method) -> ways of execution of its runs."""
    found: dict[tuple[str, str], set[How]] = {}
    for run_id, spec in made.runs.items():
        found.setdefault((spec.model.id, spec.method), set()).add(made.how(run_id))
    return found


def recommended(model: str) -> tuple[str, str]:
    """An edit that lets the catalog's text model recommend."""
    return "  max_length: 128\n", f"  max_length: 128\n  how: {{{model}}}\n"


def test_a_run_is_executed_by_the_last_that_says_so(tmp_path: Path) -> None:
    """The model's entry, then the study's own keys, then rules; each by itself and all together."""
    rules = (
        LAST,
        "rules:\n  - {when: {method: [lora, cla]}, how: {micro_batch: 2}, source: ours}\n  - when: {method: fft}\n",
    )
    made = plan(
        tmp_path,
        {"models.yaml": [recommended("micro_batch: 4, gradient_checkpointing: true, keep: none")],
         "study.yaml": [rules, ("device: cpu\n", "keep: both\n")]},
    )  # fmt: skip
    every = hows(made)
    assert all(len(ways) == 1 for ways in every.values())
    (fft,), (lora,), (vit,) = every["bert", "fft"], every["bert", "lora"], every["vit", "cla"]
    assert (fft.micro_batch, fft.gradient_checkpointing, fft.keep) == (4, True, "both")
    assert (lora.micro_batch, lora.gradient_checkpointing, lora.keep) == (2, True, "both")
    assert (vit.micro_batch, vit.gradient_checkpointing, vit.keep) == (2, False, "both")
    run = next(i for i, s in made.runs.items() if (s.model.id, s.method) == ("bert", "lora"))
    sources = made.provenance[run]
    assert (sources["micro_batch"], sources["gradient_checkpointing"], sources["keep"]) == (
        "ours", "model catalog", "the study",
    )  # fmt: skip


def test_null_takes_a_recommendation_back(tmp_path: Path) -> None:
    edit = {"models.yaml": [recommended("micro_batch: 4")], "study.yaml": [("device: cpu\n", "micro_batch: null\n")]}
    assert {how.micro_batch for ways in hows(plan(tmp_path, edit)).values() for how in ways} == {None}


def test_how_is_in_no_run_id_and_no_fingerprint(tmp_path: Path) -> None:
    precision = put("precision: bf16")["study.yaml"]
    plain = plan(tmp_path, {"study.yaml": precision})
    extra = "micro_batch: 2\nprocesses: 2\nstorage: bf16\ngradient_checkpointing: true\nkeep: none\nexecution: dense\n"
    other = plan(tmp_path, {"study.yaml": [*precision, ("device: cpu\n", extra)]})
    assert other.runs.keys() == plain.runs.keys()
    assert other.how(next(iter(other.runs))) == How(
        processes=2, micro_batch=2, execution="dense", keep="none", storage="bf16", gradient_checkpointing=True
    )
    assert all(other.fingerprint(run) == plain.fingerprint(run) for run in plain.runs)


def test_a_rule_of_how_alone_that_later_ones_override_is_named(tmp_path: Path) -> None:
    first = "rules:\n  - {how: {keep: none}, source: ours}\n  - {how: {keep: both}, source: ours}\n  - when: {method: fft}\n"
    warnings = plan(tmp_path, study(LAST, first)).warnings
    assert [(w.path, "override" in w.rule) for w in warnings] == [("rules[0]", True)]


def test_a_micro_batch_that_splits_no_batch_is_a_warning_unless_a_catalog_says_it(tmp_path: Path) -> None:
    warnings = plan(tmp_path, top("micro_batch: 16")).warnings
    assert [w.path for w in warnings] == ["micro_batch"] and "the 8 items of a batch" in warnings[0].rule
    assert not plan(tmp_path, top("micro_batch: 8")).warnings
    halves = plan(tmp_path, study("device: cpu\n", "micro_batch: 8\nprocesses: 2\n")).warnings
    assert [w.path for w in halves] == ["micro_batch"] and "the 4 items" in halves[0].rule
    assert not plan(tmp_path, {"models.yaml": [recommended("micro_batch: 16")]}).warnings


def test_settings_are_those_of_the_last_layer_that_has_them(tmp_path: Path) -> None:
    """Each layer sets one thing more than the layer above it: the layer above wins, all else stays."""
    edit = {
        "models.yaml": [("  max_length: 128\n", "  max_length: 128\n  settings: {weight_decay: 0.1, head_lr_mult: 2, precision: bf16}\n")],
        "datasets.yaml": [("  description: Stories.", "  settings: {head_lr_mult: 3, schedule: linear, clip_norm: 5}\n  description: Stories.")],
        "study.yaml": [("set: {input_size: 64}", "set: {input_size: 64, schedule: cosine}")],
    }  # fmt: skip
    made = plan(tmp_path, edit)
    for run, spec in made.runs.items():
        if spec.model.id == "vit":
            assert (spec.weight_decay, spec.head_lr_mult, spec.precision, spec.schedule) == (0, 1, "fp32", "constant")
            continue
        assert (spec.weight_decay, spec.head_lr_mult, spec.precision) == (0.1, 3, "bf16")
        assert (spec.schedule, spec.clip_norm) == ("cosine", 1.0)
        sources = made.provenance[run]
        assert (sources["weight_decay"], sources["precision"]) == ("model catalog", "model catalog")
        assert (sources["head_lr_mult"], sources["schedule"]) == ("data set catalog", "ours")
        assert sources["clip_norm"] == "defaults"


def test_a_setting_without_effect_that_a_catalog_recommends_changes_no_run(tmp_path: Path) -> None:
    """Defaults of the specification, and what a method has no use for, are in no run id."""
    edit = models("  max_length: 128\n", "  max_length: 128\n  settings: {precision: fp32, flip: false, mixup: 0}\n")
    assert plan(tmp_path, edit).runs.keys() == plan(tmp_path, {}).runs.keys()


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("flip", [False, True]), ("rand_augment", ["null", '"2x9"']), ("mixup", [0, 0.2]), ("cutmix", [0, 1.0]),
        ("label_smoothing", [0, 0.1]), ("schedule", ["constant", "cosine"]), ("warmup_ratio", [0, 0.1]),
        ("weight_decay", [0, 0.01]), ("head_lr_mult", [1, 10]),
    ],
)  # fmt: skip
def test_a_grid_may_vary_it(axis: str, values: list, tmp_path: Path) -> None:
    listed = ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
    made = plan(
        tmp_path,
        study("vary: {rank: [2, 4], lr: [1e-3, 1e-2]}", f"vary: {{rank: [2, 4], lr: [1e-2], {axis}: [{listed}]}}"),
    )
    assert len({p.run_id for p in made.points["sweep"]}) == 4


def test_a_grid_may_vary_whose_state_a_reset_clears(tmp_path: Path) -> None:
    edit = [
        ("methods: [lora]\n", "methods: [c3la]\n"),
        ("lr: [1e-3, 1e-2]}", "optimizer_reset: [adapter, all, none], lr: [1e-2]}"),
    ]
    made = plan(tmp_path, {"study.yaml": edit})
    assert len({p.run_id for p in made.points["sweep"]}) == 6


def test_the_mirror_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    assert [w.path for w in plan(tmp_path, top("assets: {mirror: nowhere}")).warnings] == ["assets.mirror"]
    assert not plan(tmp_path, top(f'assets: {{mirror: "{tmp_path}"}}')).warnings


def entry(**changes: object) -> DatasetEntry:
    fields = {
        "id": "d", "name": "D", "license": "x", "loader": "some_loader", "modality": "text", "source": "generated:d",
        "revision": "1", "sizes": {"train": 10, "test": 5}, "description": "D.",
    }  # fmt: skip
    return DatasetEntry(**{**fields, **changes})


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"task": "regression", "metric": "pearson", "measures": ("spearman", "rmse")}, []),
        ({"task": "generation", "metric": "exact_match", "measures": ("bleu", "perplexity")}, []),
        ({"task": "regression", "metric": "pearson", "num_labels": 2}, ["d.num_labels"]),
        ({"task": "regression"}, ["d.metric"]),
        ({"task": "generation", "metric": "bleu", "measures": ("pearson",)}, ["d.measures[0]"]),
        ({"num_labels": 2, "metric": "f1", "measures": ("accuracy",)}, []),
    ],
)
def test_metrics_and_classes_fit_the_task(fields: dict, places: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tasks that no loader of the tests' catalog has."""
    monkeypatch.setattr(check_datasets, "check_module", lambda *_: None)
    parser = Parser({})
    check_datasets.check_datasets({"d": entry(**fields)}, parser)
    assert [p.path for p in parser.problems] == places


@pytest.mark.parametrize(("style", "refused"), [("pair", True), (None, True), ("prompt", False)])
def test_generation_needs_a_decoder(
    style: str | None, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backbone says by its STYLE whether it writes text."""
    monkeypatch.setattr(check_datasets, "declared", lambda folder, module, name: None)
    monkeypatch.setattr(check_names, "declared", lambda folder, module, name: style)
    edit = {"datasets.yaml": [("num_labels: 18", "task: generation\n  metric: bleu")]}
    if refused:
        with pytest.raises(StudyError, match="stories is a task of generation, and bert"):
            plan(tmp_path, edit)
    else:
        assert any(spec.dataset.id == "stories" for spec in plan(tmp_path, edit).runs.values())


def test_smoothing_needs_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_datasets, "declared", lambda folder, module, name: None)
    edit = {"datasets.yaml": [("num_labels: 18", "task: regression\n  metric: pearson")], **put("label_smoothing: 0.1")}
    with pytest.raises(
        StudyError, match="label_smoothing mixes or smooths classes, and the task of stories is regression"
    ):
        plan(tmp_path, edit)
