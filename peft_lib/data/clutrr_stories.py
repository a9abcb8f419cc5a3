"""Generated two-hop kinship stories in the manner of CLUTRR (Sinha et al., 2019), so that a study runs without a hub.

Two sentences state how b is related to a and c to b; the query is the pair (a, c); the class is what c is to a:

    [Anna] took her mother [Ruth] out to dinner. [Ruth]'s brother is called [Walter].    ('Anna', 'Walter')  ->  uncle

An encoder reads the pair (story without the brackets, "Anna, Walter"): brackets and quotes are a third of the tokens.
Classes, their integers and the other columns are those of the public CLUTRR (18 relations). The sentences are ours: no
text of the public data set is used, and accuracies are not comparable with it. Splits share no first name. Class counts
are equal, every prefix of a split is balanced too, and inside a class the two-hop chains take turns.

With the option `style: short` every sentence is a few words long and no detail is told, which halves the tokens:

    Anna called her mother Ruth. Ruth's brother is Walter.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from peft_lib import seeds
from peft_lib.data.splits import SPLITS, fixed_splits

MODALITY = "text"
TASK = "classification"
OPTIONS = ("train", "validation", "test", "seed", "style")
REVISION = "1"  # bump when the same options give other bytes (a test pins them)
LABELS = (
    "aunt", "son-in-law", "grandfather", "brother", "sister", "father", "mother", "grandmother", "uncle",
    "daughter-in-law", "grandson", "granddaughter", "father-in-law", "mother-in-law", "nephew", "son", "daughter",
    "niece",
)  # fmt: skip

# kind of relation -> the word for a man, the word for a woman
WORDS = {
    "parent": ("father", "mother"),
    "child": ("son", "daughter"),
    "sibling": ("brother", "sister"),
    "spouse": ("husband", "wife"),
    "grandparent": ("grandfather", "grandmother"),
    "grandchild": ("grandson", "granddaughter"),
    "parents_sibling": ("uncle", "aunt"),
    "siblings_child": ("nephew", "niece"),
    "parent_in_law": ("father-in-law", "mother-in-law"),
    "child_in_law": ("son-in-law", "daughter-in-law"),
}
# (what b is to a, what c is to b) -> what c is to a. These are the two-hop chains of the public data, without the two
# that do not follow (a child's uncle may be the spouse's brother; a child's grandfather may be a father-in-law).
# They hold in families where full siblings share both parents, the parents are married, and nobody marries twice.
RULES = {
    ("parent", "parent"): "grandparent",
    ("parent", "child"): "sibling",
    ("parent", "sibling"): "parents_sibling",
    ("child", "child"): "grandchild",
    ("child", "sibling"): "child",
    ("child", "spouse"): "child_in_law",
    ("sibling", "parent"): "parent",
    ("sibling", "child"): "siblings_child",
    ("sibling", "sibling"): "sibling",
    ("sibling", "grandparent"): "grandparent",
    ("spouse", "parent"): "parent_in_law",
    ("spouse", "child"): "child",
    ("spouse", "grandchild"): "grandchild",
    ("grandchild", "sibling"): "grandchild",
}
PRONOUNS = ({"he": "he", "his": "his", "him": "him"}, {"he": "she", "his": "her", "him": "her"})

# y is x's {r}; the pronouns are x's.
TEMPLATES = (
    "{x} went hiking with {his} {r} {y} on Saturday.",
    "{x} asked {his} {r}, {y}, to help {him} paint the kitchen.",
    "{x} took {his} {r} {y} out to dinner.",
    "{x} bought {his} {r}, {y}, a pair of gloves.",
    "{x} and {his} {r} {y} are decorating for a party.",
    "{x} loves to cook with {his} {r} {y}.",
    "{x} was glad to see {his} {r} {y} again.",
    "{x} wrote a long letter to {his} {r} {y}.",
    "{x} drove {his} {r} {y} to the airport.",
    "{x} sat next to {his} {r} {y} at the theatre.",
    "Every Sunday {x} plays cards with {his} {r} {y}.",
    "Last summer {x} visited {his} {r} {y} at the coast.",
    "{x} made lunch for {his} {r}, whose name is {y}.",
    "{x} told a joke, and {his} {r} {y} laughed at it.",
    "{x} could not find {his} keys, so {his} {r} {y} let {him} in.",
    "{x} called {his} {r} last night. {y} was pleased.",
    "{x}'s {r} is called {y}.",
    "{x}'s {r}, {y}, came over to watch the game.",
    "{x}'s {r} {y} bakes the best bread in town.",
    "{y} is {x}'s {r}.",
    "{y}, {x}'s {r}, brought a cake to the party.",
    "The {r} of {x} is {y}.",
)
SHORT_TEMPLATES = (
    "{x} called {his} {r} {y}.",
    "{x} met {his} {r} {y}.",
    "{x} visited {his} {r}, {y}.",
    "{x} wrote to {his} {r} {y}.",
    "{x} thanked {his} {r}, {y}.",
    "{x} cooks with {his} {r} {y}.",
    "{x} saw {y}, {his} {r}.",
    "{x}'s {r} is {y}.",
    "{x}'s {r} is called {y}.",
    "{y} is {x}'s {r}.",
    "{y}, {x}'s {r}, laughed.",
    "The {r} of {x} is {y}.",
)
# Says nothing about the family.
DETAILS = (
    "It rained all evening.",
    "The soup was far too hot.",
    "The train was late again.",
    "{x} wore a new coat.",
    "{x} had been looking forward to it.",
    "{x} slept well that night.",
)
SWAP_SHARE = 0.10  # share of stories whose second sentence comes first
DETAIL_SHARE = 0.15  # share of stories with a detail
# style -> sentences, share of stories with a detail
STYLES = {"long": (TEMPLATES, DETAIL_SHARE), "short": (SHORT_TEMPLATES, 0.0)}

# split -> men, women
NAMES = {
    "train": (
        "Adam Albert Andrew Arthur Benjamin Carl Charles Daniel David Edward Eric Frank Gary George Harold Henry Jack "
        "James John Joseph Kevin Larry Louis Mark Matthew Oliver Paul Peter Philip Robert Samuel Stephen Thomas Walter",
        "Alice Amanda Andrea Anna Barbara Carol Catherine Christine Deborah Diana Elizabeth Emma Florence Gloria Grace "
        "Hannah Helen Irene Jane Janet Jennifer Julia Karen Laura Linda Margaret Maria Martha Mary Nancy Olivia Rachel "
        "Ruth Susan",
    ),
    "validation": (
        "Alan Anthony Brian Bruce Dennis Douglas Eugene Fred Gerald Howard Jeffrey Kenneth Leonard Martin Nicholas "
        "Patrick Raymond Roger Simon Victor",
        "Angela Beverly Charlotte Cynthia Donna Ellen Evelyn Heather Jessica Joan Judith Kathleen Lisa Marie Pamela "
        "Rebecca Rose Sandra Sophia Teresa",
    ),
    "test": (
        "Alexander Christopher Donald Ernest Francis Gregory Harry Jacob Jonathan Justin Keith Lawrence Michael Nathan "
        "Ralph Richard Ronald Scott Timothy William",
        "Amy Betty Caroline Cheryl Dorothy Eleanor Emily Frances Jacqueline Joyce Kimberly Lillian Melissa Michelle "
        "Patricia Samantha Sarah Sharon Stephanie Victoria",
    ),
}  # fmt: skip


class _Draws:
    """Random choices from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def index(self, n: int) -> int:
        return int(torch.randint(n, (1,), generator=self._generator))

    def pick(self, items: Sequence):
        return items[self.index(len(items))]

    def chance(self, share: float) -> bool:
        return float(torch.rand((), generator=self._generator)) < share

    def order(self, n: int) -> list[int]:
        return torch.randperm(n, generator=self._generator).tolist()


def word(kind: str, gender: int) -> str:
    """English word for a relation to a man (gender 0) or a woman (1), e.g. ("sibling", 1) -> "sister"."""
    return WORDS[kind][gender]


def chains(label: str) -> list[tuple[str, str]]:
    """The two-hop chains (what b is to a, what c is to b) whose composition is `label`, in the order of RULES."""
    kind = next(kind for kind, words in WORDS.items() if label in words)
    return [hops for hops, composed in RULES.items() if composed == kind]


def rows(options: Mapping[str, int | float | str | bool], source: object = None) -> pa.Table:
    """The stories of all splits: id, split, label, text, text_pair, and the public CLUTRR's columns.

    Args:
        options: rows per split as `train`, `validation`, `test` (each a multiple of 18), `seed` of the data, and
            `style` of the sentences ("long" if left out, or "short").

    Raises:
        ValueError: for a missing or unknown option, a size that is not a multiple of the number of classes, or an
            unknown style.
    """
    expected = {*SPLITS, "seed"}
    if set(options) - {"style"} != expected:
        raise ValueError(
            f"clutrr_stories options {sorted(options)}: give exactly {sorted(expected)}, and `style` if you like, in "
            "the data set's catalog entry"
        )
    style = str(options.get("style", "long"))
    if style not in STYLES:
        raise ValueError(f"clutrr_stories option style={style!r}: must be one of {', '.join(STYLES)}")
    records = []
    for split_name in SPLITS:
        size = options[split_name]
        if isinstance(size, bool) or not isinstance(size, int) or size <= 0 or size % len(LABELS):
            raise ValueError(
                f"clutrr_stories option {split_name}={size!r}: must be a positive multiple of {len(LABELS)} so that "
                f"the {len(LABELS)} classes have equal counts"
            )
        draws = _Draws(seeds.generator(int(options["seed"]), "clutrr_stories", split_name))
        for block in range(size // len(LABELS)):
            for place, label in enumerate(draws.order(len(LABELS))):
                identity = f"clutrr-{split_name}-{block * len(LABELS) + place:05d}"
                records.append(_record(draws, identity, split_name, label, block, style))
    table = pa.Table.from_pylist(records)
    return table.set_column(table.column_names.index("label"), "label", table["label"].cast(pa.int32()))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The fixed split; the run's split seed has no effect."""
    return fixed_splits(column)


def _record(draws: _Draws, identity: str, split_name: str, label: int, turn: int, style: str) -> dict[str, str | int]:
    """One row; `turn` counts the rows of this class so far and picks the chain, so that the chains take turns."""
    options = chains(LABELS[label])
    first, second = options[turn % len(options)]
    c_gender = int(LABELS[label] == word(RULES[first, second], 1))
    b_gender = 1 - c_gender if second == "spouse" else draws.index(2)
    a_gender = 1 - b_gender if first == "spouse" else draws.index(2)
    genders = (a_gender, b_gender, c_gender)
    names: list[str] = []
    for gender in genders:
        names.append(draws.pick([name for name in NAMES[split_name][gender].split() if name not in names]))
    people = list(zip(names, genders, strict=True))

    templates, detail_share = STYLES[style]
    sentences = [
        _sentence(draws, templates, people[0], people[1], first),
        _sentence(draws, templates, people[1], people[2], second),
    ]
    clean = " ".join(sentences)
    if draws.chance(SWAP_SHARE):
        sentences.reverse()
    if draws.chance(detail_share):
        sentences.insert(draws.index(3), draws.pick(DETAILS).format(x=f"[{draws.pick(names)}]"))
    story, query = " ".join(sentences), str((names[0], names[2]))

    hops = [word(first, b_gender), word(second, c_gender)]
    facts = [(names[0], hops[0], names[1]), (names[1], hops[1], names[2])]
    return {
        "id": identity,
        "split": split_name,
        "label": label,
        "text": story.replace("[", "").replace("]", ""),
        "text_pair": f"{names[0]}, {names[2]}",
        "story": story,
        "query": query,
        "target": label,
        "target_text": LABELS[label],
        "clean_story": clean,
        "proof_state": f"[{{{(names[0], LABELS[label], names[2])}: {facts}}}]",
        "f_comb": "-".join(hops),
        "task_name": "task_1.2",
        "story_edges": "[(0, 1), (1, 2)]",
        "edge_types": str(hops),
        "query_edge": "(0, 2)",
        "genders": ",".join(f"{name}:{('male', 'female')[gender]}" for name, gender in people),
        "task_split": split_name,
    }


def _sentence(draws: _Draws, templates: Sequence[str], x: tuple[str, int], y: tuple[str, int], kind: str) -> str:
    """Tells that y is x's `kind`; x and y are (name, gender)."""
    text = draws.pick(templates)
    return text.format(x=f"[{x[0]}]", y=f"[{y[0]}]", r=word(kind, y[1]), **PRONOUNS[x[1]])
