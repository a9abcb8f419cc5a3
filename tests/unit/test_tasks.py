"""Losses, answers, weights and measures of each task, against other people's implementations and numbers worked out by hand."""

import math

import numpy as np
import pytest
import sacrebleu
import torch
from scipy import stats
from sklearn import metrics

from peft_lib.data.loaders import UnknownModuleError
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.tasks import classification, generation, regression
from peft_lib.tasks.answers import Answers
from peft_lib.tasks.loading import get_task
from peft_lib.tasks.text_measures import groups


def answered(label, prediction, loss=None, weight=None, group=()) -> Answers:
    kind = object if isinstance(label[0], str) else None
    n = len(label)
    return Answers(
        np.array(label, dtype=kind), np.array(prediction, dtype=kind), np.ones(n) if loss is None else np.array(loss),
        np.ones(n) if weight is None else np.array(weight), group,
    )  # fmt: skip


def test_every_measure_says_what_it_is_in_one_place() -> None:
    for name in ("classification", "regression", "generation"):
        task = get_task(name)
        assert {m for m, what in DATASET_METRICS.items() if what.task == name} == set(task.MEASURES)
        assert set(task.MEASURES) >= task.DECODED
    with pytest.raises(UnknownModuleError, match="Did you mean: generation"):
        get_task("generations")


class TestClassification:
    draws = np.random.default_rng(0)
    label, prediction = draws.integers(0, 2, 200), draws.integers(0, 2, 200)

    def test_measures_by_counting(self) -> None:
        """From the four counts of the confusion table, not from the library that computes them."""
        both = list(zip(self.label.tolist(), self.prediction.tolist(), strict=True))
        tp, fp, fn, tn = (both.count(pair) for pair in ((1, 1), (0, 1), (1, 0), (0, 0)))
        answers = answered(self.label, self.prediction)
        assert classification.accuracy(answers) == (tp + tn) / 200
        assert classification.f1(answers) == pytest.approx(2 * tp / (2 * tp + fp + fn), rel=1e-12)
        below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        assert classification.mcc(answers) == pytest.approx((tp * tn - fp * fn) / below, rel=1e-12)

    @pytest.mark.parametrize("constant", [0, 1])
    def test_one_class_alone(self, constant: int) -> None:
        answers = answered([0, 1, 1, 0], [constant] * 4)
        assert classification.mcc(answers) == 0.0
        assert classification.f1(answers) == (0.0 if constant == 0 else pytest.approx(2 / 3))

    def test_loss_is_cross_entropy_and_mixes_and_smooths(self) -> None:
        logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
        logs = logits.double().log_softmax(-1)
        plain = -logs[torch.arange(5), labels]
        torch.testing.assert_close(classification.losses(logits, {"labels": labels}).double(), plain, rtol=1e-6, atol=0)
        smooth = classification.losses(logits, {"labels": labels}, 0.1).double()
        torch.testing.assert_close(smooth, 0.9 * plain - 0.1 * logs.mean(-1), rtol=1e-6, atol=0)
        shares = torch.nn.functional.one_hot(labels, 3).float() * 0.7 + 0.1
        mixed = classification.losses(logits, {"labels": shares}).double()
        torch.testing.assert_close(mixed, -(shares.double() * logs).sum(-1), rtol=1e-6, atol=0)

    def test_answers_and_baseline(self) -> None:
        prediction, score = classification.answers(torch.tensor([[0.0, 2.0], [3.0, 0.0]]), {})
        assert prediction.tolist() == [1, 0]
        assert score.tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-3))], rel=1e-6)
        test = answered([0, 1, 1, 1], [0, 0, 0, 0])
        assert classification.baseline(np.array([1, 1, 0]), "accuracy", test) == 0.75
        assert classification.baseline(np.array([1, 1, 0]), "mcc", test) == 0.0


class TestRegression:
    draws = np.random.default_rng(1)
    label = draws.uniform(0, 5, 100)
    prediction = np.round(0.5 * label + draws.normal(0, 1, 100), 1)  # rounded: ties

    def test_measures(self) -> None:
        answers = answered(self.label, self.prediction)
        assert regression.pearson(answers) == pytest.approx(np.corrcoef(self.label, self.prediction)[0, 1], rel=1e-12)
        ranks = [stats.rankdata(x) for x in (self.label, self.prediction)]
        assert regression.spearman(answers) == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-12)
        assert regression.rmse(answers) == pytest.approx(
            metrics.root_mean_squared_error(self.label, self.prediction), rel=1e-12
        )

    def test_constant_answers_have_no_correlation(self) -> None:
        answers = answered([1.0, 2.0, 3.0], [2.5] * 3)
        assert regression.pearson(answers) == regression.spearman(answers) == 0.0
        assert regression.baseline(np.array([1.0, 3.0]), "rmse", answers) == pytest.approx(math.sqrt(2 / 3))
        assert regression.baseline(np.array([1.0, 3.0]), "pearson", answers) == 0.0

    def test_loss_is_the_squared_error_on_the_scale_of_the_labels(self) -> None:
        outputs = torch.tensor([[2.5], [4.0]])
        losses = regression.losses(outputs, {"labels": torch.tensor([2.0, 5.0])})
        assert losses.tolist() == [0.25, 1.0]
        assert [t.tolist() for t in regression.answers(outputs, {})] == [[2.5, 4.0]] * 2


class TestGeneration:
    def test_losses_are_sums_over_an_items_target_tokens(self) -> None:
        """Item 0 has two target tokens, item 1 one, item 2 three."""
        logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(2))
        ids, item = torch.tensor([3, 1, 4, 1, 5, 9]), torch.tensor([0, 0, 1, 2, 2, 2])
        targets = {"target_ids": ids, "target_item": item, "n_items": torch.zeros(3)}
        each = [-float(logits[i].double().log_softmax(-1)[ids[i]]) for i in range(6)]
        wanted = [each[0] + each[1], each[2], sum(each[3:])]
        assert generation.losses(logits, targets).tolist() == pytest.approx(wanted, rel=1e-6)
        _, score = generation.answers(logits, targets)
        assert score.tolist() == pytest.approx([math.exp(-w / n) for w, n in zip(wanted, (2, 1, 3), strict=True)])

    def test_perplexity_weighs_tokens_not_items(self) -> None:
        answers = answered(["a", "b"], ["", ""], loss=[2.0, 9.0], weight=[1.0, 9.0])
        assert generation.perplexity(answers) == pytest.approx(math.exp(11 / 10))

    label = ("the cat sat on the mat .", "a cat sat on the mat .", "hello there , my friends")
    texts = ("the cat is on the mat .", "the cat is on the mat .", "hello my friends")

    def test_bleu_and_chrf_are_sacrebleus_with_several_references(self) -> None:
        """Two references of the first answer, one of the second: sacrebleu itself, fed by hand."""
        answers = answered(self.label, self.texts, group=["x", "x", "y"])
        hypotheses = [self.texts[0], self.texts[2]]
        streams = [[self.label[0], self.label[2]], [self.label[1], None]]
        assert generation.bleu(answers) == sacrebleu.corpus_bleu(hypotheses, streams).score / 100
        assert generation.chrf(answers) == sacrebleu.corpus_chrf(hypotheses, streams).score / 100

    def test_bleu_worked_out_by_hand(self) -> None:
        """6 tokens, reference 7: precisions 6/6, 5/5, 4/4, 3/3; brevity exp(1 - 7/6)."""
        answers = answered(["a b c d e f g"], ["a b c d e f"])
        assert generation.bleu(answers) == pytest.approx(math.exp(1 - 7 / 6), rel=1e-9)

    def test_nist_worked_out_by_hand(self) -> None:
        """Equal texts of four different words: each word's information is log2(4 / 1) = 2, longer n-grams add
        log2(1 / 1) = 0; nothing is lost to brevity."""
        assert generation.nist(answered(["a b c d"], ["a b c d"])) == pytest.approx(2.0)
        assert generation.nist(answered(["a b c d"], [""])) == 0.0

    def test_exact_match_takes_any_reference_and_ignores_blanks_at_the_ends(self) -> None:
        answers = answered(["x = 1", "x=1", "y = 2"], ["x=1 ", "x=1 ", "y  = 2"], group=["a", "a", "b"])
        assert generation.exact_match(answers) == 0.5

    def test_a_group_has_one_answer(self) -> None:
        with pytest.raises(ValueError, match="two answers"):
            groups(answered(["x", "y"], ["x", "y"], group=["a", "a"]))

    def test_baseline_is_the_most_frequent_text(self) -> None:
        test = answered(["x", "z"], ["", ""], group=["a", "b"])
        assert generation.baseline(np.array(["x", "y", "x"], dtype=object), "exact_match", test) == 0.5
        assert generation.baseline(np.array(["x"], dtype=object), "perplexity", test) is None
