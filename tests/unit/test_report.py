"""From cells to page, figures and LaTeX: escaping, completeness, failures, reproducible bytes."""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from peft_lib.display.entries import fixed
from peft_lib.display.latex_text import latex_text, shown_length, stacked
from peft_lib.display.markup import latex_escape, latex_name, plain_name, safe_html
from peft_lib.display.view import Footnotes
from peft_lib.methods.method import Method
from peft_lib.methods.registry import get_method, register, unregister
from peft_lib.report.compile import check_log
from peft_lib.study.expand import plan_file
from peft_lib.study.plan import Plan
from tests.unit import synthetic
from workflow_scripts import latex, report, tables

HOSTILE = (
    r"""<script>alert(1)</script> "q" \input{/etc/passwd} $x_1^2$ & 100% #1 ~ ^ {open """
    + "word" * 40
    + " \u2603 \u00e9 -- </p>"
)
Change = Callable[[Any], dict[str, Any] | None]


def make(root: Path, data: dict[str, Any] | None = None, change: Change = lambda spec: {}) -> Path:
    """A rendered report of synthetic results."""
    plan = synthetic.make_plan(root, data)
    synthetic.write_results(root / "results", plan, change)
    common = ["--config", str(root / "study.json"), "--root", str(root), "--results", str(root / "results")]
    assert tables.main([*common, "--out-dir", str(root / "tables")]) == 0
    assert report.main([*common, "--tables", str(root / "tables"), "--out", str(root / "report")]) == 0
    return root / "report"


def fixed_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)


def failing(spec) -> dict[str, Any] | None:
    """One failure of every kind."""
    kinds = {
        "fft": {"status": "diverged", "reason": "loss is nan at step 12 <b>"},
        "c3la": {"fingerprint": "0" * 16}, "paca": {"trainable_parameters": 7}, "cola": None,
    }  # fmt: skip
    if (spec.method, spec.seed) == ("lora_plus", 1):
        return {"status": "out_of_memory", "reason": "12 GiB & 80% used"}
    return kinds.get(spec.method, {})


def hostile() -> dict[str, Any]:
    data = synthetic.study(title=HOSTILE, question=HOSTILE)
    for artefact in data["artefacts"]:
        artefact |= {"title": HOSTILE, "caption": HOSTILE}
    data["rules"][0]["source"] = HOSTILE
    return few(data)


NASTY = (
    "{x}", r"100% of_a & #1 \\alpha $^2$ ~", "<script>alert('q')</script>", "\"quoted\" 'twice'", "[bracket] first",
    "*starred", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 emoji", "\u6df1\u5ea6\u5b66\u4e60" * 12,
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eright to left", "e\u0301 o\u0308\u0323 x\u0336 \u0301", "W" * 120, "_hidden",
    "\ud83d half a pair", "bell\x07 null\x00 tab\tline\nfeed", "\u03b1\u03b2\u0393 \u00e9\u00f8\u0142\u00df \u00bd \u2075 \ufffe", "--flag", "a\\",
)  # fmt: skip


FOR_FILES = [text for text in NASTY if not set(text) & {"\ud83d", "\ufffe", "\u202e", "\x07"}]
"""What planning lets through: half a pair, control characters and reordering marks are refused in studies and catalogs."""


def nasty() -> dict[str, Any]:
    """Every nasty text as a title, caption, source and question, and as the name of a method (see `nasty_names`)."""
    texts = FOR_FILES
    everything = " ".join(texts)
    data = few(synthetic.study(title=everything, question=everything))
    data["artefacts"] = [
        a for a in data["artefacts"] if a["kind"] in ("methods", "heatmap", "hyperparameters", "cost", "curves")
    ]
    for place, artefact in enumerate(data["artefacts"]):
        artefact |= {"title": texts[place], "caption": texts[-1 - place]}
    for place, rule in enumerate(data["rules"]):
        rule["source"] = texts[place + 4]
    data["grids"]["main"]["methods"] = ["lora", *(f"nasty_{i}" for i in range(len(NASTY)))]
    data["grids"]["ablation"]["methods"] = [f"nasty_{i}" for i in range(len(NASTY))]
    return data


@contextmanager
def nasty_names() -> Iterator[None]:
    """Methods, models and data sets with nasty names."""
    base = get_method("cla")
    for place, text in enumerate(NASTY):
        family = "none such" if place == 0 else "future"
        register(
            replace(base, id=f"nasty_{place}", name=text, html=text, latex=text, family=family, dense_parent="lora")
        )
    with pytest.MonkeyPatch.context() as patch:
        for place, entry in enumerate((*synthetic.MODELS.values(), *synthetic.DATASETS.values())):
            patch.setitem(entry, "name", FOR_FILES[place + 6])
        try:
            yield
        finally:
            for place in range(len(NASTY)):
                unregister(f"nasty_{place}")


def one_method() -> dict[str, Any]:
    data = synthetic.study()
    data["artefacts"] = [a for a in data["artefacts"] if a["id"] != "normalized"]
    for artefact in data["artefacts"]:
        artefact.pop("normalise_to", None)
    for grid in data["grids"].values():
        grid["methods"] = ["cla"]
    data["grids"]["ablation"]["vary"] = {"rank": [2, 4], "lr": ["1e-3", "1e-2"]}
    return data


def few(data: dict[str, Any]) -> dict[str, Any]:
    """Fewer methods: what a scene is about does not need all, and drawing takes the time."""
    data["grids"]["main"]["methods"] = ["fft", "lora", "cola", "lora_plus", "c3la", "paca"]
    data["grids"]["ablation"] |= {"methods": ["lora"], "vary": {"rank": [2, 4], "lr": ["1e-3", "1e-2"]}}
    return data


def three_tasks() -> dict[str, Any]:
    data = synthetic.study()
    data["grids"]["main"] |= {"tasks": [*data["grids"]["main"]["tasks"], "roberta_base/mrpc"], "seeds": [0]}
    return few(data)


def few_rates(data: dict[str, Any]) -> dict[str, Any]:
    """An ablation whose best rate is within the grid and whose best rank is not."""
    data["grids"]["ablation"]["vary"]["lr"] = ["1e-3.5", "1e-2.7", "1e-2"]
    return data


def tying(spec) -> dict[str, Any] | None:
    """Two methods tie for the best on one task; one would win, but lost a seed."""
    if spec.dataset.id != "digits" or spec.method == "lora":
        return {}
    if spec.method == "lora_plus":
        return {"test_metric": 0.99} if spec.seed == 0 else {"status": "diverged", "reason": "loss is nan"}
    return {"test_metric": 0.95 - 0.01 * spec.seed} if spec.method in ("fft", "cola") else {}


def underscores() -> dict[str, Any]:
    """Ids of artefacts with what LaTeX takes for a subscript; nothing has run."""
    data = few(synthetic.study())
    data["artefacts"] = [{**a, "id": f"{a['id']}_1"} for a in data["artefacts"]]
    return data


def counts_alone() -> dict[str, Any]:
    """Printed counts without a run, on a catalog that lacks most of the paper's models."""
    data = {k: v for k, v in synthetic.study().items() if k in ("id", "title", "question", "catalogs")}
    files = {"table6": "table_6.csv", "table15": "table_15.csv"}
    return data | {
        "artefacts": [{"id": i, "kind": "counts", "title": f"Counts of {f}", "published": f} for i, f in files.items()]
    }


SCENES: dict[str, tuple[Callable[[], dict[str, Any]], Change]] = {
    "whole": (synthetic.study, lambda spec: {}),
    "underscores": (underscores, lambda spec: None),
    "failures": (lambda: few(synthetic.study()), failing),
    "hostile": (hostile, failing),
    "three_tasks_one_seed": (three_tasks, lambda spec: {}),
    "one_method": (one_method, lambda spec: {}),
    "ties": (lambda: few_rates(few(synthetic.study())), tying),
    "nasty": (nasty, lambda spec: {}),
    "no_artefact": (lambda: synthetic.study(artefacts=[]), lambda spec: {}),
    "nothing_ran": (lambda: few(synthetic.study()), lambda spec: None),
    "counts_alone": (counts_alone, lambda spec: {}),
    "all_diverged": (lambda: few(synthetic.study()), lambda spec: {"status": "diverged", "reason": "loss is nan"}),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory):
    """Reports by name, each made once."""
    made: dict[str, Path] = {}
    patch = pytest.MonkeyPatch()
    fixed_fingerprint(patch)

    def get(name: str) -> Path:
        if name not in made:
            data, change = SCENES[name]
            with nasty_names() if name == "nasty" else nullcontext():
                made[name] = make(tmp_path_factory.mktemp(name), data(), change)
        return made[name]

    yield get
    patch.undo()


class Page(HTMLParser):
    """Checks that tags nest, and gathers ids and addresses."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        assert not [a for a in attributes if a.startswith("on")], f"event handler on {tag}"
        assert tag != "img" or attributes.get("alt"), "a picture without words"
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [v for k, v in attributes.items() if k in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize("name", SCENES)
def test_page_is_well_formed_local_and_complete(scenes, name: str):
    folder = scenes(name)
    page = Page((folder / "index.html").read_text())
    assert "script" not in page.tags
    assert len(set(page.ids)) == len(page.ids)
    for address in page.addresses:
        if address.startswith("#"):
            assert address[1:] in page.ids
        elif not address.startswith("data:"):
            assert not re.match(r"[a-z]+:|//", address), f"{address} is not local"
            assert (folder / address).is_file(), address
    for path in folder.rglob("*.svg"):
        assert not re.search(r"(href|src)=\"(?!#)|@import|url\((?!#)", path.read_text())
    assert not re.search(r"url\(|@import", (folder / "assets/style.css").read_text())


def test_many_runs_have_pages_of_their_own_and_every_link_ends_at_its_run(tmp_path: Path, monkeypatch):
    fixed_fingerprint(monkeypatch)
    monkeypatch.setattr("peft_lib.report.page.ON_ONE_PAGE", 10)
    folder = make(tmp_path, few(synthetic.study()), failing)
    pages = {path.relative_to(folder).as_posix(): Page(path.read_text()) for path in folder.rglob("*.html")}
    plan = plan_file(tmp_path / "study.json", tmp_path)
    assert len(pages) == 1 + len({(s.model.id, s.dataset.id) for s in plan.runs.values()})
    assert sum(i.startswith("run-") for page in pages.values() for i in page.ids) == len(plan.runs) > 10
    linked = [a for a in pages["index.html"].addresses if "#run-" in a]
    assert len(linked) > 10
    for address in linked:
        file, _, anchor = address.partition("#")
        assert anchor in pages[file].ids
    assert not any(i.startswith("run-") for i in pages["index.html"].ids)


def test_printed_counts_stand_without_runs_and_say_what_is_missing(scenes):
    folder = scenes("counts_alone")
    page = (folder / "index.html").read_text()
    for words in (
        "no run: all its values are by formula", "The study plans no run", "124,647,170", "124.6e6", "0.944%",
        "the data set catalog has no cola: add it", "could not be computed", "as a multiple of the count of LoRA", "105.459",
    ):  # fmt: skip
        assert words in page, words
    cells = json.loads((folder / "tables/table6.json").read_text())["cells"]
    assert {c["status"] for c in cells if (c["model"], c["dataset"]) == ("roberta_base", "mrpc")} == {"ok"}
    assert {c["status"] for c in cells if c["model"] != "roberta_base"} == {"not_available"}
    assert len(cells) == 72 and not any("run_ids" in c for c in cells)


def test_first_load_is_small(scenes):
    folder = scenes("whole")
    loaded = [folder / "index.html", folder / "assets/style.css", *(folder / "figures").glob("*.svg")]
    assert sum(p.stat().st_size for p in loaded) < 1_000_000


def test_findings_come_from_the_data(scenes):
    text = (scenes("whole") / "index.html").read_text()
    assert "LoRA: 93.82\u00a0% test accuracy (seeds 93." in text and "too few for an interval)" in text
    assert (
        "No test of the differences was asked for." in text and "Below 3 seeds no interval of a mean is given" in text
    )
    assert "(smallest rank)" not in text and "(largest rank)" in text and "the optimum may lie outside" in text
    assert "above the majority class (11.00\u00a0%)" in text and "LoRA takes " in text
    assert "cLA +0.01 against Asym" in text
    assert "89 of 89 planned runs finished well" in text and "equal the formula in 89 of 89 runs" in text
    assert "No cell of this study has a published counterpart" in text


def test_single_seeds_ties_and_edges_are_shown_in_every_rendering(scenes):
    folder = scenes("ties")
    text = (folder / "index.html").read_text()
    assert 'aria-label="best, tied">\u25cf<span class="tie">=</span>' in text and "</span> tied" in text
    assert ">95.00; 94.00</span>" in text and "single seeds 95.00; 94.00" in text and "in place of an interval" in text
    assert "FFT and CoLA: 94.50\u00a0% test accuracy" in text
    assert ">edge: rank</span>" in text and "the best of LoRA (largest rank) lies at the edge of the grid" in text
    assert "Left out of the order, having fewer runs than planned: LoRA+ (1 of 2)." in text
    code = (folder / "tables/performance.tex").read_text()
    assert (
        r"94.50}\rankA{}{\tiny$=$}" in code and "95.00; 94.00" in code and r"\tiny seeds" in code and "$=$ tied" in code
    )
    assert "edge: rank" in (folder / "tables/ablation.tex").read_text()
    cells = json.loads((folder / "tables/performance.json").read_text())["cells"]
    best = [c for c in cells if c.get("rank_in_row") == 1 and c["dataset"] == "digits"]
    assert [(c["method"], c["tied"], c["values"]) for c in best] == [("fft", True, [95, 94]), ("cola", True, [95, 94])]
    rows = list(csv.DictReader((folder / "tables/performance.csv").open(newline="")))
    assert {(r["tied"], r["values"]) for r in rows if r["rank_in_row"] == "1" and r["dataset"] == "digits"} == {
        ("True", "95.0 94.0")
    }
    edges = [c["edge"] for c in json.loads((folder / "tables/ablation.json").read_text())["cells"] if "edge" in c]
    assert edges == ["largest rank"]


def test_failures_are_shown_with_their_reasons(scenes):
    text = (scenes("failures") / "index.html").read_text()
    for shown in (
        "div.",
        "missing",
        "1 of 2",
        "stale",
        "loss is nan at step 12 &lt;b&gt;",
        "12 GiB &amp; 80% used",
        "the formula says",
    ):
        assert shown in text, shown
    code = (scenes("failures") / "tables/performance.tex").read_text()
    assert "div." in code and r"12 GiB \& 80\% used" in code and "missing" in code


def test_one_seed_does_not_pretend_to_have_intervals(scenes):
    text = (scenes("three_tasks_one_seed") / "index.html").read_text()
    assert (
        "one seed: no interval" in text
        and "Single seed: no spread." in text
        and "line-interval" not in text.split("<main")[1]
    )
    assert "published counterpart" in text and "line-paper" in text


def test_hostile_text_stays_text(scenes):
    folder = scenes("hostile")
    text = (folder / "index.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    for path in [folder / "appendix.tex", *(folder / "tables").glob("*.tex")]:
        assert r"\input{/etc" not in path.read_text() and "<script" not in path.read_text()


def test_nasty_names_are_shown_and_stay_text(scenes):
    folder = scenes("nasty")
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "&lt;script&gt;alert(" in text
    for shown in (
        "{x}",
        "[bracket] first",
        "*starred",
        "\u6df1\u5ea6\u5b66\u4e60",
        "\u05e9\u05dc\u05d5\u05dd",
        "\U0001f600",
        "\ufffd half a pair",
        "_hidden",
    ):
        assert shown in text, shown
    for path in folder.rglob("*.svg"):
        ElementTree.fromstring(path.read_bytes())
    code = (folder / "tables/performance.tex").read_text()
    assert r"{[}U+6DF1{]}" in code and r"\{x\}" in code and r"{*}starred" in code
    assert not re.search(r"\\\\\*?\s*\[|\\\\\*\s*\*", code), "a text is read as an option of a line's end"


def test_same_results_same_bytes(scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fixed_fingerprint(monkeypatch)
    first, second = scenes("one_method"), make(tmp_path, one_method())
    for path in sorted(p for p in first.rglob("*") if p.is_file() and p.suffix not in (".pdf", ".png")):
        if ".latex" not in path.parts:
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path
    figures = [p.name for p in (first / "figures").glob("*.pdf")]
    assert figures and all(
        (first / "figures" / n).read_bytes() == (second / "figures" / n).read_bytes() for n in figures
    )


def test_what_a_study_no_longer_has_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fixed_fingerprint(monkeypatch)
    data = one_method()
    data["artefacts"] = [a for a in data["artefacts"] if a["id"] in ("cost", "performance")]
    folder = make(tmp_path, data)
    assert (folder / "figures/cost.svg").is_file()
    data["artefacts"] = data["artefacts"][:1]
    make(tmp_path, data)
    assert not (folder / "figures/cost.svg").exists() and not (folder / "tables/cost.csv").exists()


def test_twins_hold_every_cell(scenes):
    folder = scenes("whole")
    everything = json.loads((folder / "cells.json").read_text())
    assert {c["artefact"] for c in everything["cells"]} == {a["id"] for a in synthetic.study()["artefacts"]}
    assert set(everything["fields"]) >= {key for c in everything["cells"] for key in c}
    for artefact in synthetic.study()["artefacts"]:
        cells = json.loads((folder / f"tables/{artefact['id']}.json").read_text())["cells"]
        lines = (folder / f"tables/{artefact['id']}.csv").read_text().splitlines()
        assert len(lines) - 1 == len(cells) > 0


def test_method_markup_is_a_whitelist():
    assert safe_html("c<sup>3</sup>LA") == "c<sup>3</sup>LA"
    for bad in ("<script>x</script>", "<sup onclick=x>3</sup>", "<sup>open", "</sup>x<sup>", "<sup><sub>x</sup></sub>"):
        assert "<" not in str(safe_html(bad)), bad
    assert latex_name("r-c$^3$LA") == "r-c$^3$LA" and latex_name("a$_{12}$") == "a$_{12}$"
    assert latex_name(r"$^\input{x}$ $^{\a}$").count("\\input") == 0
    assert plain_name("r_c3la") == "r-c\u00b3LA"


def test_a_plug_in_s_names_are_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fixed_fingerprint(monkeypatch)
    register(
        Method("evil", "E<i>", "f", "ours", "future", (), html="<img src=x onerror=1>", latex=r"\undefined $^{2}$ & %")
    )
    try:
        data = synthetic.study()
        data["grids"] = {"main": {"tasks": ["vit_digits/digits"], "methods": ["lora", "evil"], "seeds": [0]}}
        data["artefacts"] = data["artefacts"][:1]
        folder = make(tmp_path, data)
    finally:
        unregister("evil")
    assert "img" not in Page((folder / "index.html").read_text()).tags
    code = (folder / "tables/performance.tex").read_text()
    assert r"\textbackslash{}undefined" in code and "$^{2}$" in code and r"\undefined" not in code


def test_latex_escape():
    assert latex_escape(r"\a{b}_c^d~e&f%g#h$") == (
        r"\textbackslash{}a\{b\}\_c\textasciicircum{}d\textasciitilde{}e\&f\%g\#h\$"
    )
    assert latex_escape("a--b") == "a-{}-b" and latex_escape("\u00e9\u2212\n") == r"\'{e}$-$ "
    assert latex_escape("\u2603") == r"{[}U+2603{]}\discretionary{}{}{}" == latex_text("\u2603")
    assert latex_escape("[a]*") == "{[}a{]}{*}" and latex_escape("e\u0301\u03b1") == r"\'{e}$\alpha$"
    assert shown_length(latex_text("\u2603 \\a--b{}" + "x" * 30)) == 8 + 1 + 7 + 30
    assert stacked(latex_name("Some c$^3$LA" + "y" * 20)) == ["Some", "c$^3$LA" + "y" * 8, "y" * 12]
    assert r"\discretionary" in latex_text("x" * 60) and r"\discretionary" not in latex_text("x" * 20)


def test_numbers_and_footnotes():
    assert [fixed(-1.5, 2), fixed(0.001, 2, signed=True), fixed(1234567, 0), fixed(-0.001, 2)] == [
        "\u22121.50",
        "0.00",
        "1,234,567",
        "0.00",
    ]
    notes = Footnotes()
    assert [notes.mark("one"), notes.mark("two"), notes.mark("one"), notes.mark(None)] == [("a",), ("b",), ("a",), ()]
    for i in range(30):
        notes.mark(f"n{i}")
    assert notes.items[26][0] == "aa"


def test_log_reader_sees_boxes_that_stick_out():
    log = (
        "Overfull \\hbox (4.9pt too wide) in paragraph\nOverfull \\hbox (12.3pt too wide) in alignment at lines 1--2\n"
    )
    assert check_log(log) == ["Overfull \\hbox (12.3pt too wide) in alignment at lines 1--2"]


@pytest.mark.latex
@pytest.mark.parametrize("name", SCENES)
def test_appendix_compiles_and_fits(scenes, name: str, capsys):
    assert latex.main(["--report", str(scenes(name))]) == 0, capsys.readouterr().err
    assert (scenes(name) / "appendix.pdf").stat().st_size > 10_000


@pytest.mark.latex
def test_a_broken_appendix_is_an_error_with_its_log(tmp_path: Path, capsys):
    (tmp_path / "appendix.tex").write_text("\\documentclass{article}\\begin{document}\\nonesuch\\end{document}")
    assert latex.main(["--report", str(tmp_path)]) == 1
    assert "Undefined control sequence" in capsys.readouterr().err
    assert not (tmp_path / "appendix.pdf").exists()


@pytest.mark.latex
def test_a_box_that_sticks_out_is_an_error(tmp_path: Path, capsys):
    (tmp_path / "appendix.tex").write_text(
        "\\documentclass{article}\\begin{document}\\noindent\\rule{30cm}{1pt}\\end{document}"
    )
    assert latex.main(["--report", str(tmp_path)]) == 1
    assert "Overfull" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 420])
def test_browser_shows_the_page_without_complaints(scenes, tmp_path: Path, width: int):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "no chromium: install it, or deselect with -m 'not browser'"
    picture = tmp_path / "page.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        f"--window-size={width},1600", f"--screenshot={picture}", (scenes("whole") / "index.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert ":CONSOLE" not in done.stderr
    assert picture.stat().st_size > 20_000


def test_the_data_sets_are_listed_with_what_is_not_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escaped, in the page and in LaTeX; of data sets that the study uses, and only where something differs."""
    fixed_fingerprint(monkeypatch)
    monkeypatch.setitem(synthetic.DATASETS["clutrr_gen"], "carve_out", "Test is 50 % of <validation> & no more.")
    monkeypatch.setitem(synthetic.DATASETS["mrpc"], "carve_out", "Not used here.")
    folder = make(tmp_path, few(synthetic.study()))
    page = (folder / "index.html").read_text(encoding="utf-8")
    section = re.findall(r'<section id="data">(.*?)</section>', page, flags=re.DOTALL)[0]
    assert "Test is 50 % of &lt;validation&gt; &amp; no more." in section
    assert section.count("Not as published") == 1 and "2,000 / 400 / 500" in section and "Digits" in section
    latex_file = (folder / "appendix.tex").read_text(encoding="utf-8")
    assert r"Test is 50 \% of" in latex_file and latex_file.count("Not as published") == 1
    assert "Not used here" not in page + latex_file
