"""A package of a Keras model of a user's: what the card has to know is asked for, the rest is found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from surveycnn.errors import InputError, ModelError
from surveycnn.inference import scaling
from surveycnn.inference.load import keras_predictor, load_model
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Scaling, findings_text
from surveycnn.models.package import Golden, check_package, save_package
from surveycnn.sources.stamp_photometry import stamp_photometry
from surveycnn.training.calibration import fit_calibration, is_separable
from surveycnn.training.data import centre_cut
from surveycnn.training.metrics import classifier_metrics
from surveycnn.training.reliability import card_reliability, prior_weights

N_GOLDEN = 8
_NOT_RAW = ("sigmoid", "softmax")
_FINDERS = ("lens", "merger")


def scale_stamps(stamps: np.ndarray, softening: Sequence[float]) -> np.ndarray:
    """Stamps as a network of a package sees them: ``asinh(flux / softening)``, 0 where there are no data.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy per pixel, sky subtracted; NaN = no data.
    softening
        (band,) nJy per pixel, near the noise of the sky.

    Returns
    -------
    np.ndarray
        (object, y, x, band) float32. Train on this: inference scales stamps in the same way.
    """
    names = [f"band{number}" for number in range(len(softening))]
    values = {name: float(value) for name, value in zip(names, softening, strict=True)}
    return scaling.scale_stamps(np.asarray(stamps), Scaling(softening=values), names)


def save_model(
    folder: str | Path,
    model: Any,
    *,
    task: str,
    bands: Sequence[str],
    pixel_scale: float,
    softening: Sequence[float],
    examples: np.ndarray,
    prior: tuple[float, float] | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    outputs: Mapping[str, Any] | None = None,
    trained_on: str = "not said",
    n_trained: int = 0,
    licence: str = "not said",
    **further: Any,
) -> Card:
    """Write the package of a Keras model, check it as it will be checked before each use, and give back its card.

    Parameters
    ----------
    folder
        Where the package goes; its name is that of the model.
    model
        Keras model of stock layers, from stamps (object, y, x, band), scaled as by :func:`scale_stamps`, to raw outputs
        (object, value):

        - ``lens``: the logit of being one, without a sigmoid.
        - ``merger``: the logit, the scaled time, and the logarithm of its variance.
        - ``morphology``: the logarithm of the concentration of each answer, question by question.
        - ``photoz``: logits of the weights, means and raw widths of the Gaussians, K each.
    task
        lens, morphology, merger or photoz: what the columns of the catalog are.
    bands
        In the order of the last axis of the stamps.
    pixel_scale
        arcsec per pixel. Stamps are resampled to it.
    softening
        (band,) nJy, as given to :func:`scale_stamps`.
    examples
        (object, y, x, band) nJy, some real stamps: the first 8 are kept in the golden file with the outputs for them.
    prior
        Lens and merger: share of positives in what the model was trained on, and in the survey.
    validation
        Lens and merger: stamps in nJy that were not trained on, and their labels (object,). The score is calibrated and the
        metrics of the card are measured on them; without it the score is the sigmoid of the logit.
    outputs
        ``{"questions": {question: [answers]}}`` of morphology, ``{"n_components": K}`` of photoz,
        ``{"time_mean": Myr, "time_scale": Myr}`` of merger.
    trained_on, n_trained, licence
        For the card: what it was trained on, on how many stamps, and who may use it.
    **further
        Any other key of the card, such as `version`, `domain`, `extinction`, `photometry`, `orientation` or `notes`.

    Returns
    -------
    Card
        As written, with sizes, digests, calibration and metrics.

    Raises
    ------
    ModelError
        Where the card is not complete, or does not fit the network, or the network has layers that no package may have.
    InputError
        Where the stamps or labels have other shapes than they should.
    """
    folder = Path(folder)
    _check_raw(model)
    if len(softening) != len(bands):
        raise ModelError(f"softening has {len(softening)} values, expected one for each of the bands {' '.join(bands)}")
    values = {
        "name": folder.name,
        "version": "1",
        "task": task,
        "bands": list(bands),
        "pixel_scale": pixel_scale,
        "stamp_px": _stamp_px(model, len(bands)),
        "scaling": {"softening": dict(zip(bands, map(float, softening), strict=True))},
        "outputs": dict(outputs or {}),
        "prior": None if prior is None else {"training": prior[0], "survey": prior[1]},
        "calibration": {},
        "training": {"simulation": trained_on, "seed": 0, "n": n_trained, "command": "surveycnn.save_model"},
        "licence": licence,
        "keras": import_keras().__version__,
    }
    try:
        card = Card.model_validate(values | further)
    except ValidationError as error:
        raise ModelError(f"the card of {folder.name!r} cannot be used: {findings_text(error, Card)}") from None
    golden = _golden(card, examples)
    known = None if validation is None else _known(card, model, *validation)
    if known is not None:
        card = _calibrated(card, known)
    card = save_package(folder, model, card, golden)
    if known is not None:
        card = save_package(folder, model, _measured(folder, card, known), golden)
    findings = check_package(folder)
    if findings:
        raise ModelError(f"the package {str(folder)!r} would be refused: {'; '.join(findings)}")
    return card


def _check_raw(model: Any) -> None:
    """Raise ModelError where the network ends in what makes a probability: a saturated one no longer ranks."""
    last, name = None, ""
    for last in reversed(getattr(model, "layers", [])):
        name = getattr(getattr(last, "activation", None), "__name__", "")
        if name in _NOT_RAW or last.weights:
            break  # what has no weights, such as a Reshape, may stand behind
    if last is not None and name in _NOT_RAW:
        raise ModelError(
            f"the last layer, {last.name!r}, has the activation {name}: expected the raw outputs before it, as a "
            "probability near 1 no longer ranks; leave the activation out and train with from_logits=True"
        )


def _stamp_px(model: Any, n_bands: int) -> int:
    try:
        shape = tuple(model.inputs[0].shape[1:])
    except (AttributeError, TypeError, IndexError, ValueError):
        raise ModelError(
            "the network was never told the shape of its input: begin it with keras.Input((size, size, n_bands))"
        ) from None
    if len(shape) != 3 or shape[0] is None or shape[0] != shape[1] or shape[2] != n_bands:
        raise ModelError(f"the network takes {shape}, expected square stamps (y, x, band) of a fixed size in {n_bands} bands")
    return int(shape[0])


def _stamps(card: Card, stamps: np.ndarray, what: str) -> np.ndarray:
    stamps, size, n = np.asarray(stamps), card.stamp_px, len(card.bands)
    if stamps.ndim != 4 or stamps.shape[3] != n or min(stamps.shape[1:3]) < size or not len(stamps):
        expected = f"(object, y, x, band) in nJy with at least one object, {size} px and {n} bands"
        raise InputError(f"{what} have the shape {stamps.shape}, expected {expected}")
    return stamps


def _golden(card: Card, examples: np.ndarray) -> Golden:
    whole = _stamps(card, examples, "examples")[:N_GOLDEN]
    stamps = centre_cut(whole, card.stamp_px).astype(np.float32)
    inputs = scaling.scale_stamps(stamps, card.scaling, card.bands)
    if card.photometry is None:
        return Golden(stamps, inputs)
    fluxes = stamp_photometry(whole, card.pixel_scale)
    return Golden(stamps, inputs, np.stack(fluxes, axis=1), scaling.scale_photometry(*fluxes, card.photometry, card.bands))


@dataclass(frozen=True)
class _Known:
    """Stamps of validation for which the network gives a logit."""

    stamps: np.ndarray
    y: np.ndarray
    """bool."""
    logit: np.ndarray


def _known(card: Card, model: Any, stamps: np.ndarray, labels: np.ndarray) -> _Known:
    if card.task not in _FINDERS or card.prior is None:
        raise InputError(f"validation is for the tasks {' and '.join(_FINDERS)}, not for {card.task!r}: leave it out")
    stamps, y = _stamps(card, stamps, "stamps of validation"), np.asarray(labels)
    if y.shape != (len(stamps),) or not np.isin(y, (0, 1)).all() or not 0 < y.sum() < len(y):
        raise InputError(
            f"labels of validation have the shape {y.shape}, expected {(len(stamps),)} with 0 and 1, both of them there"
        )
    logit = keras_predictor(card, model).predict(stamps)[f"{card.task}_logit"].values.astype(np.float64)
    finite = np.isfinite(logit)
    found = _Known(stamps[finite], y.astype(bool)[finite], logit[finite])
    if is_separable(found.logit, found.y):
        raise InputError(
            f"the {len(y)} stamps of validation are told apart without a mistake, which says nothing about probabilities: give "
            "more of them, or harder ones, or leave validation out"
        )
    return found


def _calibrated(card: Card, known: _Known) -> Card:
    assert card.prior is not None
    fitted = fit_calibration(known.logit, known.y, prior_weights(known.y, card.prior.training))
    old = card.calibration or Calibration()
    calibration = old.model_copy(update={"temperature": fitted.temperature, "bias": fitted.bias})
    return card.model_copy(update={"calibration": calibration})


def _measured(folder: Path, card: Card, known: _Known) -> Card:
    """The card with metrics of the package as it was written."""
    assert card.prior is not None
    predicted = load_model(folder.resolve()).predict(known.stamps)
    logit, score = (predicted[f"{card.task}_{name}"].values for name in ("logit", "score"))
    text = "; on the stamps that calibrated it"
    metrics = {
        name: metric.model_copy(update={"definition": metric.definition + text})
        for name, metric in classifier_metrics(logit, score, known.y).items()
    }
    curve = card_reliability(score, known.y, card.prior.training, f"{len(known.y)} stamps that also calibrated it")
    return card.model_copy(update={"metrics": metrics, "reliability": curve})
