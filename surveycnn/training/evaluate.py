"""Metrics of a model package on a simulation that it has not seen; what the cards print and ``evaluate`` repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from surveycnn.inference.predictor import Predictor, load_model
from surveycnn.models.card import Card, Metric
from surveycnn.training.data import LabelledStamps, simulated
from surveycnn.training.metrics import classifier_metrics, morphology_metrics, photoz_metrics, time_metrics

Log = Callable[[str], None]


def metrics_of(card: Card, predicted: xr.Dataset, data: LabelledStamps) -> dict[str, Metric]:
    """Metrics of the predictions (one row per stamp of `data`) of the model of `card`."""
    if card.task == "morphology":
        return morphology_metrics(predicted, data.labels, card.questions)
    if card.task == "photoz":
        return photoz_metrics(predicted, data.labels["redshift"])
    is_positive = np.asarray(data.labels[f"is_{card.task}"], bool)
    found = classifier_metrics(predicted[f"{card.task}_logit"].values, predicted[f"{card.task}_score"].values, is_positive)
    if card.task == "merger":
        time, error = (predicted[name].values[is_positive] for name in ("merger_time", "merger_time_err"))
        found |= time_metrics(time, error, np.asarray(data.labels["time_myr"])[is_positive])
    return found


def predict_all(predictor: Predictor, data: LabelledStamps, chunk: int = 2048) -> xr.Dataset:
    """Predictions for a whole set, read from disk piece by piece."""
    parts = [predictor.predict(np.asarray(data.stamps[start : start + chunk])) for start in range(0, len(data), chunk)]
    return xr.concat(parts, dim="source") if parts else predictor.schema.empty()


def evaluate(
    name_or_path: str | Path,
    *,
    n: int,
    seed: int,
    work_dir: str | Path,
    conditions: str = "wide",
    n_workers: int = 1,
    engine: str = "auto",
    precision: str = "auto",
    log: Log = print,
) -> dict[str, Metric]:
    """Metrics of a model on `n` stamps simulated from `seed`, which are kept under `work_dir`.

    The seed that a card was measured on is its training seed + 2 (:func:`surveycnn.training.fit.train`).
    """
    predictor = load_model(name_or_path, engine=engine, precision=precision)
    task = predictor.card.task
    log(f"evaluate {predictor!r} on {n} simulated stamps, seed {seed}, conditions {conditions}")
    data = simulated(task, n, seed=seed, conditions=conditions, folder=Path(work_dir), n_workers=n_workers)
    return metrics_of(predictor.card, predict_all(predictor, data), data)
