"""Statistics over rows: known answers, brute force over every draw, and other libraries' second opinions."""

import itertools

import numpy as np
import pytest
from scipy import stats

from peft_lib.statistics.across import (
    bootstrap,
    friedman,
    improvement,
    interquartile_mean,
    mean_rank,
    normalised,
    rank_p_values,
)  # fmt: skip

RNG = np.random.default_rng(7)


def rows_of(seeds: tuple[int, ...], methods: int = 4) -> list[np.ndarray]:
    return [RNG.normal(size=(methods, n)) + np.arange(methods)[:, None] / 3 for n in seeds]


class TestValues:
    def test_ranks_by_hand(self):
        first = [[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]]
        tied = [[5.0, 7.0], [7.0, 5.0], [0.0, 0.0]]
        assert mean_rank([np.array(first), np.array(tied)]).tolist() == [1.25, 2.25, 2.5]

    def test_means_that_differ_by_rounding_are_ties(self):
        row = np.array([[0.1 + 0.2], [0.3], [0.0]])
        assert mean_rank([row]).tolist() == [1.5, 1.5, 3]

    def test_ranks_do_not_change_with_the_unit_of_a_row(self):
        rows = rows_of((3, 3, 3))
        assert mean_rank(rows) == pytest.approx(mean_rank([rows[0] * 100 - 7, rows[1] / 10, rows[2]]))

    def test_ranks_sum_to_those_of_places(self):
        assert mean_rank(rows_of((3, 5, 2), 6)).sum() == pytest.approx(6 * 7 / 2)

    def test_normalised_scores_by_hand(self):
        scaled = normalised([np.array([[20.0, 40.0], [50.0, 90.0]])], [10.0])
        assert scaled[0] == pytest.approx(np.array([[1 / 6, 0.5], [2 / 3, 4 / 3]]))
        assert scaled[0].mean(axis=1).max() == pytest.approx(1)

    def test_a_row_in_which_nothing_was_learnt_has_no_scale(self):
        with pytest.raises(ValueError, match=r"row 1.*not above the zero"):
            normalised([np.ones((2, 1)), np.zeros((2, 1))], [0.0, 0.0])

    def test_interquartile_mean_leaves_a_quarter_out_at_either_end(self):
        row = np.array([[1.0, 2.0, 3.0, 100.0], [0.0, 0.0, 4.0, 4.0]])
        assert interquartile_mean([row]).tolist() == [2.5, 2.0]
        # Eight runs of two rows: two are left out at either end, wherever they are from.
        assert interquartile_mean([row, row + 1]).tolist() == [np.mean([2, 3, 3, 4]), np.mean([1, 1, 4, 4])]

    def test_interquartile_mean_is_that_of_any_library(self):
        rows = rows_of((3, 3, 5))
        for method, value in enumerate(interquartile_mean(rows)):
            runs = sorted(itertools.chain.from_iterable(row[method] for row in rows))
            cut = len(runs) // 4
            assert value == pytest.approx(np.mean(runs[cut : len(runs) - cut]))

    def test_probability_of_improvement_is_u_over_pairs(self):
        rows = rows_of((3, 5, 4))
        rows[0][2, 0] = rows[0][1, 1]  # a tie
        expected = [
            np.mean([stats.mannwhitneyu(row[m], row[1]).statistic / row.shape[1] ** 2 for row in rows])
            for m in range(4)
        ]
        found = improvement(rows, 1)
        assert found == pytest.approx(np.array(expected))
        assert found[1] == 0.5

    def test_probability_of_improvement_turns_round_with_the_reference(self):
        rows = rows_of((3, 3))
        assert improvement(rows, 0)[2] + improvement(rows, 2)[0] == pytest.approx(1)

    @pytest.mark.parametrize(
        ("rows", "words"),
        [([], "no rows"), ([np.ones((2, 3)), np.ones((3, 3))], "same methods"),
         ([np.array([[1.0, np.nan]])], "finite")],
    )  # fmt: skip
    def test_what_cannot_be_averaged_is_refused(self, rows: list, words: str):
        for statistic in (mean_rank, interquartile_mean, lambda r: improvement(r, 0)):
            with pytest.raises(ValueError, match=words):
                statistic(rows)


def every_draw(rows: list[np.ndarray], statistic, paired: bool) -> np.ndarray:
    """The statistic of every equally likely draw: the bootstrap's distribution without chance."""
    choices = []
    for row in rows:
        methods, seeds = row.shape
        one = list(itertools.product(range(seeds), repeat=seeds))
        choices.append([[pick] * methods for pick in one] if paired else list(itertools.product(one, repeat=methods)))
    drawn = []
    for picks in itertools.product(*choices):
        drawn.append(statistic([np.take_along_axis(r, np.array(p), axis=-1) for r, p in zip(rows, picks, strict=True)]))
    return np.array(drawn)


class TestBootstrap:
    @pytest.mark.parametrize("statistic", [mean_rank, interquartile_mean, lambda rows: improvement(rows, 0)])
    def test_paired_draws_against_all_of_them(self, statistic):
        rows = rows_of((3, 3), 3)
        exact = every_draw(rows, statistic, paired=True)  # 27 x 27 draws
        seen: list[np.ndarray] = []

        def kept(drawn):
            seen.append(statistic(drawn))
            return seen[-1]

        low, high = bootstrap(rows, kept, paired=True, draws=40_000)
        found = np.concatenate(seen)
        error = exact.std(axis=0) / 40_000**0.5
        assert np.all(np.abs(found.mean(axis=0) - exact.mean(axis=0)) <= 5 * error + 1e-9)
        assert found.std(axis=0) == pytest.approx(exact.std(axis=0), rel=0.03, abs=1e-9)
        # The distribution is discrete: each end lies between the percentiles just inside and outside of it.
        for end, share in ((low, 2.5), (high, 97.5)):
            assert np.all(end >= np.percentile(exact, share - 0.5, axis=0, method="lower") - 1e-9)
            assert np.all(end <= np.percentile(exact, share + 0.5, axis=0, method="higher") + 1e-9)

    def test_unpaired_draws_against_all_of_them(self):
        rows = rows_of((3,), 2)
        exact = every_draw(rows, lambda r: improvement(r, 0), paired=False)  # 27 x 27 draws
        seen: list[np.ndarray] = []

        def kept(drawn):
            seen.append(improvement(drawn, 0))
            return seen[-1]

        bootstrap(rows, kept, paired=False, draws=40_000)
        found = np.concatenate(seen)[:, 1]
        values, counts = np.unique(np.round(exact[:, 1], 6), return_counts=True)
        for value, count in zip(values, counts, strict=True):
            share = count / len(exact)
            error = (share * (1 - share) / len(found)) ** 0.5
            assert abs(np.mean(np.abs(found - value) < 1e-5) - share) < 5 * error

    def test_paired_draws_keep_what_all_methods_owe_to_the_seed(self):
        luck = np.array([0.0, 10.0, -10.0])
        row = np.array([luck, luck + 1, luck + 2])
        low, high = bootstrap([row], mean_rank, paired=True, draws=500)
        assert low.tolist() == high.tolist() == [3, 2, 1]
        low, high = bootstrap([row], mean_rank, paired=False, draws=500)
        assert (low < high).all()

    def test_the_same_data_give_the_same_interval(self):
        rows = rows_of((3, 3))
        one, other = (bootstrap(rows, interquartile_mean, paired=True, draws=700) for _ in range(2))
        assert one[0].tolist() == other[0].tolist() and one[1].tolist() == other[1].tolist()

    def test_coverage_is_what_the_docstring_says(self):
        """24 rows of 3 seeds: near 87 % for the interquartile mean, below the nominal 95 %, above what would be of no use."""
        rng = np.random.default_rng(5)
        levels = rng.normal(size=(24, 3, 1))

        def drawn() -> list[np.ndarray]:
            return [level + rng.normal(0, 0.5, (1, 3)) + rng.normal(0, 0.5, (3, 3)) for level in levels]

        truth = np.mean([interquartile_mean(drawn()) for _ in range(1500)], axis=0)
        held = []
        for _ in range(150):
            low, high = bootstrap(rows := drawn(), interquartile_mean, paired=True, draws=300)
            assert (low <= interquartile_mean(rows)).all() and (interquartile_mean(rows) <= high).all()
            held.append((low <= truth) & (truth <= high))
        assert 0.80 < np.mean(held) < 0.93

    def test_below_three_seeds_there_is_no_interval(self):
        with pytest.raises(ValueError, match="2 seeds"):
            bootstrap(rows_of((3, 2)), mean_rank, paired=True)


class TestFriedman:
    def test_too_few_rows_or_methods_have_no_test(self):
        assert friedman(rows_of((3,) * 9)) is None
        assert friedman(rows_of((3,) * 12, methods=2)) is None

    def test_statistic_by_the_sums_of_ranks(self):
        rows = rows_of((3,) * 12, methods=5)
        n, k = 12, 5
        ranks = mean_rank(rows)
        chi2 = 12 * n / (k * (k + 1)) * (np.sum(ranks**2) - k * (k + 1) ** 2 / 4)
        f = (n - 1) * chi2 / (n * (k - 1) - chi2)
        found = friedman(rows)
        assert found.statistic == pytest.approx(f)
        assert found.p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))

    def test_critical_differences_of_demsar(self):
        # Demsar 2006, Table 5(a): q at 5 % for 5 and 10 methods; his example, 4 methods on 14 rows, has 1.25.
        for k, q in ((5, 2.728), (10, 3.164)):
            n = 20
            found = friedman(rows_of((1,) * n, methods=k)).critical_difference
            assert found == pytest.approx(q * (k * (k + 1) / (6 * n)) ** 0.5, abs=2e-3)
        assert friedman(rows_of((1,) * 14, methods=4)).critical_difference == pytest.approx(1.25, abs=5e-3)

    def test_it_is_wrong_in_five_of_a_hundred_cases(self):
        rng = np.random.default_rng(0)
        wrong = sum(friedman(list(rng.normal(size=(12, 6, 1)))).p < 0.05 for _ in range(600))
        assert abs(wrong / 600 - 0.05) < 4 * (0.05 * 0.95 / 600) ** 0.5

    def test_rows_that_agree_and_rows_without_order(self):
        agreed = [np.arange(4.0)[:, None]] * 12
        assert friedman(agreed).p == 0
        equal = [np.ones((4, 3))] * 12
        assert friedman(equal).p == 1

    def test_p_values_against_a_reference(self):
        rows = rows_of((3,) * 15, methods=4)
        ranks, p = mean_rank(rows), rank_p_values(rows, 1)
        z = (ranks[3] - ranks[1]) / (4 * 5 / (6 * 15)) ** 0.5
        assert p[1] == 1 and p[3] == pytest.approx(2 * (1 - stats.norm.cdf(abs(z))))
