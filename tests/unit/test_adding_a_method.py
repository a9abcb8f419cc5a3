"""docs/adding_a_method.md, followed to the letter: a method outside the repository trains, plans, has a fingerprint."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn import functional as F

from peft_lib import adapt
from peft_lib.methods.method import METHOD_API, MethodError
from peft_lib.methods.registry import available, get_method, load_plugin, method_file, unregister
from peft_lib.study.expand import plan_study
from peft_lib.study.fingerprint import PACKAGE, closure, fingerprint
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
FILE, USE, VERA = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(STUDY,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
PATH = "my_methods/strided_cla.py"
MODELS = """
tiny:
  name: Tiny
  license: none
  backbone: timm_vit
  modality: image
  source: package:tiny/model
  revision: "1"
  hidden: 8
  parameters: 100
  head_parameters: 0
  architecture: {img_size: 16}
  targets: {qv: [{module: qkv, d_in: 8, d_out: 8, count: 2, rows: [0, 8]}]}
"""
DATASETS = """
toy:
  name: Toy
  license: none
  loader: digits
  modality: image
  source: generated:toy
  revision: "1"
  num_labels: 3
  sizes: {train: 64, validation: 16, test: 16}
  description: Nothing.
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder: the method's file as on the page, and small catalogs."""
    write(tmp_path / PATH, FILE)
    write(tmp_path / "config" / "models.yaml", MODELS)
    write(tmp_path / "config" / "datasets.yaml", DATASETS)
    monkeypatch.chdir(tmp_path)
    before = set(available())
    yield tmp_path
    for method in set(available()) - before:
        unregister(method)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def changed(old: str, new: str) -> str:
    assert old in FILE, f"{old!r} is no longer on the page"
    return FILE.replace(old, new)


def plan(folder: Path, **extra: Any) -> Plan:
    """The page's part of a study, with what every study needs."""
    study = yaml.safe_load(STUDY)
    study["grids"]["main"] |= {"tasks": ["tiny/toy"], "seeds": [0]}
    values = {"lr": 1e-3, "epochs": 6, "batch_size": 8, "input_size": 16, "rank": 4, "chain_period": 2}
    texts = {"id": "mine", "title": "Mine", "question": "Does it work?"}
    return plan_study({**texts, "defaults": values, **study, **extra}, folder)


def test_the_page_names_the_file_and_the_id(folder: Path):
    assert PAGE.count(PATH) >= 3
    assert load_plugin(PATH).id == "strided_cla" == Path(PATH).stem
    assert f"api={METHOD_API}," in FILE
    assert "strided_cla" in available()
    assert method_file("strided_cla") == (folder / PATH).resolve()


def test_the_page_shows_the_example_of_another_form() -> None:
    """tests/unit/zoo.py runs it, DoRA and (IA)^3 through every property."""
    assert (ROOT / "examples/methods/vera.py").read_text(encoding="utf-8") == VERA
    assert {p.stem for p in (ROOT / "examples/methods").glob("*.py")} == {"vera", "dora", "ia3"}
    for word in (
        "Tensors(trained, frozen)",
        "`size(shapes, rank)`",
        "`side(x, t, s)`",
        "`lowrank(t, s)`",
        "scaled=False",
    ):
        assert word in PAGE


def test_the_properties_run_on_it_without_editing_a_test(folder: Path) -> None:
    """The command of the page, a few of the properties only: the others differ in nothing but the time they take."""
    (command,) = re.findall(r"```sh\n(PEFT_LIB_PLUGINS=.*?)\n```", PAGE)
    plugin, _, rest = command.removeprefix("PEFT_LIB_PLUGINS=").partition(" ")
    arguments = [*rest.removeprefix("python -m pytest tests/unit ").split(), "-n", "0", "-p", "no:cacheprovider"]
    arguments[1] += " and (loading_is or save_then_load or changes_no_output or keeps_the_function)"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/unit/test_properties_state.py", "tests/unit/test_properties_training.py",
         "tests/unit/test_properties_chains.py", *arguments],
        cwd=ROOT, env={**os.environ, "PEFT_LIB_PLUGINS": str(folder / plugin)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 3 * 3 * 4  # executions, kinds of places, properties


def test_it_trains_chains_saves_and_merges(folder: Path):
    space: dict[str, Any] = {}
    exec(compile(USE, "docs/adding_a_method.md", "exec"), space)
    model, adapter = space["model"], space["adapter"]
    x = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    w0 = model[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(adapter.parameter_groups(1e-2))
    losses, columns = [], set()
    for step in range(30):
        if step in (10, 20):
            adapter.next_link()
        columns |= set(adapter.places["0"].columns.tolist())
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert columns == set(range(12))  # three links of 4 in 12 columns: the comb has been everywhere
    assert adapter.counts()["adapter"] == 4 * 12
    output = model(x).detach()
    adapter.save("delta.safetensors")
    merged = adapter.merge()
    assert torch.allclose(merged(x), output, atol=1e-5)  # sums of 12 terms of size 1 in another order: 12 * 6e-8 < 1e-5
    assert not torch.equal(merged[0].weight, w0)


@pytest.mark.parametrize("execution", ["dense", "gather", "inplace"])
def test_it_runs_under_every_execution(folder: Path, execution: str):
    load_plugin(PATH)
    model = torch.nn.Linear(12, 8)
    holder = torch.nn.Sequential(model)
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    adapter = adapt(holder, "strided_cla", rank=4, execution=execution, offset=2)
    assert adapter.places["0"].columns.tolist() == [2, 5, 8, 11]
    torch.testing.assert_close(holder(x), model(x), rtol=0, atol=0)  # B = 0
    holder(x).sum().backward()
    assert adapter.places["0"].B.grad.abs().min() > 0


def test_planning_accepts_it_without_torch(folder: Path):
    made = plan(folder)
    by_method = {spec.method: spec for spec in made.runs.values()}
    assert set(by_method) == {"cla", "strided_cla"}
    assert by_method["strided_cla"].chain_period == 2
    assert by_method["cla"].chain_period is None
    code = f"""
import sys
from peft_lib.methods.registry import load_plugin
load_plugin({PATH!r})
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_its_options_are_part_of_the_run(folder: Path):
    rule = yaml.safe_load(re.findall(r"`(\{when: .*?source: ours\})`", PAGE)[0])
    plain, shifted = plan(folder), plan(folder, rules=[rule])
    assert {spec.method: spec.options for spec in shifted.runs.values()} == {"cla": {}, "strided_cla": {"offset": 1}}
    assert len(plain.runs.keys() & shifted.runs.keys()) == 1  # cla's
    rule["set"]["options"] = {"offset": -1}
    with pytest.raises(StudyError, match=r"rules\[0\]\.set\.options\.offset[^§]*of at least 0"):
        plan(folder, rules=[rule])


@pytest.mark.parametrize("taken", ["cla", "strided_cla"])
def test_a_name_clash_is_refused_with_the_file_that_has_it(folder: Path, taken: str):
    load_plugin(PATH)
    before = available()
    other = write(folder / "other.py", changed('id="strided_cla"', f'id="{taken}"'))
    with pytest.raises(MethodError, match=rf"other.py: method id '{taken}' is taken by .*{taken}.py"):
        load_plugin(other)
    assert available() == before
    assert method_file("strided_cla") == (folder / PATH).resolve()
    assert load_plugin(PATH) is get_method("strided_cla")  # the same file again is no clash


def test_planning_reports_a_clash_and_its_place_in_the_study(folder: Path):
    write(folder / PATH, changed('id="strided_cla"', 'id="cla"'))
    with pytest.raises(StudyError, match=r"plugins\[0\][^§]*method id 'cla' is taken"):
        plan(folder)


@pytest.mark.parametrize("api", [METHOD_API - 1, METHOD_API + 1])
def test_another_api_version_is_refused_with_its_number(folder: Path, api: int):
    write(folder / PATH, changed("api=1", f"api={api}"))
    with pytest.raises(MethodError, match=rf"made for method API {api}, this is {METHOD_API}: see docs/"):
        load_plugin(PATH)
    assert "strided_cla" not in available()
    with pytest.raises(StudyError, match=rf"plugins\[0\][^§]*made for method API {api}"):
        plan(folder)


BROKEN = {
    "syntax": "def start(:",
    "import": "import no_such_module_anywhere",
    "no_method": "METHOD = None",
    "unknown_field": FILE.replace("start=start,", "begin=start,"),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_reported_with_their_place_in_the_study(folder: Path, text: str):
    write(folder / PATH, text)
    with pytest.raises(StudyError, match=r"plugins\[0\][^§]*strided_cla.py"):
        plan(folder)


def test_the_fingerprint_follows_the_code_and_nothing_else(folder: Path):
    """Copies in folders of their own: a file is parsed once per path and process."""

    def of(text: str, name: str) -> str:
        return fingerprint([write(folder / name / "strided_cla.py", text)])

    original = of(FILE, "a")
    assert of(FILE, "b") == original
    assert of(FILE + "\n# a comment\n", "c") == original
    assert of(changed("Strided cLA: B adapts", "This adapts"), "d") == original  # the docstring
    assert of(changed("% step", "% (step + 0)"), "e") != original
    assert of(changed("offset: int = Field(0", "offset: int = Field(1"), "f") != original


def test_the_fingerprint_holds_no_other_method(folder: Path):
    files = closure([folder / PATH])
    inside = {f.relative_to(PACKAGE).as_posix() for f in files if f.is_relative_to(PACKAGE)}
    assert "methods/method.py" in inside
    assert not inside & {f"methods/{m}.py" for m in available() if method_file(m) is not None}
    assert (folder / PATH).resolve() in files
    builtin = closure([PACKAGE / "methods" / "cla.py", PACKAGE / "layers" / "adapter.py"])
    assert (folder / PATH).resolve() not in builtin


def test_runs_carry_the_fingerprint_of_the_method_file(folder: Path):
    made = plan(folder)
    prints = {spec.method: made.fingerprint(run_id) for run_id, spec in made.runs.items()}
    elsewhere = folder / "elsewhere"
    write(elsewhere / PATH, changed("% step", "% (step + 0)"))
    for name, text in (("models", MODELS), ("datasets", DATASETS)):
        write(elsewhere / "config" / f"{name}.yaml", text)
    unregister("strided_cla")
    again = plan(elsewhere)
    after = {spec.method: again.fingerprint(run_id) for run_id, spec in again.runs.items()}
    assert again.runs.keys() == made.runs.keys()
    assert after["cla"] == prints["cla"]
    assert after["strided_cla"] != prints["strided_cla"]
