"""Ranking in the far tail: against brute force over all thresholds, and as properties of any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surveycnn.training.metrics import auroc, tpr_at_fp
from surveycnn.training.ranking import (
    Ranking,
    allowed_false_positives,
    quantile_interval,
    ranked,
    roc_curve,
    threshold_at_fp,
    tpr_at_fpr,
)

SETTINGS = settings(max_examples=60, deadline=None)


@st.composite
def labelled(draw):
    """Scores with many ties, some of them missing, of at least one positive and one negative."""
    n = draw(st.integers(2, 40))
    score = draw(arrays(np.float64, n, elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0, np.nan])))
    y = draw(arrays(np.bool_, n))
    y[0], y[1] = True, False
    return score, y


def best_tpr(score, y, k):
    """Largest true positive rate over all thresholds of a set without missing scores, by trying every one."""
    thresholds = [threshold for threshold in np.unique(score) if np.isfinite(threshold)]
    return max([0.0] + [np.mean(score[y] >= t) for t in thresholds if np.sum(score[~y] >= t) <= k])


@SETTINGS
@given(labelled(), st.integers(0, 12))
def test_tpr_at_fp__of_a_ranking_is_the_best_over_all_thresholds(data, k):
    score, y = ranked(data[0]), data[1]
    ranking = Ranking(*data)
    assert ranking.tpr_at_fp(ranking.counts, k) == tpr_at_fp(score, y, k) == best_tpr(score, y, k)
    assert np.sum(score[~y] > threshold_at_fp(*data, k)) <= k
    assert np.mean(score[y] > threshold_at_fp(*data, k)) == tpr_at_fp(score, y, k)


@SETTINGS
@given(labelled())
def test_auroc__of_a_ranking_counts_pairs(data):
    score, y = ranked(data[0]), data[1]
    pairs = [(p > n) + 0.5 * (p == n) for p in score[y] for n in score[~y]]
    ranking = Ranking(*data)
    assert ranking.auroc(ranking.counts) == pytest.approx(np.mean(pairs))
    assert auroc(score, y) == pytest.approx(np.mean(pairs))


@SETTINGS
@given(labelled(), st.integers(0, 2**31), st.integers(0, 5))
def test_ranking__of_a_resampled_set_is_that_of_the_objects_drawn(data, seed, k):
    score, y = ranked(data[0]), data[1]
    ranking, rng = Ranking(*data), np.random.default_rng(seed)
    sizes = (len(ranking.positives), len(ranking.negatives))
    counts = tuple(rng.multinomial(size, np.full(size, 1 / size)) for size in sizes)
    drawn = np.concatenate([np.repeat(ranking.positives, counts[0]), np.repeat(ranking.negatives, counts[1])])
    is_positive = np.arange(len(drawn)) < counts[0].sum()
    assert len(drawn) == len(score) and is_positive.sum() == y.sum()
    assert ranking.tpr_at_fp(counts, k) == tpr_at_fp(drawn, is_positive, k)
    assert ranking.auroc(counts) == pytest.approx(auroc(drawn, is_positive))


@SETTINGS
@given(labelled())
def test_roc_curve__rises_from_nothing_to_all_and_encloses_the_auroc(data):
    fpr, tpr = roc_curve(*data)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(fpr) >= 0) and np.all(np.diff(tpr) >= 0)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auroc(ranked(data[0]), data[1]))


def test_tpr_at_fp__ten_and_fewer_than_ten():
    """Ten negatives on top of half of the positives, and an eleventh below: the two conventions differ by that one."""
    score = np.concatenate([np.arange(100, 90, -1.0), np.full(5, 95.5), np.full(5, 90.5), [80.0], np.full(5, 85.0)])
    y = np.concatenate([np.zeros(10), np.ones(10), np.zeros(1), np.ones(5)]).astype(bool)
    assert tpr_at_fp(score, y, 9) == 5 / 15
    assert tpr_at_fp(score, y, 10) == 1


def test_tpr_at_fpr__of_saturated_scores_is_nothing():
    y = np.arange(2000) < 1000
    assert tpr_at_fpr(np.ones(2000), y, 1e-3) == 0
    assert tpr_at_fpr(np.where(y, 2.0, 1.0), y, 1e-3) == 1


@pytest.mark.parametrize(("n", "k"), [(999, 0), (1000, 1), (3000, 3), (50_494, 50), (7000, 7)])
def test_allowed_false_positives__rounds_down_without_rounding_errors(n, k):
    assert allowed_false_positives(1e-3, n) == k


def test_resampled__scatters_as_an_independent_draw_does():
    def draw(seed):
        rng = np.random.default_rng(seed)
        y = np.arange(4000) < 1000
        return rng.normal(0, 1, 4000) + 1.5 * y, y

    scatter = np.std([auroc(*draw(seed)) for seed in range(1, 120)])
    ranking = Ranking(*draw(0))
    values = ranking.resampled({"auroc": ranking.auroc}, n=200)["auroc"]
    low, high = quantile_interval(values)
    assert (high - low) / 2 == pytest.approx(scatter, rel=0.25)
    assert np.array_equal(values, ranking.resampled({"auroc": ranking.auroc}, n=200)["auroc"])


def test_ranking__of_one_class_is_refused():
    with pytest.raises(ValueError, match="3 positives and 0 negatives cannot be ranked"):
        Ranking(np.arange(3.0), np.ones(3, bool))
