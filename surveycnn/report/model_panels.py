"""Figures of the models: scores, calibration, votes, and where each model is at home."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit
from scipy.stats import beta

from surveycnn.models.card import Card
from surveycnn.report.figures import Figure, compact
from surveycnn.report.gather import LOGITS, MAGNITUDES, Gathered
from surveycnn.report.panels import LEAST, Panel, extent
from surveycnn.report.truth import Truth

RELIABILITY = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def scores(task: str, found: Gathered, card: Card | None) -> Panel | None:
    """Histogram of a finder's logits, with what its calibration makes of them."""
    finder = found.finders.get(task)
    if finder is None or not finder.all.counts.any():
        return None
    low, high = extent([finder.all.counts], LOGITS)
    top = float(finder.all.counts.max()) * 2
    figure = Figure(
        f"Histogram of {task}_logit, all primary sources and those inside of the model's domain",
        x=(low, high),
        y=(LEAST, top),
        log_y=True,
        x_label=f"{task}_logit",
        y_label="sources",
    )
    figure.steps(LOGITS.edges, finder.all.counts, "c7", filled=True, name="all")
    figure.steps(LOGITS.edges, finder.inside.counts, "c0", name="inside of the model's domain")
    half = _logit_of(0.5, card)
    if half is not None:
        figure.vertical(half, f"{task}_prob = 0.5 at the survey's prior")
    caption = f"Inside of the domain the probabilities add up to {compact(finder.expected)}"
    caption += f"; {finder.above[0.5]:,} sources have {task}_prob ≥ 0.5, {finder.above[0.1]:,} have ≥ 0.1."
    if card is not None and card.prior is not None:
        n_prior = compact(card.prior.survey * finder.inside.total)
        caption += f" The prior of one in {1 / card.prior.survey:,.0f} would be {n_prior} sources."
    return Panel(f"{task.capitalize()} scores", figure.svg(), caption)


def calibration(task: str, card: Card | None) -> Panel | None:
    """What the calibration makes of a logit."""
    if card is None or card.calibration is None or card.prior is None:
        return None
    logit = np.linspace(-12, 14, 131)
    score = expit(logit / card.calibration.temperature + card.calibration.bias)
    figure = Figure(
        f"Score and probability of the {task} model by its logit",
        x=(-12, 14),
        y=(0, 1),
        x_label=f"{task}_logit",
        y_label="probability",
    )
    figure.line(logit, score, "c0", f"{task}_score: prior {card.prior.training:.3g} of the training set")
    figure.line(logit, _at_prior(score, card), "c1", f"{task}_prob: prior {card.prior.survey:.3g} of the survey")
    caption = (
        f"Fitted on simulated stamps: score = sigmoid(logit / {card.calibration.temperature:.3g} + {card.calibration.bias:.3g})."
    )
    return Panel(f"{task.capitalize()} calibration", figure.svg(), caption)


def measured_reliability(task: str, card: Card | None) -> Panel | None:
    """Score against the share of positives, as the card has it measured."""
    if card is None or card.reliability is None or card.prior is None:
        return None
    curve = card.reliability
    score, fraction, error = (np.asarray(values) for values in (curve.score, curve.fraction, curve.error))
    figure = Figure(
        f"Share of positives by {task}_score on held-out simulated stamps",
        x=(0, 1),
        y=(0, 1),
        x_label=f"mean {task}_score",
        y_label="true share",
    )
    figure.line([0, 1], [0, 1], "mark")
    limits = [(max(low, 0.0), min(high, 1.0)) for low, high in zip(fraction - error, fraction + error, strict=True)]
    figure.points(list(score), list(fraction), "c0", limits, f"{len(score)} bins of equal weight, standard errors")
    caption = f"At the training's prior {card.prior.training:.3g}, on the line where a score is right. {curve.definition}."
    return Panel(f"{task.capitalize()} reliability", figure.svg(), caption)


def _at_prior(score: np.ndarray, card: Card) -> np.ndarray:
    assert card.prior is not None
    odds = score / np.maximum(1 - score, 1e-300) * _odds(card.prior.survey) / _odds(card.prior.training)
    return odds / (1 + odds)


def _odds(probability: float) -> float:
    return probability / (1 - probability)


def _logit_of(probability: float, card: Card | None) -> float | None:
    """Logit at which the probability at the survey's prior is this."""
    if card is None or card.calibration is None or card.prior is None:
        return None
    log_odds = math.log(_odds(probability)) + math.log(_odds(card.prior.training)) - math.log(_odds(card.prior.survey))
    return (log_odds - card.calibration.bias) * card.calibration.temperature


def reliability(task: str, truth: Truth) -> Panel | None:
    """Share of true ones by probability, where the truth names them."""
    if task not in truth.scores:
        return None
    probability, is_one = truth.scores[task]
    figure = Figure(
        f"Share of sources that are a {task} in truth by {task}_prob",
        x=(0, 1),
        y=(0, 1),
        x_label=f"mean {task}_prob",
        y_label="true share",
    )
    figure.line([0, 1], [0, 1], "mark")
    where = np.digitize(np.nan_to_num(probability), RELIABILITY[1:-1])
    x, y, errors = [], [], []
    for i in np.unique(where):
        n, k = int((where == i).sum()), int(is_one[where == i].sum())
        x.append(float(probability[where == i].mean()))
        y.append(k / n)
        errors.append((float(beta.ppf(0.16, k + 0.5, n - k + 0.5)), float(beta.ppf(0.84, k + 0.5, n - k + 0.5))))
    figure.points(x, y, "c0", errors, "sources, 68 % intervals")
    caption = f"{int(is_one.sum())} of {len(is_one):,} matched sources inside of the domain are one in {truth.path}. "
    caption += (
        f"The truth of a simulation holds more of them than the survey's prior says, so that {task}_prob may be too low here."
    )
    return Panel(f"{task.capitalize()}: probability against truth", figure.svg(), caption)


def distances(task: str, found: Gathered) -> Panel | None:
    """Distance from the training set."""
    domain = found.domains.get(task)
    if domain is None or not domain.distance.total:
        return None
    counts = domain.distance.counts
    high = max(1.5, extent([counts], domain.distance.axis)[1])
    figure = Figure(
        f"Histogram of the distance from the training set of the {task} model",
        x=(0, high),
        y=(LEAST, max(counts.max(), 1) * 2),
        log_y=True,
        x_label="distance from the training set (99 % of it below 1)",
        y_label="sources",
    )
    figure.steps(domain.distance.axis.edges, counts, "c2", filled=True)
    figure.vertical(1.0, "limit of the domain")
    return Panel(
        "Distance", figure.svg(), "In the features of the network; above 1 the source is unlike what the model has learned."
    )


def domain_magnitudes(task: str, found: Gathered, card: Card | None) -> Panel | None:
    """Magnitudes inside and outside of the domain."""
    domain = found.domains.get(task)
    if domain is None or not domain.magnitude.counts.any():
        return None
    low, high = extent([domain.magnitude.counts], MAGNITUDES)
    figure = Figure(
        f"Magnitudes of sources inside of the domain of the {task} model, and of all",
        x=(low, high),
        y=(LEAST, domain.magnitude.counts.max() * 2),
        log_y=True,
        x_label=f"{found.band} [AB mag]",
        y_label="sources",
    )
    if card is not None and card.domain is not None and card.domain.band == found.band:
        figure.span(*card.domain.magnitude, "c3", "magnitudes of the training set")
    figure.steps(MAGNITUDES.edges, domain.magnitude.counts, "c7", filled=True, name="all")
    figure.steps(MAGNITUDES.edges, domain.magnitude_inside.counts, "c0", name="inside of the domain")
    return Panel("Magnitudes", figure.svg(), "")


def votes(found: Gathered, card: Card | None) -> Panel | None:
    """Mean vote fractions of each question."""
    if not found.n_votes:
        return None
    rows, labels = [], []
    questions = card.questions if card is not None else {}
    names = [f"morph_{question}_{answer}" for question, answers in questions.items() for answer in answers]
    names = [name for name in names if name in found.votes] or list(found.votes)
    for name in names:
        rows.append(found.votes[name] / found.n_votes)
        labels.append(name.removeprefix("morph_"))
    height = 24 * len(rows) + 56
    figure = Figure(
        "Mean vote fractions: " + ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, rows, strict=True)),
        x=(0, 1),
        y=(len(rows), 0),
        x_label="mean vote fraction",
        y_label="",
        height=height,
        left=232,
    )
    question_of = {
        f"morph_{question}_{answer}": i for i, (question, answers) in enumerate(questions.items()) for answer in answers
    }
    for i, (name, value) in enumerate(zip(names, rows, strict=True)):
        figure.bar(i + 0.15, i + 0.85, value, f"c{question_of.get(name, 0) % 7}")
    marks = [(i + 0.5, label) for i, label in enumerate(labels)]
    return Panel(
        "Votes", figure.svg(y_ticks=marks), "Of the sources inside of the domain, for each answer among those asked the question."
    )
