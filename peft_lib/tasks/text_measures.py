"""Measures of written text. Items of one group share their question: one answer, several references."""

from typing import Any

from peft_lib.tasks.answers import Answers

NIST_ORDER = 5
"""Longest n-gram of NIST, as in mteval."""


def groups(answers: Answers) -> tuple[list[str], list[list[str]]]:
    """One answer per group, and its references, in the order of first occurrence. Raises ValueError for a group with
    two answers."""
    texts: dict[str, str] = {}
    references: dict[str, list[str]] = {}
    names = answers.group or [str(i) for i in range(len(answers.label))]
    for name, reference, text in zip(names, answers.label, answers.prediction, strict=True):
        if texts.setdefault(name, str(text)) != str(text):
            raise ValueError(f"group {name!r} has two answers, {texts[name]!r} and {text!r}: decode each prompt once")
        references.setdefault(name, []).append(str(reference))
    return list(texts.values()), list(references.values())


def exact_match(answers: Answers) -> float:
    """Share of answers equal to one of their references, white space at both ends aside: tokenizers differ in a
    leading blank (PROTOCOL section 8)."""
    texts, references = groups(answers)
    hits = [text.strip() in {r.strip() for r in of} for text, of in zip(texts, references, strict=True)]
    return sum(hits) / len(hits)


def bleu(answers: Answers) -> float:
    """Corpus BLEU as a fraction: sacrebleu's defaults (13a tokens, mixed case, exponential smoothing), several references."""
    from sacrebleu.metrics import BLEU  # here and below: only runs that write text load it

    texts, references = groups(answers)
    return BLEU().corpus_score(texts, _streams(references)).score / 100


def chrf(answers: Answers) -> float:
    """Corpus chrF2 (character 6-grams) as a fraction: sacrebleu's defaults."""
    from sacrebleu.metrics import CHRF

    texts, references = groups(answers)
    return CHRF().corpus_score(texts, _streams(references)).score / 100


def nist(answers: Answers) -> float:
    """Corpus NIST-5 (nltk) on lower-cased 13a tokens: information-weighted n-gram precision, not bounded by 1.

    Orders longer than every answer say nothing and are left out; 0 where all answers are empty.
    """
    from nltk.translate.nist_score import corpus_nist
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenise = Tokenizer13a()
    texts, references = groups(answers)
    hypotheses = [tokenise(text.lower()).split() for text in texts]
    order = min(NIST_ORDER, max(map(len, hypotheses)))
    if order == 0:
        return 0.0
    return float(corpus_nist([[tokenise(r.lower()).split() for r in of] for of in references], hypotheses, n=order))


def _streams(references: list[list[str]]) -> list[Any]:
    """References as sacrebleu takes them: the i-th references of all answers, None where an answer has fewer."""
    most = max(map(len, references))
    return [[of[i] if i < len(of) else None for of in references] for i in range(most)]
