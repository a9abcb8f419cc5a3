"""Compiling the appendix with pdfLaTeX and reading its log: errors, undefined references, boxes that stick out."""

import re
import subprocess
from pathlib import Path

from peft_lib.files import atomic_path

TOLERATED_PT = 5.0
_OVERFULL = re.compile(r"Overfull \\[hv]box \(([0-9.]+)pt too (?:wide|high)\)[^\n]*")


class LatexError(RuntimeError):
    """The appendix did not compile, or does not fit its pages; the message quotes the log."""


def compile_appendix(report: Path, name: str = "appendix") -> Path:
    """Compiles report/appendix.tex three times and returns the PDF beside it. Raises LatexError.

    longtable carries column widths from one pass to the next, so only the last pass's log counts for boxes.
    """
    build = report / ".latex"
    build.mkdir(exist_ok=True)
    command = [
        "pdflatex",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        f"-output-directory={build.name}",
        f"{name}.tex",
    ]
    for _ in range(3):
        try:
            done = subprocess.run(
                command, cwd=report, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=300
            )
        except FileNotFoundError as error:
            raise LatexError("pdflatex is not installed. Install texlive-latex-recommended") from error
        log = (build / f"{name}.log").read_text(encoding="latin-1") if (build / f"{name}.log").is_file() else ""
        if done.returncode != 0:
            raise LatexError(f"pdflatex failed on {report / name}.tex:\n{_error(log or done.stdout.decode('latin-1'))}")
    problems = check_log(log)
    if problems:
        raise LatexError(f"{report / name}.tex compiles, but:\n" + "\n".join(f"- {p}" for p in problems))
    with atomic_path(report / f"{name}.pdf") as temporary:
        temporary.write_bytes((build / f"{name}.pdf").read_bytes())
    return report / f"{name}.pdf"


def _error(log: str) -> str:
    """The error and its surroundings from a log."""
    lines = log.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("!")), max(len(lines) - 15, 0))
    return "\n".join(lines[start : start + 12])


def check_log(log: str) -> list[str]:
    """What is wrong in the log of a last pass. Lines are unwrapped first: TeX breaks them at 79 characters."""
    text = re.sub(r"(?<=[^\n]{79})\n", "", log)
    complaints = [m[0] for m in _OVERFULL.finditer(text) if float(m[1]) > TOLERATED_PT]
    complaints += re.findall(r"LaTeX Warning: (?:Reference|Citation) [^\n]* undefined[^\n]*", text)
    complaints += re.findall(r"Package longtable Warning: Table widths have changed[^\n]*", text)
    return complaints
