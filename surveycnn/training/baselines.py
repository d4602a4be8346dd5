"""Trivial methods beside which a network is measured: regression and nearest neighbours on a few measured numbers per stamp."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import KDTree

from surveycnn.models.card import Card, Metric
from surveycnn.training.calibration import calibration_error
from surveycnn.training.data import LabelledStamps
from surveycnn.training.metrics import auroc, measured, nmad, tpr_at_fp
from surveycnn.training.morphology_metrics import MIN_OBJECTS, MIN_VOTES, SURE

N_NEIGHBOURS = 15
RADII_PX = (3.0, 6.0, 12.0)


def measure_stamps(data: LabelledStamps, card: Card, chunk: int = 1000) -> np.ndarray:
    """Features (object, value): magnitudes in three circles, colours, concentration and asymmetry in each band.

    Magnitudes are asinh magnitudes with the noise of the circle as softening, so that faint and negative fluxes have one.
    """
    parts = [_measure(np.asarray(data.stamps[i : i + chunk], np.float64), card) for i in range(0, len(data), chunk)]
    return np.concatenate(parts)


def _measure(stamps: np.ndarray, card: Card) -> np.ndarray:
    stamps = np.nan_to_num(stamps)
    softening = np.array([card.scaling.softening[band] for band in card.bands])
    y, x = (np.arange(length) - (length - 1) / 2 for length in stamps.shape[1:3])
    radius = np.hypot(y[:, None], x[None, :])
    magnitudes, asymmetries = [], []
    for limit in RADII_PX:
        inside = radius <= limit
        noise = softening * np.sqrt(inside.sum())
        magnitudes.append(np.arcsinh(stamps[:, inside].sum(axis=1) / (2 * noise)))
        turned = np.abs(stamps - stamps[:, ::-1, ::-1])[:, inside].sum(axis=1)
        asymmetries.append(np.log((turned + noise) / (np.abs(stamps[:, inside]).sum(axis=1) + noise)))
    magnitude = np.stack(magnitudes, axis=1)
    colours = magnitude[:, :, 1:] - magnitude[:, :, :-1]
    gradients = np.diff(magnitude, axis=1)
    reference = magnitude[:, 1, :]
    parts = (reference, colours, gradients, np.stack(asymmetries, axis=1))
    return np.concatenate([part.reshape(len(stamps), -1) for part in parts], axis=1)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets with the mean and scatter of the first one taken out."""
    mean, scatter = train.mean(axis=0), train.std(axis=0) + 1e-9
    return (train - mean) / scatter, (test - mean) / scatter


def logistic_scores(train: np.ndarray, is_positive: np.ndarray, test: np.ndarray, penalty: float = 1e-3) -> np.ndarray:
    """Logits (object,) for `test` of a logistic regression on standardised features and their squares."""
    train, test = standardised(train, test)
    train, test = (np.concatenate([part, part**2, np.ones((len(part), 1))], axis=1) for part in (train, test))
    sign = np.where(is_positive, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (train @ weights)
        pull = -sign / (1 + np.exp(np.clip(margin, -50, 50)))
        value = np.mean(np.logaddexp(0, -margin)) + penalty * weights @ weights
        return float(value), train.T @ pull / len(train) + 2 * penalty * weights

    found = minimize(loss, np.zeros(train.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return test @ found.x


def neighbours(train: np.ndarray, test: np.ndarray, k: int = N_NEIGHBOURS) -> np.ndarray:
    """Rows (object, k) of `train` that are nearest to each object of `test` in standardised features."""
    train, test = standardised(train, test)
    return KDTree(train).query(test, k=min(k, len(train)))[1].reshape(len(test), -1)


def baseline_metrics(train: LabelledStamps, test: LabelledStamps, card: Card) -> dict[str, Metric]:
    """Metrics of the trivial method of the task, on the same test set as the network's; names start with ``baseline_``."""
    features, test_features = measure_stamps(train, card), measure_stamps(test, card)
    if card.task in ("lens", "merger"):
        label = f"is_{card.task}"
        y, logit = np.asarray(test.labels[label], bool), logistic_scores(features, train.labels[label], test_features)
        text = "logistic regression on aperture magnitudes, colours, concentration and asymmetry"
        found = {"auroc": measured(auroc, f"AUROC of a {text}", logit, y)}
        found["tpr0"] = measured(
            lambda s, p: tpr_at_fp(s, p, 0), f"true positive rate without a false positive of a {text}", logit, y
        )
        score = 1 / (1 + np.exp(-logit))
        found["ece"] = measured(calibration_error, f"expected calibration error of a {text}", score, y)
        if card.task == "merger":
            found |= _median_time(train, test)
    elif card.task == "photoz":
        found = _knn_redshifts(features, np.asarray(train.labels["redshift"]), test_features, np.asarray(test.labels["redshift"]))
    else:
        found = _mean_votes(train, test, card)
    return {f"baseline_{name}": metric for name, metric in found.items()}


def _median_time(train: LabelledStamps, test: LabelledStamps) -> dict[str, Metric]:
    known = np.asarray(train.labels["time_myr"])[np.asarray(train.labels["is_merger"], bool)]
    true = np.asarray(test.labels["time_myr"])[np.asarray(test.labels["is_merger"], bool)]
    error = np.abs(true - np.median(known))
    text = "median |time - true time| in Myr of the training set's median for all"
    return {"time_median_error": measured(lambda e: float(np.median(e)), text, error)}


def _knn_redshifts(features: np.ndarray, z: np.ndarray, test_features: np.ndarray, true: np.ndarray) -> dict[str, Metric]:
    near = z[neighbours(features, test_features)]
    dz = (np.median(near, axis=1) - true) / (1 + true)
    text = f"median of the {N_NEIGHBOURS} nearest in magnitudes, colours, concentration and asymmetry"
    pairs = np.abs(near[:, :, None] - near[:, None, :]).mean(axis=(1, 2))
    crps = np.abs(near - true[:, None]).mean(axis=1) - 0.5 * pairs
    return {
        "sigma_nmad": measured(nmad, f"sigma_nmad, {text}", dz),
        "eta_0.05": measured(lambda v: float(np.mean(np.abs(v) > 0.05)), f"fraction |dz| > 0.05, {text}", dz),
        "eta_0.15": measured(lambda v: float(np.mean(np.abs(v) > 0.15)), f"fraction |dz| > 0.15, {text}", dz),
        "crps": measured(lambda v: float(v.mean()), f"mean CRPS of the {N_NEIGHBOURS} nearest as a sample", crps),
    }


def _mean_votes(train: LabelledStamps, test: LabelledStamps, card: Card, min_votes: int = MIN_VOTES) -> dict[str, Metric]:
    found = {}
    for question in card.questions:
        mean = np.asarray(train.labels[question], float).sum(axis=0)
        counts = np.asarray(test.labels[question], float)
        counts = counts[counts.sum(axis=1) >= min_votes]
        if len(counts) < MIN_OBJECTS or not mean.sum():
            continue
        fraction = counts / counts.sum(axis=1, keepdims=True)
        error = np.abs(fraction - mean / mean.sum()).mean(axis=1)
        text = "mean |training set's mean - observed vote fraction| over the answers"
        found[f"{question}_fraction_error"] = measured(lambda e: float(e.mean()), text, error)
        sure = fraction[fraction.max(axis=1) >= SURE]
        if len(sure):
            text = "fraction right of the answer that is the most frequent one there, where one has at least 80 % of the votes"
            commonest = np.bincount(sure.argmax(axis=1)).argmax()
            right = (sure.argmax(axis=1) == commonest).astype(float)
            found[f"{question}_accuracy"] = measured(lambda r: float(r.mean()), text, right)
    return found
