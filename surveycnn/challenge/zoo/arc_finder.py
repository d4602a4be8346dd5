"""YattaLensLite: blue, tangential objects left over once a smooth model of the lens's light is taken away."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import ndimage

from surveycnn.challenge.zoo.lens_light import subtract_lens
from surveycnn.challenge.zoo.method import Finder, Published, softplus
from surveycnn.challenge.zoo.pixels import lens_centre, radius_of
from surveycnn.challenge.zoo.regions import Regions, find_regions, measure_regions, sum_in_regions, sum_per_stamp
from surveycnn.evaluation.methods.linear import fit_logistic, logits, with_squares
from surveycnn.evaluation.methods.method import Log, Rows, in_chunks
from surveycnn.evaluation.methods.pixels import filled, noise_of
from surveycnn.training.data import LabelledStamps

INNER, OUTER = 0.5, 4.5
"""arcsec: where arcs are looked for"""
THRESHOLD, MIN_PX = 2.5, 8
SMOOTHING_PX = 1.0


class ArcFinder(Finder):
    """Arc finder of the kind of YattaLens without its lens models (Sonnenfeld et al. 2018, PASJ 70, S29).

    A smooth elliptical model of the lens's light from i, scaled to its core, is subtracted in every band. Objects are detected in
    what is left of g; each has a distance, elongation, angle from the tangent, opening angle, colour and signal to noise. The
    most arc-like one, and how much else there is, go into a small logistic regression with squares, where YattaLens has cuts:
    a yes or no could not be ranked. Stamps without an object are ranked below all others, by the light left in the annulus.
    """

    name = "arc_finder"
    title = "Arc finder"
    reference = "Sonnenfeld et al. 2018 (YattaLensLite)"
    published: ClassVar[Published | None] = Published("YattaLensLite", 0.82, 0.00, 0.00)

    def __init__(self, *, n_train: int = 20_000) -> None:
        super().__init__(n_train=n_train)

    def learn(self, stamps: Rows, is_lens: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The weights of the regression; a stamp without an object takes part with features of 0."""
        measured, valid_measured = (in_chunks(part, measure_arcs) for part in (stamps, valid.stamps))
        log(f"{self.name}: objects beside the lens in {np.mean(measured[:, 0] > 0):.0%} of the stamps")
        features, valid_features = (with_squares(part[:, 2:]) for part in (measured, valid_measured))
        return fit_logistic(features, is_lens, valid_features, np.asarray(valid.labels["is_lens"], bool))

    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Scores (object,): above 0 where there is an object, below 0 where there is none."""
        measured = measure_arcs(stamps)
        return np.where(measured[:, 0] > 0, softplus(logits(with_squares(measured[:, 2:]), state)), -softplus(-measured[:, 1]))


def measure_arcs(stamps: np.ndarray) -> np.ndarray:
    """Number of objects, light in the annulus, and features of the most arc-like object (object, value) float64.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy, NaN = no data.
    """
    noise, light = noise_of(stamps), filled(stamps).astype(np.float64)
    centre = lens_centre(light[..., 2])
    residual, core = subtract_lens(light, noise, centre)
    radius = radius_of(stamps.shape[1:3], centre)
    annulus = (radius > INNER) & (radius < OUTER)
    signal = _smoothed(residual[..., 0]) / (noise[:, 0, None, None] / (2 * np.sqrt(np.pi) * SMOOTHING_PX)) * annulus
    labels, kept = find_regions(signal > THRESHOLD, MIN_PX)
    regions = measure_regions(labels, kept, centre)
    flux = np.stack([sum_in_regions(residual[..., band], labels, regions) for band in range(residual.shape[3])], axis=1)
    weak = signal.sum(axis=(1, 2)) / np.sqrt(np.maximum(annulus.sum(axis=(1, 2)), 1))
    return np.concatenate([weak[:, None], _best_arc(regions, flux, noise, core)], axis=1)[:, [1, 0, *range(2, 2 + N_FEATURES)]]


N_FEATURES = 12


def _best_arc(regions: Regions, flux: np.ndarray, noise: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Number of objects and features (object, 1 + feature); zeros where there is none."""
    n = len(noise)
    out = np.zeros((n, 1 + N_FEATURES))
    if not len(regions):
        return out
    significance = np.clip(flux[:, 0], 0, None) / (noise[regions.owner, 0] * np.sqrt(regions.n_px)) + 1e-3
    tangential = np.cos(2 * np.radians(regions.misalignment))
    elongation = np.log(regions.major / regions.minor)
    opening = np.arctan2(regions.major / 2, regions.distance + 0.1)
    # colours as angles, 45 degrees for that of the lens, so that fluxes below zero have one too
    scaled = flux / core[regions.owner]
    colours = [np.arctan2(scaled[:, 0], scaled[:, band]) for band in (1, 2)]
    blueness = np.clip(colours[1] - np.pi / 4, 0, None)
    merit = np.log(significance) + elongation * (1 + tangential) + blueness
    best = np.full(n, -1)
    order = np.argsort(merit, kind="stable")
    best[regions.owner[order]] = order  # the last one that is written is the best
    features = [np.log(significance), elongation, tangential, elongation * tangential, regions.distance, opening, *colours]
    features += [np.log(regions.n_px), merit]
    has = best >= 0
    for column, values in enumerate(features, start=1):
        out[has, column] = values[best[has]]
    out[:, 0] = sum_per_stamp(np.ones(len(regions)), regions, n)
    total = sum_per_stamp(significance, regions, n)
    out[:, -2] = np.log1p(out[:, 0])
    out[has, -1] = np.log1p(np.clip(total[has] - significance[best[has]], 0, None))
    return out


def _smoothed(images: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, SMOOTHING_PX, SMOOTHING_PX), mode="constant")
