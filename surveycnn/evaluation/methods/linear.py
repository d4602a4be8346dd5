"""Logistic regression on standardised features, kept as plain arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C that are tried: the best one on the validation set is taken."""


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter (feature,) in the dtype of `features` (object, feature); constant features have the scatter 1."""
    scatter = features.std(axis=0)
    return features.mean(axis=0), np.where(scatter > 1e-9, scatter, 1).astype(features.dtype)


def fit_logistic(
    features: np.ndarray,
    is_positive: np.ndarray,
    valid_features: np.ndarray,
    valid_is_positive: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> dict[str, np.ndarray]:
    """Mean, scatter, weights and bias of the regression on features (object, feature); `penalties` are scikit-learn's C."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    mean, scatter = standardisation(features)
    scaled = (features - mean) / scatter
    best, found = -1.0, {}
    for penalty in penalties:
        model = LogisticRegression(C=penalty, max_iter=300)
        with warnings.catch_warnings():
            # the ranking has settled long before the optimum is reached to the solver's tolerance
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, is_positive)
        state = {"mean": mean, "scatter": scatter, "weights": model.coef_[0].astype(np.float64), "bias": model.intercept_[0]}
        value = roc_auc_score(valid_is_positive, logits(valid_features, state))
        if value > best:
            best, found = value, state
    return {name: np.asarray(value) for name, value in found.items()}


def logits(features: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """Logits (object,) float64 of features (object, feature) by what `fit_logistic` gave."""
    scaled = (features - state["mean"]) / state["scatter"]
    # row by row the same sum whatever the number of rows, unlike a product of matrices
    return np.einsum("of,f->o", scaled, state["weights"], dtype=np.float64) + float(state["bias"])


def with_squares(features: np.ndarray) -> np.ndarray:
    """Features and their squares, side by side."""
    return np.concatenate([features, features**2], axis=1)
