"""RingFinder: significant blue residuals, tangential and in an annulus, once the scaled red image is taken away."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from surveycnn.challenge.zoo.method import Published, softplus
from surveycnn.challenge.zoo.pixels import PIXEL_SCALE, lens_centre, radius_of
from surveycnn.challenge.zoo.regions import Regions, find_regions, measure_regions, sum_in_regions, sum_per_stamp
from surveycnn.evaluation.methods.method import Log, check_stamps, in_chunks
from surveycnn.evaluation.methods.pixels import filled, noise_of
from surveycnn.training.data import LabelledStamps

INNER, OUTER = 0.5, 2.7
"""arcsec: annulus of the colour and of the centroids of the regions"""
THRESHOLD = 1.2
"""signal to noise per pixel"""
MIN_PX = 10
MIN_MINOR = 0.2
"""arcsec"""
FAINTEST, FAINTEST_BRIGHTNESS = 25.5, 26.3
"""mag of a region in the difference, and its mean surface brightness in mag per square arcsec"""
MAX_MISALIGNMENT = 30.0
MAX_AXIS_RATIO = 0.7


class RingFinder:
    """RingFinder (Gavazzi et al. 2014, ApJ 785, 144), with the cuts of LensPop's implementation (Collett 2015, ApJ 811, 20).

    The difference is D = g - alpha i with alpha = sum(g) / sum(i) between 0.5" and 2.7" from the lens. Connected pixels above
    1.2 sigma are regions; good ones lie in the annulus, are wide and bright enough and tangential within 30 degrees. A stamp is
    accepted with two good ones, or one with an axis ratio below 0.7. Nothing is learned.

    Accepting alone would tie nearly all stamps, so the score grows with the signal to noise of the good regions (ln, above 0)
    where a stamp is accepted; below 0 where it has good regions but is not; below -1, by the significance of the light in the
    annulus of D alone, where it has none. The point spread functions of g and i are not matched.
    """

    name: ClassVar[str] = "ringfinder"
    title: ClassVar[str] = "RingFinder"
    reference: ClassVar[str] = "Gavazzi et al. 2014; cuts of LensPop, Collett 2015"
    published: ClassVar[Published | None] = None

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Nothing: the cuts are fixed."""
        log(f"{self.name}: fixed cuts, nothing to train")

    def score(self, stamps: np.ndarray) -> np.ndarray:
        """Scores (object,) float64 of stamps (object, y, x, band) in nJy, NaN = no data."""
        check_stamps(stamps)
        return in_chunks(stamps, _rank)


def _rank(stamps: np.ndarray) -> np.ndarray:
    noise, light = noise_of(stamps), filled(stamps).astype(np.float64)
    centre = lens_centre(light[..., 2])
    radius = radius_of(stamps.shape[1:3], centre)
    annulus = (radius > INNER) & (radius < OUTER)
    difference, sigma = blue_difference(light[..., 0], light[..., 2], noise[:, [0, 2]], annulus)
    signal = difference / sigma[:, None, None]
    labels, kept = find_regions(signal > THRESHOLD, MIN_PX)
    regions = measure_regions(labels, kept, centre)
    good = good_regions(regions, sum_in_regions(difference, labels, regions))
    significance = np.where(good, sum_in_regions(signal, labels, regions) / np.sqrt(regions.n_px), 0.0)
    n_good = sum_per_stamp(good.astype(float), regions, len(stamps))
    n_thin = sum_per_stamp(good & (regions.minor / regions.major < MAX_AXIS_RATIO), regions, len(stamps))
    total = np.sqrt(sum_per_stamp(significance**2, regions, len(stamps)))
    # the mean of D over the annulus is 0 by the choice of alpha: what is above it counts
    weak = (np.clip(signal, 0, None) * annulus).sum(axis=(1, 2)) / np.maximum(annulus.sum(axis=(1, 2)), 1)
    accepted = (n_good >= 2) | (n_thin >= 1)
    total = np.maximum(total, 1.0 + 1e-9)
    return np.where(accepted, np.log(total), np.where(n_good > 0, -1 / total, -1 - softplus(-weak)))


def blue_difference(blue: np.ndarray, red: np.ndarray, noise: np.ndarray, annulus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """D = blue - alpha red (object, y, x) in nJy and its noise per pixel (object,); `noise` (object, 2) is that of the two."""
    alpha = (blue * annulus).sum(axis=(1, 2)) / np.maximum((red * annulus).sum(axis=(1, 2)), 1e-9)
    alpha = np.clip(alpha, 0.0, 10.0)  # without red light there is no colour to speak of
    return blue - alpha[:, None, None] * red, np.hypot(noise[:, 0], alpha * noise[:, 1])


def good_regions(regions: Regions, flux: np.ndarray) -> np.ndarray:
    """Which regions (region,) could be an arc; `flux` is that in the difference image, nJy."""
    magnitude = 31.4 - 2.5 * np.log10(np.clip(flux, 1e-9, None))
    brightness = magnitude + 2.5 * np.log10(regions.n_px * PIXEL_SCALE**2)
    return (
        (regions.distance > INNER)
        & (regions.distance < OUTER)
        & (regions.minor > MIN_MINOR)
        & (magnitude < FAINTEST)
        & (brightness < FAINTEST_BRIGHTNESS)
        & (regions.misalignment < MAX_MISALIGNMENT)
    )
