"""The Jinja2 environment of LaTeX templates: it escapes every plain text that it prints."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from peft_lib.display.latex_text import Latex, latex_text
from peft_lib.display.markup import short


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
