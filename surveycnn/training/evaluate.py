"""Metrics of a model package on a simulation that it has not seen; what the cards print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surveycnn.inference.predictor import Predictor
from surveycnn.models.card import Card, Metric, Reliability
from surveycnn.training.data import LabelledStamps, Log, fluxes_of, targets_of
from surveycnn.training.finder_metrics import lens_metrics
from surveycnn.training.held_out import HeldOut
from surveycnn.training.merger_metrics import merger_metrics
from surveycnn.training.metrics import classifier_metrics
from surveycnn.training.morphology_metrics import morphology_metrics
from surveycnn.training.redshift_metrics import redshift_metrics
from surveycnn.training.reliability import card_reliability


def metrics_of(card: Card, predicted: xr.Dataset, data: LabelledStamps, prefix: str = "") -> dict[str, Metric]:
    """Metrics of the predictions (one row per stamp of `data`) of the model of `card`, each name with `prefix` before it."""
    if card.task == "morphology":
        fractions, concentrations = (_answers(card, predicted, end) for end in ("", "_conc"))
        return morphology_metrics(fractions, concentrations, data.labels, data.truth, card.questions, prefix)
    if card.task == "merger":
        return _merger_metrics(card, predicted, data, prefix)
    if card.task == "photoz":
        parts = (predicted[name].values for name in ("pz_weight", "pz_mean", "pz_sigma"))
        return redshift_metrics(data.labels["redshift"], *parts, z_phot=predicted["z_phot"].values, prefix=prefix)
    is_lens = np.asarray(data.labels["is_lens"], bool)
    found = classifier_metrics(predicted["lens_logit"].values, predicted["lens_score"].values, is_lens)
    return {prefix + name: metric for name, metric in found.items()}


def _answers(card: Card, predicted: xr.Dataset, end: str) -> dict[str, np.ndarray]:
    """Columns ``morph_<question>_<answer><end>`` of each question, (object, answer)."""
    return {
        question: np.stack([predicted[f"morph_{question}_{answer}{end}"].values for answer in answers], axis=1)
        for question, answers in card.questions.items()
    }


def _merger_metrics(card: Card, predicted: xr.Dataset, data: LabelledStamps, prefix: str) -> dict[str, Metric]:
    assert card.prior is not None
    return merger_metrics(
        predicted["merger_score"].values,
        data.labels["is_merger"],
        data.truth["kind"],
        card.prior.training,
        logit=predicted["merger_logit"].values,
        time=predicted["merger_time"].values,
        time_err=predicted["merger_time_err"].values,
        true_time=data.labels["time_myr"],
        prefix=prefix,
    )


@dataclass(frozen=True)
class Findings:
    """What was measured of a model."""

    metrics: dict[str, Metric]
    reliability: Reliability | None = None
    """Of the score of a finder, on the main set."""


def held_out_findings(predictor: Predictor, sets: Mapping[str, HeldOut], log: Log) -> Findings:
    """Metrics of a model on the held-out sets of its task, and what each loses under shifted conditions."""
    card, curve = predictor.card, None
    found: dict[str, Metric] = {}
    for prefix, held_out in sets.items():
        name = prefix.replace("_", " ") or "main "
        log(f"{card.name}: measuring on {len(held_out.data)} stamps of the {name}set")
        predicted = predict_all(predictor, held_out.data)
        measure = _finder_metrics if card.task == "lens" else _other_metrics
        found |= measure(card, predicted, held_out, prefix)
        if not prefix and card.prior is not None:
            truth = targets_of(held_out.data, card)[:, 0] > 0.5
            text = f"{len(held_out.data)} simulated stamps that were not trained on"
            curve = card_reliability(predicted[f"{card.task}_score"].values, truth, card.prior.training, text)
    return Findings(found | _drops(found), curve)


def _other_metrics(card: Card, predicted: xr.Dataset, held_out: HeldOut, prefix: str) -> dict[str, Metric]:
    return metrics_of(card, predicted, held_out.data, prefix)


def _drops(found: Mapping[str, Metric]) -> dict[str, Metric]:
    """Each metric minus its shifted one, but for those at a count of false positives: the sets differ in size."""
    drops = {}
    for name in [name for name in found if f"shifted_{name}" in found and not re.fullmatch(r"tpr\d+", name)]:
        shifted = found[f"shifted_{name}"]
        text = f"{name} minus shifted_{name}: what worse seeing, depth, sampling and crowding cost"
        drops[f"drop_{name}"] = Metric(value=round(found[name].value - shifted.value, 6), definition=text, n=shifted.n)
    return drops


def finder_metrics(predictor: Predictor, held_out: HeldOut, prefix: str = "") -> dict[str, Metric]:
    """Metrics of a lens finder on one set."""
    return _finder_metrics(predictor.card, predict_all(predictor, held_out.data), held_out, prefix)


def _finder_metrics(card: Card, predicted: xr.Dataset, held_out: HeldOut, prefix: str) -> dict[str, Metric]:
    assert card.prior is not None
    data = held_out.data
    logit, score = predicted["lens_logit"].values, predicted["lens_score"].values
    is_lens, prior = np.asarray(data.labels["is_lens"], bool), card.prior.training
    mix = "hard" if held_out.mix == "hard" else "survey"
    return lens_metrics(logit, score, is_lens, data.truth, prior, prefix=prefix, mix=mix)


def predict_all(predictor: Predictor, data: LabelledStamps, chunk: int = 2048) -> xr.Dataset:
    """Predictions for a whole set, read from disk piece by piece."""
    parts = []
    for start in range(0, len(data), chunk):
        some = slice(start, start + chunk)
        parts.append(predictor.predict(np.asarray(data.stamps[some]), *fluxes_of(data, predictor.card, some)))
    return xr.concat(parts, dim="source") if parts else predictor.schema.empty()
