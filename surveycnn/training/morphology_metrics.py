"""Metrics of a Galaxy Zoo classifier against the votes of volunteers and against the fractions that the votes are drawn from.

For the cards of models and for methods that give vote fractions alone; one metric per question, and some over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaln, gammaln

from surveycnn.models.card import Metric
from surveycnn.training.metrics import measured

MIN_VOTES = 20
"""On a question, so that the observed fractions mean something."""
MIN_OBJECTS = 10
"""Without which a metric is left out."""
SURE = 0.8
"""Share of the votes that makes a label confident."""
TAIL = 0.05
"""Left out at either end of a central 90 % interval."""
_PIECE = 2_000
_PIT_SEED = 90_210
"""Of the places within counts: one that no simulation is likely to take."""
_FEATURED = "smooth_or_featured"


@dataclass(frozen=True)
class _Asked:
    """What is known of the galaxies with enough votes on a question and an answer to it; (member, answer) each."""

    members: np.ndarray
    """(member,) their numbers."""
    expected: np.ndarray
    observed: np.ndarray
    votes: np.ndarray
    true: np.ndarray
    """NaN where the truth says nothing."""
    concentration: np.ndarray | None


def morphology_metrics(
    fractions: Mapping[str, np.ndarray],
    concentrations: Mapping[str, np.ndarray] | None,
    labels: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    questions: Mapping[str, Sequence[str]],
    prefix: str = "",
) -> dict[str, Metric]:
    """Metrics of predicted vote fractions, each name with `prefix` before it; a question with few galaxies is left out.

    Parameters
    ----------
    fractions
        (object, answer) expected vote fractions of each question; a row with NaN = no answer.
    concentrations
        (object, answer) of the Dirichlet distributions; None where there are none.
    labels
        (object, answer) votes of each question.
    truth
        Columns ``fraction_<question>`` (object, answer), the shares of infinitely many votes; `mag_i` and `redshift`
        (object,), for the bias with distance. What needs a column that is not there is left out.
    """
    asked = {name: _asked(name, fractions, concentrations, labels, truth) for name in questions if name in fractions}
    asked = {name: found for name, found in asked.items() if len(found.members) >= MIN_OBJECTS}
    metrics: dict[str, Metric] = {}
    for name, found in asked.items():
        metrics |= {f"{name}_{key}": metric for key, metric in _question_metrics(found).items()}
    metrics |= _pooled_metrics(list(asked.values()))
    if _FEATURED in asked and _featured(questions) is not None:
        metrics |= _bias_metrics(asked[_FEATURED], truth, _featured(questions) or 0)
    return {prefix + name: metric for name, metric in metrics.items()}


def _asked(
    question: str,
    fractions: Mapping[str, np.ndarray],
    concentrations: Mapping[str, np.ndarray] | None,
    labels: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> _Asked:
    votes, expected = np.asarray(labels[question], float), np.asarray(fractions[question], float)
    members = np.flatnonzero((votes.sum(axis=1) >= MIN_VOTES) & np.isfinite(expected).all(axis=1))
    votes = votes[members]
    true = truth.get(f"fraction_{question}")
    return _Asked(
        members=members,
        expected=expected[members],
        observed=votes / votes.sum(axis=1, keepdims=True),
        votes=votes,
        true=np.full(votes.shape, np.nan) if true is None else np.asarray(true, float)[members],
        concentration=None if concentrations is None else np.asarray(concentrations[question], float)[members],
    )


def _question_metrics(asked: _Asked) -> dict[str, Metric]:
    known = np.isfinite(asked.true).all(axis=1)
    metrics, votes = {}, f"at least {MIN_VOTES} votes"
    sure = asked.observed.max(axis=1) >= SURE
    if sure.sum() >= MIN_OBJECTS:
        text = f"fraction of right answers where one has at least {SURE:.0%} of {votes}"
        right = asked.expected[sure].argmax(axis=1) == asked.observed[sure].argmax(axis=1)
        metrics["accuracy"] = measured(_mean, text, right)
    text = f"mean |expected - observed vote fraction| over the answers, {votes}"
    metrics["fraction_error"] = measured(_mean, text, _error(asked.expected, asked.observed))
    if known.sum() >= MIN_OBJECTS:
        text = f"mean |expected - true vote fraction| over the answers, {votes}"
        metrics["truth_error"] = measured(_mean, text, _error(asked.expected, asked.true)[known])
    if asked.concentration is None:
        return metrics
    if known.sum() >= MIN_OBJECTS:
        text = f"fraction of the true vote fractions in the central 90 % of their marginal Beta distribution, {votes}"
        metrics["coverage90"] = measured(_mean, text, truth_covered(asked.concentration[known], asked.true[known]))
    text = f"fraction of the vote counts in the central 90 % of their Beta-binomial distribution, randomised PIT, {votes}"
    metrics["coverage90_votes"] = measured(_mean, text, votes_covered(asked.concentration, asked.votes))
    return metrics


def _pooled_metrics(asked: list[_Asked]) -> dict[str, Metric]:
    """Means over the questions; galaxies are resampled with all their answers."""
    if not asked:
        return {}
    n = 1 + max(int(found.members.max()) for found in asked)
    errors = np.full((n, len(asked)), np.nan)
    for column, found in enumerate(asked):
        errors[found.members, column] = _error(found.expected, found.observed)
    kept = np.isfinite(errors).any(axis=1)
    text = f"mean over {len(asked)} questions of their mean |expected - observed vote fraction|, at least {MIN_VOTES} votes"
    metrics = {"fraction_error": measured(_mean_of_columns, text, errors[kept])}
    covered = []
    for found in asked:
        known = np.isfinite(found.true).all(axis=1)
        if found.concentration is None or known.sum() < MIN_OBJECTS:
            continue
        inside = np.full((n, found.true.shape[1]), np.nan)
        inside[found.members[known]] = truth_covered(found.concentration[known], found.true[known])
        covered.append(inside)
    if covered:
        pairs = np.concatenate(covered, axis=1)
        text = "fraction of the true vote fractions, all questions and answers, in the central 90 % of their Beta distribution"
        metrics["coverage90"] = measured(_nan_mean, text, pairs[np.isfinite(pairs).any(axis=1)])
    return metrics


def _bias_metrics(asked: _Asked, truth: Mapping[str, np.ndarray], featured: int) -> dict[str, Metric]:
    """What distance does to the featured fraction: galaxies that are faint or far look smoother than they are."""
    metrics = {}
    excess = asked.expected[:, featured] - asked.true[:, featured]
    for name, column, third in (("faint", "mag_i", "faintest third in mag_i"), ("far", "redshift", "third of highest redshift")):
        if column not in truth:
            continue
        values = np.asarray(truth[column], float)[asked.members]
        kept = np.isfinite(values) & np.isfinite(excess)
        if kept.sum() < 3 * MIN_OBJECTS:
            continue
        last = kept & (values >= np.quantile(values[kept], 2 / 3))
        text = f"mean predicted minus true featured fraction, {third}, at least {MIN_VOTES} votes"
        metrics[f"{_FEATURED}_bias_{name}"] = measured(_mean, text, excess[last])
    return metrics


def truth_covered(concentration: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether true fractions (object, answer) lie in the central 90 % of their marginal Beta(a, A - a).

    >>> truth_covered(np.array([[1.0, 1.0]]), np.array([[0.96, 0.04]]))
    array([[False, False]])
    """
    rest = concentration.sum(axis=1, keepdims=True) - concentration
    return _is_central(betainc(concentration, rest, np.clip(true, 0, 1)))


def votes_covered(concentration: np.ndarray, votes: np.ndarray, seed: int = _PIT_SEED) -> np.ndarray:
    """Whether counts (object, answer) lie in the central 90 % of their marginal Beta-binomial distribution.

    A count stands for a range of the distribution, in which a place is drawn: 90 % of the counts are then inside where the
    concentrations are right, however few votes there are.
    """
    place, rng = np.empty(votes.shape), np.random.default_rng(seed)
    total = votes.sum(axis=1, keepdims=True)
    for start in range(0, len(votes), _PIECE):
        piece = slice(start, start + _PIECE)
        a = concentration[piece]
        below, own = _beta_binomial(a, a.sum(axis=1, keepdims=True) - a, votes[piece], total[piece])
        place[piece] = below + rng.random(own.shape) * own
    return _is_central(place)


def _beta_binomial(a: np.ndarray, b: np.ndarray, votes: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (object, answer) of fewer than `votes` of `total` votes, and of just as many."""
    k, n = np.arange(int(total.max()) + 1), total[..., None]
    is_possible = k <= n
    rest = np.where(is_possible, n - k, 0)
    chosen = gammaln(n + 1) - gammaln(k + 1) - gammaln(rest + 1)
    log_mass = chosen + betaln(k + a[..., None], rest + b[..., None]) - betaln(a, b)[..., None]
    mass = np.where(is_possible, np.exp(np.where(is_possible, log_mass, 0)), 0)
    own = np.take_along_axis(mass, votes[..., None].astype(int), axis=-1)[..., 0]
    return np.where(k < votes[..., None], mass, 0).sum(axis=-1), own


def _is_central(place: np.ndarray) -> np.ndarray:
    return (place >= TAIL) & (place <= 1 - TAIL)


def _featured(questions: Mapping[str, Sequence[str]]) -> int | None:
    """Number of the answer that says featured."""
    answers = questions[_FEATURED]
    return next((index for index, answer in enumerate(answers) if answer.startswith("featured")), None)


def _error(expected: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Mean absolute difference (object,) over the answers."""
    return np.abs(expected - fraction).mean(axis=1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _nan_mean(values: np.ndarray) -> float:
    return float(np.nansum(values) / max(1, np.isfinite(values).sum()))


def _mean_of_columns(values: np.ndarray) -> float:
    """Mean of the columns' means, without NaN and without the columns that a resampled set has left empty."""
    count = np.isfinite(values).sum(axis=0)
    return float(np.mean(np.nansum(values, axis=0)[count > 0] / count[count > 0]))
