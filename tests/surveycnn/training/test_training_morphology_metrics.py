"""Metrics of vote fractions on galaxies whose answers are drawn from known Dirichlet distributions."""

import numpy as np
import pytest
from scipy.stats import betabinom

from surveycnn.training.morphology_metrics import _beta_binomial, morphology_metrics, votes_covered

QUESTIONS = {"smooth_or_featured": ["smooth", "featured_or_disk", "artifact"], "bar": ["strong", "weak", "no"]}
FEATURED = 1


def drawn(n: int, seed: int, n_votes: int = 40) -> tuple[dict, dict, dict]:
    """Concentrations, votes and truth that agree: fractions from the Dirichlet distribution, votes from the fractions."""
    rng = np.random.default_rng(seed)
    concentrations = {name: rng.uniform(0.3, 8, (n, len(answers))) for name, answers in QUESTIONS.items()}
    truth = {
        f"fraction_{name}": np.array([rng.dirichlet(row) for row in values], np.float32)
        for name, values in concentrations.items()
    }
    labels = {}
    for name in QUESTIONS:
        shares = truth[f"fraction_{name}"].astype(float)
        labels[name] = rng.multinomial(n_votes, shares / shares.sum(axis=1, keepdims=True)).astype(np.int16)
    truth |= {"mag_i": rng.uniform(17, 23, n), "redshift": rng.uniform(0, 1, n)}
    return concentrations, labels, truth


def means(concentrations: dict) -> dict:
    return {name: values / values.sum(axis=1, keepdims=True) for name, values in concentrations.items()}


def test_morphology_metrics__coverage_of_right_concentrations():
    concentrations, labels, truth = drawn(3000, 0)
    found = morphology_metrics(means(concentrations), concentrations, labels, truth, QUESTIONS)
    for name in ("bar_coverage90", "bar_coverage90_votes", "smooth_or_featured_coverage90_votes", "coverage90"):
        assert found[name].value == pytest.approx(0.9, abs=0.015), name
        assert found[name].n == 3000 and found[name].interval[0] < found[name].value < found[name].interval[1]
    errors = [found[f"{name}_fraction_error"].value for name in QUESTIONS]
    assert found["fraction_error"].value == pytest.approx(np.mean(errors), abs=2e-6)
    assert found["bar_truth_error"].value < found["bar_fraction_error"].value, "votes scatter about the truth"


def test_morphology_metrics__coverage_of_concentrations_that_are_too_sure():
    concentrations, labels, truth = drawn(1000, 1)
    sure = {name: 10 * values for name, values in concentrations.items()}
    found = morphology_metrics(means(sure), sure, labels, truth, QUESTIONS)
    assert found["coverage90"].value < 0.6 and found["bar_coverage90_votes"].value < 0.7


def test_votes_covered__few_votes_are_covered_as_often_as_many():
    concentrations, labels, _ = drawn(4000, 2, n_votes=3)
    assert votes_covered(concentrations["bar"], labels["bar"].astype(float)).mean() == pytest.approx(0.9, abs=0.01)


def test_beta_binomial__against_scipy():
    a, b = np.array([[0.4, 3.0], [20.0, 1.0]]), np.array([[2.0, 0.7], [5.0, 60.0]])
    votes, total = np.array([[0.0, 7.0], [4.0, 1.0]]), np.array([[7.0], [5.0]])
    below, own = _beta_binomial(a, b, votes, total)
    assert own == pytest.approx(betabinom.pmf(votes, total, a, b))
    assert below == pytest.approx(betabinom.cdf(votes - 1, total, a, b))


def test_morphology_metrics__confident_labels_few_votes_and_rows_without_an_answer():
    votes = {"smooth_or_featured": np.tile([18, 2, 0], (40, 1)), "bar": np.tile([1, 1, 1], (40, 1))}
    votes["smooth_or_featured"][:10] = [2, 18, 0]
    votes["smooth_or_featured"][39] = [5, 5, 0]
    fractions = {name: np.tile([0.8, 0.1, 0.1], (40, 1)) for name in QUESTIONS}
    fractions["smooth_or_featured"][30:39] = np.nan
    found = morphology_metrics(fractions, None, votes, {}, QUESTIONS, prefix="x_")
    assert set(found) == {"x_smooth_or_featured_accuracy", "x_smooth_or_featured_fraction_error", "x_fraction_error"}
    accuracy, error = found["x_smooth_or_featured_accuracy"], found["x_fraction_error"]
    assert (accuracy.value, accuracy.n) == (pytest.approx(20 / 30, abs=1e-6), 30)
    assert (error.value, error.n) == (pytest.approx((20 * 0.2 / 3 + 10 * 1.6 / 3) / 30, abs=1e-6), 30)
    assert "at least 20 votes" in error.definition


def test_morphology_metrics__nothing_to_measure_on():
    few = {name: np.full((5, 3), 20) for name in QUESTIONS}
    fractions = {name: np.full((5, 3), 1 / 3) for name in QUESTIONS}
    assert morphology_metrics(fractions, fractions, few, {}, QUESTIONS) == {}
    assert morphology_metrics({}, None, few, {}, QUESTIONS) == {}


def test_morphology_metrics__bias_of_the_faint_and_of_the_far():
    concentrations, labels, truth = drawn(900, 3)
    fractions = {name: truth[f"fraction_{name}"].astype(float) for name in QUESTIONS}
    truth["mag_i"][:100] = np.nan
    faintest = truth["mag_i"] >= np.quantile(truth["mag_i"][100:], 2 / 3)
    fractions["smooth_or_featured"][faintest, FEATURED] -= 0.25
    found = morphology_metrics(fractions, concentrations, labels, truth, QUESTIONS)
    assert found["smooth_or_featured_bias_faint"].value == pytest.approx(-0.25, abs=1e-5)
    assert found["smooth_or_featured_bias_faint"].n == faintest.sum()
    assert -0.12 < found["smooth_or_featured_bias_far"].value < -0.03, "a third of the far ones are faint"
    without = {name: values for name, values in truth.items() if name != "redshift"}
    assert "smooth_or_featured_bias_far" not in morphology_metrics(fractions, None, labels, without, QUESTIONS)
