"""Types of settings and texts, each with its rule in words: what schema.py and catalogs.py declare their fields with."""

import math
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from peft_lib.study.problems import strange_characters
from peft_lib.study.wording import YAML_BOOLEANS, OneOrMany, Refused, Words

SAFE_ID = r"^[a-z0-9][a-z0-9_]*$"
ID_WORDS = "a name of lower-case letters a-z, digits and '_', starting with a letter or digit, at most 64 characters"
NUMBER = re.compile(r"([-+]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)?)[eE]([-+]?[0-9]+(?:\.[0-9]+)?)")


class Frozen(BaseModel):
    """A validated, immutable record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LOOK_ALIKES = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456", "aeopcxyi")
"""Cyrillic letters that look like Latin ones."""


def parse_number(value: Any) -> Any:
    """Reads '1e-3.5' as 10^-3.5, the paper's notation, and '1e-3', which YAML 1.1 takes for a text."""
    if isinstance(value, str) and (match := NUMBER.fullmatch(value.strip())):
        try:
            number = float(match[2] or 1) * 10.0 ** float(match[3])
        except OverflowError:
            number = math.inf
        return -number if match[1] == "-" else number
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return math.inf
    return value


def parse_alpha(value: Any) -> Any:
    """Reads alpha given as a multiple of the rank, in the paper's notation: r/4, r/2, r, 2r, 4r.

    Raises Refused for every other text.
    """
    value = parse_number(value)
    if isinstance(value, bool) or value is None:
        raise Refused(f"alpha is {ALPHA_WORDS}; {YAML_BOOLEANS}", "write alpha: 2r")
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{0,6})r(?:/([0-9]{1,6}))?", value)
        if match is None:
            plain = re.fullmatch(r"[0-9.]+", value)
            remedy = f"write it without quotes: alpha: {value}" if plain else "write alpha: 2r, r/2 or a number"
            raise Refused(f"alpha is {ALPHA_WORDS}", remedy)
        if int(match[1] or 1) == 0 or int(match[2] or 1) == 0:
            raise Refused(f"alpha is {ALPHA_WORDS}; a factor of 0 or a division by 0 is none", "write alpha: 2r")
    elif isinstance(value, (int, float)) and (not math.isfinite(value) or value <= 0):
        raise Refused(f"alpha is {ALPHA_WORDS}", "use a number above 0, or 2r")
    elif not isinstance(value, (int, float)):
        raise Refused(f"alpha is {ALPHA_WORDS}", "write alpha: 2r")
    return value


ALPHA_WORDS = "a number above 0, or a multiple of the rank written r/4, r/2, r, 2r, 4r"


def check_id(value: str) -> str:
    """Ids become folders, wildcards and labels. Raises Refused with the odd characters named and a usable id."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", value) or len(value) > 64:
        odd = strange_characters(value)
        plain = "".join(c for c in value.translate(LOOK_ALIKES) if unicodedata.category(c) != "Cf")
        near = re.sub(r"[^a-z0-9]+", "_", unicodedata.normalize("NFKD", plain).lower()).strip("_")[:64].strip("_")
        raise Refused(f"an id is {ID_WORDS}{f'; {odd}' if odd else ''}", f"for example {near or 'my_study'}")
    return value


def check_text(value: str) -> str:
    """Titles, captions and the like: shown in HTML and LaTeX. Any script and emoji; raises Refused for the rest."""
    rule = "a text is one paragraph of visible characters"
    if not value.strip():
        raise Refused(f"{rule}, this is blank", "write something, or leave the line out if it may be absent")
    plain = value.isascii() and value.replace("\n", " ").replace("\t", " ").isprintable()
    for index, character in enumerate("" if plain else value, 1):  # plain: quicker, for catalogs of many texts
        kind = unicodedata.category(character)
        bidirectional = 0x202A <= ord(character) <= 0x202E or 0x2066 <= ord(character) <= 0x2069
        if (kind in ("Cc", "Cs", "Cn", "Zl", "Zp") and character not in "\n\t") or bidirectional:
            name = unicodedata.name(character, "a control character or half of a pair")
            raise Refused(f"{rule}; character {index} is U+{ord(character):04X} {name}", "remove that character")
    if re.search(r"\n\s*\n", value.strip()):
        raise Refused(f"{rule}, this has an empty line", "join the paragraphs, or write the text with '>-'")
    if len(value) > 5_000:
        raise Refused(f"a text has at most 5,000 characters, this has {len(value):,}", "shorten it")
    return value


def check_scalar(value: Any) -> Any:
    """Options: raises Refused for numbers that are none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("an option is a text, a finite number, true or false", "write a finite number")
    return value


Number = Annotated[float, BeforeValidator(parse_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0), Words("a number above 0")]
NonNegative = Annotated[Number, Field(ge=0), Words("a number of at least 0")]
Alpha = Annotated[float | str, BeforeValidator(parse_alpha), Words(ALPHA_WORDS)]
Id = Annotated[str, AfterValidator(check_id), Words(ID_WORDS)]
Name = Annotated[str, Field(min_length=1), Words("a name that exists, as a text")]
"""A reference to something defined elsewhere: planning looks it up, and says what there is."""
Names = Annotated[tuple[Name, ...], OneOrMany(), Field(min_length=1)]
Text = Annotated[str, AfterValidator(check_text), Words("a text")]
Caption = Annotated[str, AfterValidator(lambda value: check_text(value) if value else value), Words("a text")]
Seed = Annotated[int, Field(ge=0, lt=2**31), Words("a whole number from 0 to 2,147,483,647")]
PathText = Annotated[str, Field(min_length=1), Words("the path of a file")]
Line = Annotated[str, AfterValidator(check_text), Words("a text that is not blank")]
Scalar = Annotated[str | int | float | bool, AfterValidator(check_scalar), Words("a text, a number, true or false")]
