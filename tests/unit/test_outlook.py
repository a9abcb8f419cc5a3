"""What is to do and what it costs: counts add up, measured times win, and formulas meet what can be counted otherwise."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_lib.results.outlook import BY_FORMULA, GPU_GB, MEASURED, NEAR, outlook
from peft_lib.study import cost
from peft_lib.study.counts import counts
from peft_lib.study.how import How
from peft_lib.study.needs import needs
from peft_lib.study.plan import Plan
from peft_lib.study.spec import RunSpec
from tests.runs import ROOT
from tests.unit import synthetic
from workflow_scripts import plan as command

CPU, H100 = cost.PROCESSORS["cpu"], cost.PROCESSORS["h100"]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
    return synthetic.make_plan(tmp_path / "study")


def look(plan: Plan, folder: Path, cuda: bool = False, against: Plan | None = None) -> dict[str, Any]:
    return outlook(plan, folder / "results", folder / "resources", H100 if cuda else CPU, cuda, against)


def one(plan: Plan, **wanted: Any) -> tuple[RunSpec, Any, Any]:
    spec = next(s for s in plan.runs.values() if all(getattr(s, k) == v for k, v in wanted.items()))
    return spec, plan.models[spec.model.id], plan.datasets[spec.dataset.id]


def test_the_six_n_rule(plan: Plan) -> None:
    """Training in full is 6 operations per number of the matrices and token, with a frozen backbone 4, evaluation 2."""
    for method, passes in (("fft", 6), ("lora", 4)):
        spec, model, data = one(plan, method=method)
        rows, items = data.sizes, 0.5 * spec.input_size  # texts fill half of it
        numbers = 12 * 3 * 384**2  # MiniLM-L3: three blocks of width 384
        train = passes * numbers * rows["train"] * spec.epochs * items
        evaluated = 2 * numbers * (rows["validation"] * spec.epochs + rows["test"] + rows["train"]) * items
        assert cost.flops(spec, model, data, How()) == pytest.approx(train + evaluated)


def test_seconds_follow_processors_precision_and_data(plan: Plan) -> None:
    spec, model, data = one(plan, method="lora")
    whole = cost.seconds(spec, model, data, How(), CPU) - cost.RUN_S
    assert cost.seconds(spec, model, data, How(), CPU, threads=4) - cost.RUN_S == pytest.approx(whole / 4)
    assert cost.seconds(spec, model, data, How(processes=2), CPU) - cost.RUN_S == pytest.approx(whole / 2)
    half = spec.model_copy(update={"train_limit": 1000, "eval_limit": None})
    assert cost.seconds(half, model, data, How(), CPU) < cost.RUN_S + whole
    assert cost.seconds(spec, model, data, How(), H100) < cost.RUN_S + whole / 10
    # small models wait for kernels: more micro-batches take longer, though the arithmetic is the same
    assert cost.seconds(spec, model, data, How(micro_batch=2), H100) > cost.seconds(spec, model, data, How(), H100)


def test_an_estimate_of_time_is_below_what_the_scheduler_is_asked_for(plan: Plan) -> None:
    for spec in plan.runs.values():
        model, data = plan.models[spec.model.id], plan.datasets[spec.dataset.id]
        for cuda, on in ((False, CPU), (True, H100)):
            bound = needs(spec, model, data, How(), cuda=cuda).runtime_min
            assert cost.seconds(spec, model, data, How(), on) / 60 < bound


def test_a_part_fetches_and_prepares_what_its_runs_to_do_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the other data of its models, nor anything for runs that have ended."""
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
    more = {"tasks": ["roberta_base/clutrr_gen", "roberta_base/mrpc"], "methods": ["lora"], "seeds": [0]}
    data = synthetic.study(only={"dataset": "mrpc"})
    data["grids"]["more"] = more
    plan = synthetic.make_plan(tmp_path / "study", data)
    [spec] = (plan.runs[run_id] for run_id in plan.asked)
    model, rows = plan.models["roberta_base"], plan.datasets["mrpc"]
    disk = look(plan, tmp_path)["disk"]
    assert disk["prepared"] == cost.prepared_bytes(model, rows, spec.input_size)
    assert disk["weights"] == cost.weights_bytes(model)
    synthetic.write_run(tmp_path / "results", plan, spec.run_id)
    assert look(plan, tmp_path)["disk"] == dict.fromkeys(disk, 0)


def test_a_reader_that_stops_reading_is_no_fault() -> None:
    """`... | head`: no traceback."""
    command = [sys.executable, "-m", "workflow_scripts.plan", "--configfile", "tests/workflow/tiny.yaml", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 141


def test_disk_is_the_delta_and_little_else(plan: Plan) -> None:
    spec, model, data = one(plan, method="fft")
    trained = 4 * counts(spec, model, data).trainable
    kept = {k: cost.run_bytes(spec, model, data, How(keep=k)) for k in ("none", "selected", "both")}
    assert kept["selected"] - kept["none"] == kept["both"] - kept["selected"] == trained
    assert kept["none"] < 1e6 and cost.checkpoint_bytes(spec, model, data) == 4 * trained


def test_counts_add_up(plan: Plan, tmp_path: Path) -> None:
    ids = list(plan.runs)
    changes: dict[str, Any] = {ids[0]: None, ids[1]: {"fingerprint": "0" * 16}, ids[2]: {"status": "diverged"}}
    synthetic.write_results(tmp_path / "results", plan, lambda spec: changes.get(spec.run_id, {}))
    seen = look(plan, tmp_path)
    total = seen["total"]
    assert (total["runs"], total["asked"], total["done"]) == (len(ids), len(ids), len(ids) - 2)
    assert total["todo"] == 2 and total["stale"] == 1
    assert sum(group["runs"] for group in seen["hours"]) == 2
    assert sum(group["hours"] for group in seen["hours"]) == pytest.approx(total["hours"])
    assert [g["runs"] for g in seen["stale"]] == [1]
    by_id = {a["id"]: a for a in seen["artefacts"]}
    assert by_id["ablation"]["runs"] == len({p.run_id for p in plan.points["ablation"]})
    assert all(a["done"] + a["todo"] == a["asked"] for a in seen["artefacts"])


def test_measured_times_win_over_formulas(plan: Plan, tmp_path: Path) -> None:
    """MiniLM's LoRA is measured: its other seed takes as long; other methods of the task are near; digits are by formula."""
    done = next(i for i, s in plan.runs.items() if s.method == "lora" and s.model.id == "minilm_l3")
    spec = plan.runs[done]
    sizes = plan.datasets[spec.dataset.id].sizes
    rows = {f"n_{name}": count for name, count in sizes.items()}
    synthetic.write_run(tmp_path / "results", plan, done, wall_s=720.0, **rows)
    groups = {group["source"]: group for group in look(plan, tmp_path)["hours"]}
    same = sum(1 for s in plan.runs.values() if (s.model.id, s.method) == ("minilm_l3", "lora")) - 1
    task = sum(1 for s in plan.runs.values() if s.model.id == "minilm_l3") - 1 - same
    assert (groups[MEASURED]["runs"], groups[NEAR]["runs"]) == (same, task)
    assert groups[MEASURED]["hours"] == pytest.approx(0.2 * same)
    assert groups[NEAR]["hours"] == pytest.approx(0.2 * task)
    assert sum(g["runs"] for g in groups.values()) == len(plan.runs) - 1 and BY_FORMULA in groups
    # a time that a CPU took says nothing of a GPU
    assert {g["source"] for g in look(plan, tmp_path, cuda=True)["hours"]} == {BY_FORMULA}


def test_runs_are_sorted_by_the_gpu_that_holds_them(plan: Plan, tmp_path: Path) -> None:
    seen = look(plan, tmp_path, cuda=True)["gpus"]
    assert sum(kind["runs"] for kind in seen) == len(plan.runs) and all(k["memory_gb"] in GPU_GB for k in seen)
    big = replace(plan, models={k: m.model_copy(update={"parameters": 10**12}) for k, m in plan.models.items()})
    assert {kind["memory_gb"] for kind in look(big, tmp_path, cuda=True)["gpus"]} == {None}


def test_a_changed_study_says_what_it_adds_and_leaves(plan: Plan, tmp_path: Path) -> None:
    data = synthetic.study()
    grid = {**data["grids"]["main"], "seeds": [1, 2]}
    changed = synthetic.make_plan(tmp_path / "changed", data | {"grids": {**data["grids"], "main": grid}})
    change = look(changed, tmp_path, against=plan)["change"]
    assert change["new"] == len(changed.runs.keys() - plan.runs.keys()) > 0
    assert change["gone"] == len(plan.runs.keys() - changed.runs.keys()) > 0
    assert change["new"] + change["kept"] == len(changed.runs)
    assert sum(g["runs"] for g in change["new_runs"]) == change["new"] == change["new_todo"]
    same = look(plan, tmp_path, against=plan)["change"]
    assert (same["new"], same["gone"], same["kept"]) == (0, 0, len(plan.runs))


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert command.main(arguments) == 0
    return capsys.readouterr().out


def test_the_command_says_it_in_words_and_in_json(plan, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # its cache stays here
    synthetic.write_results(tmp_path / "results", plan, lambda spec: {} if spec.seed == 0 else None)
    recorded = tmp_path / "results/tables/synthetic/study.json"
    recorded.parent.mkdir(parents=True)
    recorded.write_text((tmp_path / "study/study.json").read_text())
    common = ["--configfile", "study/study.json", "--root", "study", "--only", "{artefact: performance, seed: 1}"]
    text = call([*common, "--device", "cuda"], capsys)
    assert f"{len(plan.runs)} runs, 28 asked for" in text and "GPU hours" in text and "16 GB" in text
    assert "Against results/tables/synthetic/study.json" in text
    seen = json.loads(call([*common, "--device", "cpu", "--json"], capsys))
    assert (seen["total"]["todo"], seen["total"]["done"], seen["total"]["asked"]) == (28, 0, 28)
    assert seen["change"]["new"] == 0 and seen["compared_with"].endswith("study.json")
    recorded.write_text("id: 3")
    assert json.loads(call([*common, "--json"], capsys))["change"] is None
    whole = json.loads(call([*common[:4], "--config", "title=Other", "--json"], capsys))
    assert whole["total"]["done"] == len(plan.runs) - whole["total"]["todo"] > 28


def test_the_command_is_snakemakes_view_of_the_flags(capsys, monkeypatch, tmp_path) -> None:
    """Several files, nested values: what Snakemake itself would plan, and its refusals."""
    from workflow_scripts.errors import run

    over = tmp_path / "over.yaml"
    over.write_text("defaults: {rank: 2}\n")
    common = ["--root", str(ROOT), "--configfile", str(ROOT / "tests/workflow/tiny.yaml")]
    monkeypatch.chdir(tmp_path)
    plain = json.loads(call([*common, "--json"], capsys))
    other = json.loads(
        call([*common, str(over), "--config", "defaults={epochs: 3}", "--json", "--against", common[-1]], capsys)
    )
    assert plain["total"]["runs"] == other["total"]["runs"] == other["change"]["new"] == 3
    assert run(lambda: command.main([*common, "--config", "1=2"])) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
    assert run(lambda: command.main([*common, "--only", "{artefact: tabel2}"])) == 2
    assert "did you mean table2" in capsys.readouterr().err
