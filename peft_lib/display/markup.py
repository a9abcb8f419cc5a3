"""Escaping. Text of a study may hold anything; only the sup/sub of method names passes as markup."""

import re
import unicodedata

from markupsafe import Markup, escape

from peft_lib.methods.registry import get_method

_HTML_TAGS = re.compile(r"&lt;(/?)(sup|sub)&gt;")
_LATEX_NAME = re.compile(r"(\$[\^_](?:[A-Za-z0-9]|\{[A-Za-z0-9]+\})\$)")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''", "`": r"\textasciigrave{}", "\u2212": "$-$", "\u00b1": r"$\pm$", "\u00d7": r"$\times$",
    "\u00b7": r"$\cdot$", "\u2013": "--", "\u2014": "---", "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''",
    "\u2026": r"\ldots{}", "\u2264": r"$\le$", "\u2265": r"$\ge$", "\u2260": r"$\ne$", "\u2192": r"$\to$",
    "\u00b5": r"$\mu$",
    "\u00b2": "$^2$", "\u00b3": "$^3$", "\u00a0": "~", "\u2009": r"\,", "\u00df": r"\ss{}",
    "\u25b2": r"$\blacktriangle$",
    "\u25bc": r"$\blacktriangledown$", "\u2020": r"$\dagger$", "\u2011": "-",
    "[": "{[}", "]": "{]}", "*": "{*}", "\u00e6": r"\ae{}", "\u00c6": r"\AE{}", "\u00f8": r"\o{}", "\u00d8": r"\O{}",
    "\u0153": r"\oe{}", "\u0152": r"\OE{}", "\u0142": r"\l{}", "\u0141": r"\L{}", "\u0131": r"\i{}", "\u00a7": r"\S{}",
    "\u00b0": r"$^\circ$", "\u221a": r"$\surd$", "\u2016": r"$\Vert$",
}  # fmt: skip
_BAD = "\ufffe\uffff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "pi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "chi",
        "psi",
        "omega",
    ]
)
_GREEK_CAPITALS = frozenset(
    ["gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"]
)
"""Those that look like no Latin letter."""
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u0327": "c",
    "\u030c": "v",
}
_SUPERSCRIPTS = str.maketrans(
    "0123456789+-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b"
)
_SUBSCRIPTS = str.maketrans("0123456789+-", "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b")


def safe_html(text: str) -> Markup:
    """Escapes everything but sup and sub in closed, unnested pairs; any other use of them is escaped too."""
    escaped = str(escape(text))
    tags = _HTML_TAGS.findall(escaped)
    pairs = zip(tags[::2], tags[1::2], strict=False)
    closed = len(tags) % 2 == 0 and all(a == ("", b[1]) and b[0] == "/" for a, b in pairs)
    return Markup(_HTML_TAGS.sub(r"<\1\2>", escaped) if closed else escaped)


def visible(text: str) -> str:
    """Text that every file can hold and that shows what it says; tab and line feed stay.

    What becomes U+FFFD: control characters and half a surrogate pair, which neither UTF-8 nor an SVG can hold, and marks
    that turn the direction of writing, which would turn the rest of a sentence round.
    """
    bad = {c for c in set(text) if unicodedata.category(c) in ("Cc", "Cs") or c in _BAD} - {"\n", "\t"}
    return text.translate({ord(c): "\ufffd" for c in bad})


def latex_escape(text: object) -> str:
    r"""Text for pdfLaTeX, in any font encoding and at any place.

    Characters that pdfLaTeX's usual fonts cannot show (other scripts, emoji, lone combining marks) become their code point
    in brackets, [U+4E2D], behind which a line may break. Brackets and asterisks stand in braces: behind a line's end,
    \\, they would be read as its options.
    """
    escaped = "".join(_latex_character(c) for c in unicodedata.normalize("NFC", str(text)))
    # Hyphens in a row would be set as a dash, and a command line could no longer be copied.
    return re.sub("\0(?=\0)", "-{}", escaped).replace("\0", "-")


def _latex_character(character: str) -> str:
    if character == "-":
        return "\0"
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character if character.isprintable() else " "
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    if greek := re.fullmatch("GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(character, "")):
        letter = greek[2].lower().replace("lamda", "lambda")
        if letter in (_GREEK if greek[1] == "SMALL" else _GREEK_CAPITALS):
            return f"$\\{letter if greek[1] == 'SMALL' else letter.capitalize()}$"
    return f"{{[}}U+{ord(character):04X}{{]}}\\discretionary{{}}{{}}{{}}"


def latex_name(text: str) -> str:
    """A method's LaTeX name: escaped, but for superscripts and subscripts of one word between dollars."""
    parts = _LATEX_NAME.split(text)
    return "".join(part if place % 2 else latex_escape(part) for place, part in enumerate(parts))


def plain_name(method_id: str) -> str:
    """A method's name as plain Unicode text, for figures and sentences: c\u00b3LA."""
    method = get_method(method_id)
    text = re.sub(r"<sup>([0-9+-]+)</sup>", lambda m: m[1].translate(_SUPERSCRIPTS), method.html)
    text = re.sub(r"<sub>([0-9+-]+)</sub>", lambda m: m[1].translate(_SUBSCRIPTS), text)
    return " ".join(visible(method.name if "<" in text else text).split())


def short(text: str, length: int = 70) -> str:
    """The beginning of a text, where there is one line for it: lists of tables and figures, names in a figure."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}\u2026"
