"""What is settled before a training starts: the card with scaling, priors and domain from the training set, and the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.bands import EXTINCTION
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Domain, Outputs, PhotometryScaling, Prior, Scaling, Training
from surveycnn.models.lens import build_lens
from surveycnn.models.merger import build_merger
from surveycnn.models.morphology import QUESTIONS, build_morphology
from surveycnn.models.photoz import build_photoz
from surveycnn.training.data import LabelledStamps, aperture_magnitudes, sky_noise
from surveycnn.training.plan import Plan

PIXEL_SCALE = 0.2
N_COMPONENTS = 8
SURVEY_PRIOR = {"lens": 1e-3, "merger": 0.02}
"""Fractions of the sky's galaxies that the probabilities assume; a survey can put its own into the card."""
PRODUCT_VERSION = "0.2.0"
NOTES = (
    "A compact network, trained and measured on simulated stamps of this package alone: the metrics say how well it does "
    "on that simulation, not on a real survey. Check it on labelled objects of your own before you rely on its numbers."
)
TASK_NOTES = {
    "merger": "A merger is a pair up to 400 Myr after its first pericentre with tides that show; close pairs whose disks are "
    "not yet disturbed are negatives, as only their redshifts could tell them from pairs in projection.",
    "morphology": "Votes are those of simulated volunteers, who see what stands out of the seeing and the noise. Stamps of 12.8 "
    "arcsec hold the cores alone of galaxies with a half-light radius above some 4 arcsec.",
}


def first_card(plan: Plan, data: LabelledStamps) -> Card:
    """Card of a model that is about to be trained on `data`: scaling, priors and domain come from there."""
    keras = import_keras()
    task, outputs, prior = plan.task, Outputs(), None
    if task == "merger":
        times = np.asarray(data.labels["time_myr"])[np.asarray(data.labels["is_merger"], bool)]
        outputs = Outputs(time_mean=round(float(times.mean()), 1), time_scale=round(max(float(times.std()), 1.0), 1))
    elif task == "morphology":
        outputs = Outputs(questions=QUESTIONS)
    elif task == "photoz":
        outputs = Outputs(n_components=N_COMPONENTS)
    if task in SURVEY_PRIOR:
        fraction = float(np.clip(np.mean(data.labels[f"is_{task}"]), 0.01, 0.99))
        prior = Prior(training=round(fraction, 4), survey=SURVEY_PRIOR[task])
    return Card(
        name=task,
        version=PRODUCT_VERSION,
        task=task,
        bands=list(data.bands),
        pixel_scale=PIXEL_SCALE,
        stamp_px=min(32 if task == "photoz" else 64, data.stamps.shape[1]),
        photometry=photometry_scaling(data) if task == "photoz" else None,
        extinction={band: EXTINCTION[band] for band in data.bands} if task == "photoz" else {},
        scaling=Scaling(softening={band: round(noise, 3) for band, noise in sky_noise(data).items()}),
        outputs=outputs,
        prior=prior,
        calibration=None if prior is None else Calibration(),
        domain=domain_of(data, plan.conditions),
        training=Training(
            simulation=f"surveycnn.simulation, conditions {plan.conditions}",
            seed=plan.seed,
            n=len(data),
            command=plan.command,
            epochs=plan.epochs,
        ),
        licence="BSD-3-Clause",
        keras=keras.__version__,
        notes=" ".join(text for text in (TASK_NOTES.get(task), NOTES) if text),
    )


def photometry_scaling(data: LabelledStamps) -> PhotometryScaling:
    """Softening of measured fluxes: in each band the median error of the fainter half."""
    flux, error = np.asarray(data.labels["flux"]), np.asarray(data.labels["flux_err"])
    faint = flux <= np.nanmedian(flux, axis=0)
    softening = np.nanmedian(np.where(faint, error, np.nan), axis=0)
    return PhotometryScaling(softening={band: round(float(value), 2) for band, value in zip(data.bands, softening, strict=True)})


def domain_of(data: LabelledStamps, conditions: str) -> Domain:
    """Ranges of the central 99 % of a set: i magnitudes as measured in a circle of 2 arcsec radius, seeing and depth in i."""
    index = data.bands.index("i")
    starts = range(0, len(data), 2000)
    magnitudes = [aperture_magnitudes(data.stamps[start : start + 2000])[:, index] for start in starts]
    seeing, depth = None, f"conditions {conditions}"
    if {"fwhm_i", "sigma_i"} <= set(data.truth):
        fwhm, noise = (np.asarray(data.truth[name], float) for name in ("fwhm_i", "sigma_i"))
        seeing = _central_range(fwhm)
        five_sigma = 5 * noise * np.sqrt(4 * np.pi) * fwhm / 2.355 / PIXEL_SCALE
        shallowest, deepest = _central_range(31.4 - 2.5 * np.log10(five_sigma))
        depth += f": 5 sigma point sources of {shallowest} to {deepest} mag in i"
    return Domain(band="i", magnitude=_central_range(np.concatenate(magnitudes)), seeing_arcsec=seeing, depth=depth)


def _central_range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.005, 0.995])
    return round(float(low), 2), round(float(high), 2)


def build_model(card: Card, data: LabelledStamps, widths: tuple[int, ...] | None = None) -> Any:
    """The network of the task with the shapes of `card`, weights at their start."""
    shape: dict[str, Any] = {"stamp_px": card.stamp_px, "n_bands": len(card.bands)} | (
        {"widths": tuple(widths)} if widths else {}
    )
    if card.task == "lens":
        return build_lens(**shape)
    if card.task == "merger":
        return build_merger(**shape)
    if card.task == "morphology":
        return build_morphology(card.n_outputs, **shape)
    start = np.quantile(data.labels["redshift"], np.linspace(0.1, 0.9, N_COMPONENTS))
    return build_photoz(N_COMPONENTS, **shape, start=list(map(float, start)))
