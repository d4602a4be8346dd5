"""Losses of the four tasks, on raw outputs; each gives one value per object and runs on any Keras backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from surveycnn.inference.heads import MAX_LOG_CONCENTRATION, MEAN_SHARPNESS, MIN_SIGMA_Z
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card

Loss = Callable[[Any, Any], Any]


def loss_of(card: Card) -> Loss:
    """Loss (targets, raw outputs) -> (object,) of the task of `card`."""
    if card.task == "morphology":
        return dirichlet_multinomial(list(map(len, card.questions.values())))
    return {"lens": binary, "merger": merger, "photoz": mixture}[card.task]


def binary(target: Any, raw: Any) -> Any:
    """Cross-entropy of a logit, in the form that cannot overflow."""
    ops = import_keras().ops
    y, logit = target[:, 0], raw[:, 0]
    return ops.relu(logit) - logit * y + ops.softplus(-ops.abs(logit))


def merger(target: Any, raw: Any) -> Any:
    """Cross-entropy of the logit, and for mergers alone the Gaussian log likelihood of the scaled time."""
    ops = import_keras().ops
    log_variance = ops.clip(raw[:, 2], -10, 10)
    staging = 0.5 * (ops.square(target[:, 1] - raw[:, 1]) * ops.exp(-log_variance) + log_variance)
    return binary(target, raw) + target[:, 0] * staging


CRPS_WEIGHT = 5.0
"""Of the continuous ranked probability score beside the log density: what a redshift far from the mixture costs grows with its
distance only there."""


def mixture(target: Any, raw: Any) -> Any:
    """Negative log density of the mixture of Gaussians at the redshift, and its continuous ranked probability score.

    Parameters
    ----------
    target
        (..., 1) redshifts, in units of the redshift scale.
    raw
        (..., 3 K) outputs as in `surveycnn.inference.heads.mixture_parameters`.
    """
    log_weight, mean, sigma = _mixture(raw)
    return CRPS_WEIGHT * _crps(target, import_keras().ops.exp(log_weight), mean, sigma) - mixture_log_density(target, raw)


def mixture_log_density(target: Any, raw: Any) -> Any:
    """Log density (...) at redshifts `target` (..., 1) of the mixtures of raw outputs (..., 3 K)."""
    ops = import_keras().ops
    log_weight, mean, sigma = _mixture(raw)
    log_density = -0.5 * ops.square((target - mean) / sigma) - ops.log(sigma) - 0.5 * float(np.log(2 * np.pi))
    return ops.logsumexp(log_weight + log_density, axis=-1)


def _mixture(raw: Any) -> tuple[Any, Any, Any]:
    """Logarithms of the weights, means and widths (..., component)."""
    ops = import_keras().ops
    weight, mean, spread = ops.split(raw, 3, axis=-1)
    mean = MIN_SIGMA_Z + ops.softplus(MEAN_SHARPNESS * mean) / MEAN_SHARPNESS
    sigma = MIN_SIGMA_Z + ops.softplus(spread)
    return ops.log_softmax(weight, axis=-1), mean, sigma * mean * ops.rsqrt(ops.square(sigma) + ops.square(mean))


def _crps(target: Any, weight: Any, mean: Any, sigma: Any) -> Any:
    """Closed form for a mixture of Gaussians (Grimit et al. 2006), (...)."""
    ops = import_keras().ops
    first = ops.sum(weight * _mean_distance(target - mean, sigma), axis=-1)
    offset = ops.expand_dims(mean, -1) - ops.expand_dims(mean, -2)
    width = ops.sqrt(ops.square(ops.expand_dims(sigma, -1)) + ops.square(ops.expand_dims(sigma, -2)))
    pairs = ops.expand_dims(weight, -1) * ops.expand_dims(weight, -2) * _mean_distance(offset, width)
    return first - 0.5 * ops.sum(pairs, axis=(-2, -1))


def _mean_distance(offset: Any, sigma: Any) -> Any:
    """Mean of ``|X|`` of a Gaussian of mean `offset` and width `sigma`."""
    ops = import_keras().ops
    t = offset / sigma
    return sigma * float(np.sqrt(2 / np.pi)) * ops.exp(-0.5 * ops.square(t)) + offset * ops.erf(t / float(np.sqrt(2)))


def dirichlet_multinomial(n_answers: Sequence[int]) -> Loss:
    """Negative log likelihood of vote counts, summed over questions of so many answers (Walmsley et al. 2022, equation 1).

    A question that nobody was asked adds exactly 0, so the tree of questions needs no mask.
    """

    def loss(votes: Any, raw: Any) -> Any:
        ops = import_keras().ops
        concentration = ops.exp(MAX_LOG_CONCENTRATION * ops.tanh(raw / MAX_LOG_CONCENTRATION))
        total, start = 0.0, 0
        for n in n_answers:
            k, a = votes[:, start : start + n], concentration[:, start : start + n]
            n_votes, sum_a = ops.sum(k, axis=1), ops.sum(a, axis=1)
            per_answer = log_gamma(k + a) - log_gamma(k + 1) - log_gamma(a)
            total = total - (log_gamma(sum_a) + log_gamma(n_votes + 1) - log_gamma(n_votes + sum_a) + ops.sum(per_answer, axis=1))
            start += n
        return total

    return loss


def log_gamma(x: Any) -> Any:
    """Logarithm of the gamma function for x > 0: Stirling's series at x + 8, brought back by the recurrence.

    Keras has none. In float32 the error is about 1e-5, rounding of the two terms.
    """
    ops = import_keras().ops
    product = ops.log(x * (x + 1) * (x + 2) * (x + 3)) + ops.log((x + 4) * (x + 5) * (x + 6) * (x + 7))
    y = x + 8
    series = (y - 0.5) * ops.log(y) - y + 0.5 * float(np.log(2 * np.pi)) + 1 / (12 * y) - 1 / (360 * y**3)
    return series - product
