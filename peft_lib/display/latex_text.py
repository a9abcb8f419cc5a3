"""Escaped LaTeX as a type: words that may break, lengths, stacks."""

import re

from peft_lib.display.markup import latex_escape

LONGEST_WORD = 24
NARROW = 12
"""Longest word that a narrow column holds unbroken, were it all W."""
_STAND_IN = r"\{\[\}U\+[0-9A-F]+\{\]\}"
_PIECES = re.compile(
    rf"{_STAND_IN}|\$[^$]*\$|\\discretionary(?:\{{\}}){{3}}|\\[rcv]\{{[A-Za-z]\}}|\\[A-Za-z]+(?:\{{\}})?"
    r"|\\.\{[A-Za-z]\}|\\.|\{[^{}]\}|-\{\}|.",
    re.DOTALL,
)
"""The parts of escaped code that must stay whole."""


class Latex(str):
    """LaTeX code that has been escaped."""


def latex_text(text: object, longest: int = LONGEST_WORD) -> Latex:
    """Escaped text in which words of more than `longest` characters may break anywhere."""
    return Latex(" ".join(_breakable(word, longest) for word in str(text).split(" ")))


def shown_length(code: str) -> int:
    """Number of characters that escaped code prints."""
    return sum(_length(piece) for piece in _PIECES.findall(code))


def _length(piece: str) -> int:
    if piece.startswith(r"\discretionary"):
        return 0
    if piece.startswith("$"):  # a formula: a command is about two characters wide, a thin space is one at most
        return max(1, len(re.sub(r"[$_^{}\s]", "", re.sub(r"\\[A-Za-z]+", "xx", piece).replace("\\", ""))))
    return len(piece) - 4 if piece.startswith("{[}U") else 1


def stacked(code: str, longest: int = NARROW) -> list[str]:
    """The words of escaped code, for lines on top of each other; a word of more than `longest` characters in pieces."""
    lines = []
    for word in code.split(" "):
        line, used = "", 0
        for piece in _PIECES.findall(word):
            if line and used + _length(piece) > longest:
                lines.append(line)
                line, used = "", 0
            line, used = line + piece, used + _length(piece)
        lines.append(line)
    return [line for line in lines if line] or [""]


def _breakable(word: str, longest: int) -> str:
    if len(word) <= longest:
        return latex_escape(word)
    pieces = [word[i : i + 8] for i in range(0, len(word), 8)]
    return r"\discretionary{}{}{}".join(latex_escape(p) for p in pieces)
