"""Rules from CSV files are the rules that one would write in YAML, and a recorded study carries them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_lib.study.expand import plan_file, plan_study
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from peft_lib.study.rule_files import COLUMNS
from tests.unit import synthetic
from workflow_scripts.record_study import dumps

LIBRARY_WORDS = ("Input should", "pydantic", "Traceback", "type=")
VALUES = {
    "lr": "1e-3.5", "alpha": "r/2", "clip_norm": "null", "flip": "false", "schedule": "cosine", "rank": "2",
    "weight_decay": "1e-2", "warmup_ratio": ".5", "rand_augment": "'2x9'", "options.selector": "window",
}  # fmt: skip
"""Settings, each as one writes it in YAML."""


def rule(setting: str, value: str, source: str, **when: Any) -> dict[str, str]:
    return {**dict.fromkeys(COLUMNS, ""), **when, "setting": setting, "value": value, "source": source}


def as_csv(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_yaml(row: dict[str, str]) -> dict[str, Any]:
    """The same rule as one would write it in the study."""
    value = yaml.safe_load(row["value"])
    option = row["setting"].removeprefix("options.") if "." in row["setting"] else None
    when = {key: row[key].split() for key in COLUMNS[:5] if row[key]}
    return {
        "when": when,
        "set": {"options": {option: value}} if option else {row["setting"]: value},
        "source": row["source"],
    }


def planned(folder: Path, data: dict[str, Any]) -> Plan:
    for name, entries in (("models", synthetic.MODELS), ("datasets", synthetic.DATASETS)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")
    return plan_study(data, folder)


def made(
    folder: Path, data: dict[str, Any], rows: list[dict[str, str]], extra: list[dict[str, str]] | None = None
) -> Plan:
    """The plan of a study whose rules are all in files, in the order of `rows`, then `extra`."""
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules/a.csv").write_text(as_csv(rows), encoding="utf-8")
    (folder / "rules/b.csv").write_text(as_csv(extra or [rule("epochs", "5", "ours")]), encoding="utf-8")
    return planned(folder, {**data, "rules_from": ["rules/a.csv", "rules/b.csv"]})


@pytest.fixture
def data() -> dict[str, Any]:
    """Two tasks under all methods; a grid of its own rate."""
    study = synthetic.study()
    study["grids"] = {
        "main": {"tasks": ["minilm_l3/clutrr_gen", "vit_digits/digits"], "methods": ["fft", "lora", "r_cla", "cola"], "seeds": [0, 1]},
        "other": {"tasks": ["vit_digits/digits"], "methods": ["lora", "r_cla"], "seeds": [0], "vary": {"epochs": [3, 4]}},
    }  # fmt: skip
    study["rules"] = [r for r in study["rules"] if r["when"].get("model") != "roberta_base"]
    study["artefacts"] = [
        {"id": f"t_{grid}", "kind": "methods", "grid": grid, "title": grid} for grid in study["grids"]
    ]
    return study


ROWS = [
    *(rule(s, v, f"paper, {s}", method="lora r_cla", dataset="digits") for s, v in VALUES.items() if s != "options.selector"),
    rule("options.selector", VALUES["options.selector"], "inferred: as released", method="r_cla"),
    rule("lr", "1e-5", "ours: all but the grid", lr_group="lora"),
    rule("lr", "1e-4.25", "ours: the grid", grid="other"),
    rule("batch_size", "8", "ours: both", grid="main other", model="vit_digits"),
]  # fmt: skip


def test_rows_are_the_same_rules_in_yaml(tmp_path: Path, data: dict[str, Any]) -> None:
    """Same runs, same points, same sources; rows apply in their order, and before `rules`."""
    (tmp_path / "csv").mkdir()
    (tmp_path / "yaml").mkdir()
    read = made(tmp_path / "csv", data, ROWS)
    rows = [*ROWS, rule("epochs", "5", "ours")]
    written = planned(tmp_path / "yaml", {**data, "rules": [*map(as_yaml, rows), *data["rules"]]})
    assert read.runs == written.runs and read.points == written.points and read.provenance == written.provenance
    rates = sorted({s.lr for s in read.runs.values() if (s.model.id, s.method) == ("vit_digits", "r_cla")})
    assert rates == pytest.approx([10**-4.25, 10**-3.5], rel=1e-5)
    assert any(s.options == {"selector": "window"} for s in read.runs.values())


def test_order_of_files_and_rules(tmp_path: Path, data: dict[str, Any]) -> None:
    """The second file wins over the first, `rules` over both."""
    rates = {"fft": "1e-2", "cola": "1e-2"}
    first = [rule("lr", v, "paper: first", method=m) for m, v in rates.items()]
    plan = made(tmp_path, data | {"rules": [*data["rules"][:2], as_yaml(rule("lr", "1e-4", "ours: last", method="fft"))]},
                first, [rule("lr", "1e-3", "inferred: second")])  # fmt: skip
    said = {(s.method, s.lr, plan.provenance[i]["lr"]) for i, s in plan.runs.items()}
    assert {(m, lr) for m, lr, _ in said} == {("fft", 1e-4), ("cola", 1e-3), ("lora", 1e-3), ("r_cla", 1e-3)}
    assert {(m, text) for m, _, text in said if m in ("fft", "cola")} == {
        ("fft", "ours: last"),
        ("cola", "inferred: second"),
    }


def test_a_changed_cell_changes_exactly_its_runs(tmp_path: Path, data: dict[str, Any]) -> None:
    rows = [rule("weight_decay", "0.1", "ours", model="vit_digits", dataset="digits", method="lora")]
    before = made(tmp_path, data, rows)
    after = made(tmp_path, data, [{**rows[0], "value": "0.2"}])
    gone = before.runs.keys() - after.runs.keys()
    assert gone == {i for i, s in before.runs.items() if (s.model.id, s.method) == ("vit_digits", "lora")}
    assert len(after.runs.keys() - before.runs.keys()) == len(gone) > 0


def test_a_recorded_study_needs_no_file(tmp_path: Path, data: dict[str, Any]) -> None:
    """Written as the workflow records it, read after the files changed or went: the same plan."""
    plan = made(tmp_path, data, ROWS)
    recorded = tmp_path / "study.json"
    recorded.write_text(dumps(json.loads(json.dumps(plan.data))), encoding="utf-8")
    (tmp_path / "rules/a.csv").write_text(as_csv([{**ROWS[0], "value": "1e-1"}]), encoding="utf-8")
    (tmp_path / "rules/b.csv").unlink()
    again = plan_file(recorded, tmp_path)
    assert again.runs == plan.runs and again.provenance == plan.provenance and again.data == plan.data
    yaml_again = tmp_path / "study.yaml"
    yaml_again.write_text(recorded.read_text(encoding="utf-8"), encoding="utf-8")
    assert plan_file(yaml_again, tmp_path).runs == plan.runs


def test_a_study_without_files_records_none(tmp_path: Path, data: dict[str, Any]) -> None:
    assert "rule_texts" not in planned(tmp_path, data).data


def test_a_problem_of_a_row_names_file_line_and_column(tmp_path: Path, data: dict[str, Any]) -> None:
    """Lines are those of the file, though a text above spans two."""
    rows = [{**ROWS[0], "note": "two\nlines"}, {**ROWS[1], "value": "-1"}]
    with pytest.raises(StudyError) as caught:
        made(tmp_path, data, rows)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("rules_from[0][1].value.alpha", 4)
    assert Path(str(problem.file)).name == "a.csv"


@pytest.mark.parametrize(
    "odd", ["", " ", "null", "{", "[1]", "*x", "!!python/object:x", "'", "\u0441la", "1:30", "- - -", "%", "\u2028"]
)
def test_no_cell_makes_another_exception(odd: str, tmp_path: Path, data: dict[str, Any]) -> None:
    """Every cell of a row in turn: planned, or refused in words."""
    for column in COLUMNS:
        try:
            made(tmp_path, data, [{**ROWS[0], column: odd}])
        except StudyError as error:
            assert not any(word in str(error) for word in LIBRARY_WORDS), str(error)


def test_varied_options_reach_the_methods_that_have_them(tmp_path: Path, data: dict[str, Any]) -> None:
    data["grids"]["other"]["vary"] = {"options.selector": ["columns", "window", "gaussian"]}
    plan = planned(tmp_path, data)
    points = [(p.method, p.varied["options.selector"], plan.runs[p.run_id].options) for p in plan.points["other"]]
    assert {(v, str(o)) for m, v, o in points if m == "r_cla"} == {
        ("columns", "{}"), ("window", "{'selector': 'window'}"), ("gaussian", "{'selector': 'gaussian'}"),
    }  # fmt: skip
    assert len({p.run_id for p in plan.points["other"] if p.method == "lora"}) == 1  # it has no selector: one run
    assert {plan.provenance[p.run_id].get("options") for p in plan.points["other"] if p.method == "r_cla"} >= {"varied"}


def test_a_yaml_rule_may_be_for_a_grid(data: dict[str, Any], tmp_path: Path) -> None:
    data["rules"].append({"when": {"grid": "other"}, "set": {"lr": 0.5}, "source": "ours"})
    plan = planned(tmp_path, data)
    assert {plan.runs[p.run_id].lr for p in plan.points["other"]} == {0.5}
    assert 0.5 not in {plan.runs[p.run_id].lr for p in plan.points["main"]}


def test_files_as_spreadsheets_save_them(tmp_path: Path, data: dict[str, Any]) -> None:
    """A byte order mark, lines of Windows, an empty line at the end, columns in another order and without those not needed."""
    plain = made(tmp_path, data, ROWS)
    text = "\ufeffsource,setting,value,method\r\nours,weight_decay,0.1,lora\r\n\r\n"
    (tmp_path / "rules/b.csv").write_bytes(text.encode())
    study = {**data, "rules_from": ["rules/a.csv", "rules/b.csv"]}
    plan = planned(tmp_path, study)
    decayed = {s.method for s in plan.runs.values() if s.weight_decay == 0.1}
    assert decayed == {"lora"} and len(plan.runs) == len(plain.runs)


def test_rows_count_as_read_by_the_csv_module() -> None:
    """Quotes, commas and line ends as spreadsheets write them."""
    text = as_csv([rule("lr", "1e-3", 'ours: "as said", twice')]).replace("\n", "\r\n")
    plan = plan_study(
        {**synthetic.study(), "catalogs": {}, "rules_from": ["x.csv"], "rule_texts": {"x.csv": text}, "rules": [],
         "grids": {"main": {"tasks": ["vit_digits/digits"], "methods": ["lora"], "seeds": [0]}}, "artefacts": [],
         "defaults": {"rank": 8, "epochs": 2, "batch_size": 16, "input_size": 16}},
        Path(__file__).parents[2],
    )  # fmt: skip
    assert {p["lr"] for p in plan.provenance.values()} == {'ours: "as said", twice'}
