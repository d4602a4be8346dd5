"""From the raw numbers of a network to the columns of the catalog, by task; numpy in double precision, engine or no engine."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, softmax

from surveycnn.catalogs.columns import domain_column_name
from surveycnn.inference import mixture
from surveycnn.inference.cascade_scale import stages
from surveycnn.models.card import Calibration, Card

MIN_SIGMA_Z = 0.001
"""Narrowest Gaussian of a photo-z mixture in units of its redshift scale: a density without a floor can be driven up without end
in training."""
MEAN_SHARPNESS = 10.0
"""Of the softplus that keeps means positive: it is the identity but for the lowest tenths of the scale."""

MAX_LOG_CONCENTRATION = 4.5
"""Concentrations lie between exp(-4.5) = 0.011 and exp(4.5) = 90. Linear ones, 1 + 100 sigmoid(x), have no gradient left where
an answer is rare: its output sinks to 1 for all objects and never comes back."""


def columns_of(card: Card, raw: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of `card.schema` in double precision from raw outputs (object, `card.n_outputs`)."""
    raw = np.asarray(raw, np.float64)
    columns = {"lens": _lens, "merger": _merger, "morphology": _morphology, "photoz": _photoz}[card.task](card, raw)
    if card.domain is not None and card.domain.feature_distance is not None:
        columns[domain_column_name(card.task)] = np.sqrt(np.maximum(raw[:, -1], 0.0)) / card.domain.feature_distance
    return columns


def calibrated(card: Card, raw_logit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities at the prior of the training set and at that of the survey, both calibrated.

    ``logit(p') = logit(p) + logit(survey prior) - logit(training prior)``.
    """
    assert card.calibration is not None and card.prior is not None  # the card's own check
    value = raw_logit / card.calibration.temperature + card.calibration.bias
    shift = logit(card.prior.survey) - logit(card.prior.training)
    return expit(value), expit(value + shift)


def dirichlet_concentrations(raw: np.ndarray) -> np.ndarray:
    """Concentrations between 0.011 and 90 from raw outputs of any shape; near 0 a raw output is the logarithm of one."""
    return np.exp(MAX_LOG_CONCENTRATION * np.tanh(raw / MAX_LOG_CONCENTRATION))


def mixture_parameters(raw: np.ndarray, width: float = 1.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, mean and sigma (object, component) of the Gaussians in redshift, heaviest first, from raw outputs (object, 3 K).

    Means are positive, and no Gaussian is wider than its mean: the median, the mode and the 16 % quantile cannot be negative,
    and the PDF is a plain mixture all the same, without a cut at 0 that each formula would have to know.

    Parameters
    ----------
    width
        Factor on the widths, from a calibration.
    scale
        Redshift that a raw mean of 1 stands for.
    """
    return heaviest(raw.shape[1] // 3, *unordered_mixture(raw, width, scale))


def unordered_mixture(raw: np.ndarray, width: float = 1.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in the order of the outputs, for raw outputs (..., 3 K)."""
    weight_logit, mean, spread = np.split(raw, 3, axis=-1)
    mean = scale * (MIN_SIGMA_Z + softplus(MEAN_SHARPNESS * mean) / MEAN_SHARPNESS)
    sigma = width * scale * (MIN_SIGMA_Z + softplus(spread))
    return softmax(weight_logit, axis=-1), mean, sigma * mean / np.hypot(sigma, mean)


def heaviest(n: int, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `n` heaviest of Gaussians (object, component), heaviest first."""
    if n < weight.shape[1]:  # a partition first: sorting all costs three times as much
        some = np.argpartition(-weight, n - 1, axis=1)[:, :n]
        weight, mean, sigma = (np.take_along_axis(values, some, axis=1) for values in (weight, mean, sigma))
    order = np.argsort(-weight, axis=1, kind="stable")
    weight, mean, sigma = (np.take_along_axis(values, order, axis=1) for values in (weight, mean, sigma))
    return weight, mean, sigma


def softplus(x: np.ndarray) -> np.ndarray:
    """``log(1 + exp(x))`` without overflow, seven times as fast as numpy's logaddexp.

    >>> softplus(np.array([-800.0, 0.0, 800.0])).round(4).tolist()
    [0.0, 0.6931, 800.0]
    """
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _lens(card: Card, raw: np.ndarray) -> dict[str, np.ndarray]:
    score, prob = calibrated(card, raw[:, 0])
    columns = {"lens_logit": raw[:, 0], "lens_score": score, "lens_prob": prob}
    return columns | ({"lens_stage": stages(card, raw[:, 0])} if card.has_cascade else {})


def _merger(card: Card, raw: np.ndarray) -> dict[str, np.ndarray]:
    score, prob = calibrated(card, raw[:, 0])
    mean, scale = card.time_scaling
    calibration = card.calibration or Calibration()
    return {
        "merger_logit": raw[:, 0],
        "merger_score": score,
        "merger_prob": prob,
        "merger_time": mean + scale * raw[:, 1],
        "merger_time_err": calibration.time_err * scale * np.exp(0.5 * np.clip(raw[:, 2], -10, 10)),
    }


def _morphology(card: Card, raw: np.ndarray) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    factors = card.calibration.concentration if card.calibration else {}
    start = 0
    for question, answers in card.questions.items():
        concentration = factors.get(question, 1.0) * dirichlet_concentrations(raw[:, start : start + len(answers)])
        fraction = concentration / concentration.sum(axis=1, keepdims=True)
        for index, answer in enumerate(answers):
            columns[f"morph_{question}_{answer}"] = fraction[:, index]
            columns[f"morph_{question}_{answer}_conc"] = concentration[:, index]
        start += len(answers)
    return columns


def _photoz(card: Card, raw: np.ndarray) -> dict[str, np.ndarray]:
    width = card.calibration.width if card.calibration else 1.0
    return redshift_columns(*mixture_parameters(raw[:, : 3 * card.n_components], width))


def redshift_columns(weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the catalog from the Gaussians (object, component) of a PDF."""
    columns = {
        "z_phot": mixture.quantile(0.5, weight, mean, sigma),
        "z_phot_lo": mixture.quantile(0.16, weight, mean, sigma),
        "z_phot_hi": mixture.quantile(0.84, weight, mean, sigma),
        "z_mode": mixture.mode(weight, mean, sigma),
    }
    return columns | {"pz_weight": weight, "pz_mean": mean, "pz_sigma": sigma}
