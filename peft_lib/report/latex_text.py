"""Escaped LaTeX as a type, and the Jinja2 environment that escapes every plain text it prints."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from peft_lib.report.markup import latex_escape

LONGEST_WORD = 24


class Latex(str):
    """LaTeX code that has been escaped."""


def latex_text(text: object) -> Latex:
    """Escaped text whose very long words may break anywhere."""
    return Latex(" ".join(_breakable(word) for word in str(text).split(" ")))


def _breakable(word: str) -> str:
    if len(word) <= LONGEST_WORD:
        return latex_escape(word)
    pieces = [word[i : i + 8] for i in range(0, len(word), 8)]
    return r"\discretionary{}{}{}".join(latex_escape(p) for p in pieces)


def latex_environment(templates: Path) -> Environment:
    """Jinja2 with delimiters that LaTeX does not use. Whatever is printed and is not `Latex` is escaped."""
    env = Environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, autoescape=False, keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Latex) else latex_text(value),
    )  # fmt: skip
    env.filters["short"] = short
    env.globals["code"] = Latex
    return env


def short(text: str, length: int = 70) -> str:
    """The beginning of a text, for lists of tables and figures: an entry there has one line."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}\u2026"
