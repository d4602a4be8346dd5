"""What predictions on a set amount to: metrics with intervals, and the figures behind the pictures as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.evaluation.entries import Entry
from surveycnn.evaluation.kept import Arrays
from surveycnn.evaluation.redshifts import measure_redshifts, shown_redshifts
from surveycnn.models.card import Metric
from surveycnn.training.data import LabelledStamps
from surveycnn.training.finder_metrics import lens_metrics
from surveycnn.training.merger_metrics import merger_metrics
from surveycnn.training.metrics import classifier_metrics
from surveycnn.training.morphology_metrics import MIN_VOTES, SURE, morphology_metrics
from surveycnn.training.reliability import reliability

N_BINS = 10
N_STAGES = 250
"""Mergers that a picture shows."""
N_STAGE_BINS = 8

Values = dict[str, Any]


def measure(entry: Entry, data: LabelledStamps, predicted: Arrays, mix: str) -> dict[str, Metric]:
    """Metrics of the predictions of a set."""
    if entry.task == "morphology":
        fractions, concentrations = _fractions(entry, predicted)
        return morphology_metrics(fractions, concentrations, data.labels, data.truth, entry.questions)
    if entry.task == "photoz":
        return measure_redshifts(data, predicted)
    y, score, prior = _classified(entry, data, predicted)
    if entry.task == "merger":
        return merger_metrics(
            score,
            y,
            np.asarray(data.truth["kind"]),
            prior,
            logit=predicted.get("merger_logit"),
            time=predicted.get("merger_time"),
            time_err=predicted.get("merger_time_err"),
            true_time=data.labels["time_myr"],
        )
    if mix == "train":
        return classifier_metrics(predicted["lens_logit"], score, y)
    return lens_metrics(predicted["lens_logit"], score, y, data.truth, prior, mix="hard" if mix == "hard" else "survey")


def shown(entry: Entry, data: LabelledStamps, predicted: Arrays) -> Values:
    """Figures of the pictures; lists of plain numbers."""
    if entry.task == "morphology":
        fractions, _ = _fractions(entry, predicted)
        votes = {name: np.asarray(data.labels[name], float) for name in fractions}
        return {"questions": {name: shown_question(fractions[name], votes[name]) for name in fractions}}
    if entry.task == "photoz":
        return shown_redshifts(data, predicted)
    y, score, prior = _classified(entry, data, predicted)
    found = shown_classes(score, y, np.asarray(data.truth["kind"]), prior)
    if "merger_time" in predicted and y.any():
        columns = (predicted["merger_time"], predicted["merger_time_err"], data.labels["time_myr"])
        found["stage"] = shown_stage(*(np.asarray(column, float)[y] for column in columns))
    return found


def shown_question(expected: np.ndarray, votes: np.ndarray) -> Values:
    """Expected against observed vote fractions in bins of all answers, and the confusion of confident labels.

    Parameters
    ----------
    expected, votes
        (object, answer) expected fractions, NaN = no answer, and votes.
    """
    asked = (votes.sum(axis=1) >= MIN_VOTES) & np.isfinite(expected).all(axis=1)
    expected, observed = expected[asked], votes[asked] / votes[asked].sum(axis=1, keepdims=True)
    place = np.minimum((expected * N_BINS).astype(int), N_BINS - 1)
    bins = []
    for index in range(N_BINS):
        members = place == index
        n = int(members.sum())
        if n:
            error = observed[members].std() / np.sqrt(n)
            bins.append({"expected": expected[members].mean(), "observed": observed[members].mean(), "error": error, "n": n})
    sure = observed.max(axis=1) >= SURE
    counts = np.zeros((votes.shape[1], votes.shape[1]), int)
    np.add.at(counts, (observed[sure].argmax(axis=1), expected[sure].argmax(axis=1)), 1)
    columns = ("expected", "observed", "error", "n")
    return {"bins": {key: [float(row[key]) for row in bins] for key in columns}, "confusion": counts.tolist()}


def shown_classes(score: np.ndarray, y: np.ndarray, kind: np.ndarray, prior: float) -> Values:
    """Reliability at `prior`, and the fraction of each kind with a score above 0.5 once it is moved to a prior of 0.5."""
    kept = ~np.isnan(score)
    found: Values = {"reliability": None}
    if 0 < y[kept].sum() < kept.sum():
        curve = reliability(score[kept], y[kept], prior)
        found["reliability"] = {key: getattr(curve, key).tolist() for key in ("score", "fraction", "error")}
    positives, others = np.unique(kind[y]), np.unique(kind[~y])
    kinds = [(str(name), (kind == name) & is_one) for names, is_one in ((positives, y), (others, ~y)) for name in names]
    found["kinds"] = [
        {"kind": name, "n": int(members.sum()), "selected": float(np.mean(score[members] > prior))} for name, members in kinds
    ]
    return found


def shown_stage(time: np.ndarray, error: np.ndarray, true: np.ndarray) -> Values:
    """Some mergers, and in bins of the true time the median and the central 68 % of the times of all, in Myr."""
    kept = np.isfinite(time) & np.isfinite(error) & np.isfinite(true)
    time, error, true = time[kept], error[kept], true[kept]
    points = {"true": true[:N_STAGES].tolist(), "time": time[:N_STAGES].tolist(), "error": error[:N_STAGES].tolist()}
    edges = np.quantile(true, np.linspace(0, 1, N_STAGE_BINS + 1)) if len(true) else np.zeros(1)
    bins = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        members = (true >= low) & (true <= high)
        if members.sum() >= 5:
            quantiles = np.quantile(time[members], (0.16, 0.5, 0.84))
            bins.append([float(np.median(true[members])), *map(float, quantiles)])
    return {"points": points, "bins": bins}


def _fractions(entry: Entry, predicted: Arrays) -> tuple[Arrays, Arrays | None]:
    """Expected fractions and concentrations (object, answer) of each question; a method has no concentrations."""
    if "fractions" in predicted:
        ends = np.cumsum([len(answers) for answers in entry.questions.values()])
        return dict(zip(entry.questions, np.split(predicted["fractions"], ends[:-1], axis=1), strict=True)), None
    columns = {
        suffix: {
            question: np.stack([predicted[f"morph_{question}_{answer}{suffix}"] for answer in answers], axis=1).astype(float)
            for question, answers in entry.questions.items()
        }
        for suffix in ("", "_conc")
    }
    return columns[""], columns["_conc"]


def _classified(entry: Entry, data: LabelledStamps, predicted: Arrays) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels and scores (object,), and the prior of the scores."""
    score = predicted["score"] if "score" in predicted else predicted[f"{entry.task}_score"]
    assert entry.prior is not None  # a classifier has one
    return np.asarray(data.labels[f"is_{entry.task}"], bool), np.asarray(score, float), entry.prior
