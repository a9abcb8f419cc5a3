"""What chains are compared with and the columns that they touch: against a list, torch's own draws, and closed formulas."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peft_lib.layers.draws import Draws as TorchDraws
from peft_lib.methods.method import Columns, LowRank, Method
from peft_lib.methods.registry import available, built_in, get_method
from peft_lib.results.chains import base_of, columns_touched, planned_links
from peft_lib.study.spec import RunSpec
from tests.runs import spec_of

PAIRS = {"cola": "lora", "rac_lora": "asym_lora", "c3la": "cla", "r_c3la": "r_cla", "c_paca": "paca"}


def test_each_chain_has_its_base_and_no_other_method_has_one():
    assert {m: b for m in built_in() if (b := base_of(get_method(m), built_in()))} == PAIRS
    assert base_of(get_method("c3la"), ["lora", "r_cla", "paca"]) is None


@pytest.mark.parametrize(("chain", "base"), PAIRS.items())
def test_they_differ_in_chaining_alone(chain: str, base: str):
    """The first link of a run is the same, in torch's draws too; the second is another one."""
    one, other = get_method(chain), get_method(base)
    assert (one.trains, one.lr_group, one.weight) == (other.trains, other.lr_group, other.weight)
    assert one.chains and not other.chains

    def link(method: Method, index: int) -> object:
        made = method.start(TorchDraws(5, "block", 24, 16, 4, index), method.options())
        return made.A.tolist() if isinstance(made, LowRank) else made

    assert link(one, 0) == link(other, 0) != link(one, 1)


def test_a_plug_in_that_chains_finds_its_base():
    def start(link, options):
        return Columns(tuple(range(2 * link.index, 2 * link.index + link.rank)))

    mine = Method("mine", "Mine", "f", "ours", "future", ("B",), start=start, chains=True, column_sparse=True)
    assert base_of(mine, available()) == "cla"


def columns(method: str, links: int, d_in: int = 24, rank: int = 4, **options: str) -> float | None:
    return columns_touched(spec_of(method, rank=rank, options=options), d_in, 16, links)


def test_fixed_selections_are_counted():
    assert columns("cla", 1) == 4
    assert [columns("c3la", n) for n in (1, 2, 6, 7)] == [4, 8, 24, 24]
    # 26 columns by windows of 4: the seventh lies flush right, two columns of it are new.
    assert [columns("c3la", n, d_in=26) for n in (6, 7)] == [24, 26]
    assert columns("c3la", 7, d_in=26, remainder="drop") == 24


def test_random_selections_are_expected_by_formula():
    for method in ("r_c3la", "c_paca"):
        for links in (1, 2, 5):
            expected = 24 * (1 - (1 - 4 / 24) ** links)
            assert columns(method, links) == pytest.approx(expected, abs=4 * 24**0.5 / 2 / 10)
    assert columns("r_cla", 1) == columns("paca", 1) == 4
    # Aligned windows: 6 of them, each as likely; drawn without replacement, all are used after 6 links.
    touched = 4 * 6 * (1 - (5 / 6) ** 3)
    assert columns("r_c3la", 3, selector="aligned") == pytest.approx(touched, abs=4 * 4 * 0.6 / 10)
    assert columns("r_c3la", 3, draw="without_replacement") == 12
    assert columns("r_c3la", 6, draw="without_replacement", selector="aligned") == 24


def test_random_selections_are_distributed_as_the_run_s_own():
    """Mean over torch's draws of many places, which a run would make."""
    method = get_method("r_c3la")
    counts = []
    for place in range(100):
        links = [method.start(TorchDraws(5, f"block.{place}", 24, 16, 4, i), method.options()) for i in range(3)]
        counts.append(len({c for link in links for c in link.indices}))
    spread = (sum((c - sum(counts) / 100) ** 2 for c in counts) / 99) ** 0.5
    assert abs(columns("r_c3la", 3) - sum(counts) / 100) < 4 * math.sqrt(2) * spread / 10


def test_dense_methods_touch_all_columns():
    assert columns("cola", 3) is columns("lora", 1) is columns("fft", 0) is None
    assert columns("r_cla", 1, selector="gaussian") is None


def test_links_of_a_whole_run():
    assert planned_links(spec_of("c3la", epochs=4, chain_period=1)) == 4
    assert planned_links(spec_of("c3la", epochs=4, chain_period=2)) == 2  # never after the last epoch
    assert planned_links(spec_of("lora")) == 1 and planned_links(spec_of("fft")) == 0


def test_it_needs_no_torch(root: Path):
    code = "import sys; from peft_lib.methods.registry import available, get_method\n"
    code += "from peft_lib.results.chains import base_of\n"
    code += "print([base_of(get_method(m), available()) for m in available()].count(None), 'torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(built_in()) - len(PAIRS)), "False"]


def test_the_spec_is_what_counts():
    spec: RunSpec = spec_of("c3la", rank=8)
    assert columns_touched(spec, 24, 16, 2) == 16
