"""Tables of docs/data.md and docs/results.md: made from the catalogs and the code, and what they say is so."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from peft_lib.study.expand import plan_config
from peft_lib.study.loading import load_datasets
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.tasks.answers import Answers
from peft_lib.tasks.loading import get_task
from workflow_scripts.catalog_pages import DATASETS, MODELS, PAGES, page

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = load_datasets(ROOT / "config/datasets.yaml")


def rows(name: str, key: str) -> dict[str, list[str]]:
    """Rows of the page's tables whose first cell is an id, by that id."""
    text = (ROOT / name).read_text(encoding="utf-8").partition(f"<!-- {key}: ")[2].partition("<!-- end of")[0]
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {line[0].strip("`"): line for line in cells}


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_a_page_are_those_of_catalogs_and_code(name: str) -> None:
    """Make them anew with: python -m workflow_scripts.catalog_pages"""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert page(name, text) == text


def test_an_old_table_is_replaced_and_a_page_without_its_place_refused() -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert page("docs/data.md", text.replace("12,064", "12,065")) == text != text.replace("12,064", "12,065")
    with pytest.raises(ValueError, match="put them where the table belongs"):
        page("docs/data.md", text.replace("<!-- end of models -->", ""))


def test_the_paper_s_data_sets_and_models_are_all_there() -> None:
    data, models = rows("docs/data.md", "data sets"), rows("docs/data.md", "models")
    assert len(set(DATASETS)) == 14 and set(DATASETS) <= set(data) and set(data) == set(ENTRIES)
    assert len(set(MODELS)) == 10 and set(MODELS) <= set(models)


def test_a_constant_answer_is_named_where_a_metric_has_one() -> None:
    table = rows("docs/results.md", "metrics")
    assert set(table) == set(DATASET_METRICS)
    examples = {
        "classification": (np.array([0, 1, 1]), np.array([0, 1])),
        "regression": (np.array([1.0, 2.0]), np.array([0.0, 3.0])),
        "generation": (np.array(["a b", "a b", "c"], object), np.array(["a b", "c d"], object)),
    }
    for name, what in DATASET_METRICS.items():
        train, test = examples[str(what.task)]
        answers = Answers(test, test, np.ones(2), np.ones(2), [str(i) for i in range(2)])
        found = get_task(str(what.task)).baseline(train, name, answers)
        assert (table[name][-1] == "none") == (found is None)


@pytest.mark.parametrize("name", ["cola", "rte", "stsb", "trec50", "paws_dev", "folio_v0", "rte_val_as_test"])
def test_the_shares_of_the_page_give_the_sizes_of_the_page(name: str) -> None:
    """From the rows that the lock file counted, by the shares as printed."""
    *_, sizes, splits = rows("docs/data.md", "data sets")[name]
    lock = ENTRIES[name].lock
    assert lock is not None
    left = dict.fromkeys(("train", "validation", "test"), 0.0)
    counted = {split: locked.rows for split, locked in lock.splits.items()}
    for source, rule in re.findall(r"(\w+) → ([^;.]*(?:\.\d[^;.]*)*)", splits):
        n = counted.pop(source)
        shares = re.findall(r"([\d.]+) % (\w+)", rule) or [("100", "validation"), ("100", "test")]
        for share, part in shares:
            left[part] += n * float(share) / 100
    for part, n in counted.items():
        left[part] += n
    printed = [float(size.replace(",", "")) for size in sizes.split(" / ")]
    assert printed == pytest.approx(list(left.values()), abs=1)


def test_the_study_of_the_page_is_a_study(tmp_path: Path) -> None:
    (study,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/data.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    data = yaml.safe_load(study)
    data["assets"]["mirror"] = str(tmp_path)
    plan = plan_config(data, [], ROOT)
    assert len(plan.runs) == 4
    here = plan_config({k: v for k, v in data.items() if k != "assets"}, [], ROOT)
    assert {r: plan.fingerprint(r) for r in plan.runs} == {r: here.fingerprint(r) for r in here.runs}
