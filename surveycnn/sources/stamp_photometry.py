"""Fluxes of the objects in the middle of stamps, measured as those of a mosaic's sources.

For who has stamps and no catalog: the training, and callers of the predictor.
"""

from __future__ import annotations

import numpy as np

from surveycnn.sources.detect import detection_image, smooth
from surveycnn.sources.photometry import DetectionImage, Pixels, measure_sources

PEAK_REACH_PX = 2
"""The peak of an object lies within so many pixels of the middle of its stamp."""
EDGE_PX = 4
"""Width of the frame in which the noise is measured."""


def stamp_photometry(stamps: np.ndarray, pixel_scale: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Flux and its error in one circular Kron aperture per stamp, the same in every band.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy per pixel, sky subtracted, NaN = no data; may be a memory map.
    pixel_scale
        arcsec per pixel.

    Returns
    -------
    flux, flux_err
        (object, band) float64 nJy; NaN where a band has no data.
    """
    flux = np.full((2, len(stamps), stamps.shape[3]), np.nan)
    for number in range(len(stamps)):
        flux[:, number] = _measure(np.moveaxis(np.asarray(stamps[number], np.float32), -1, 0), pixel_scale)
    return flux[0], flux[1]


def edge_noise(image: np.ndarray) -> np.ndarray:
    """Noise per pixel (band,) from the frame of an image (band, y, x); NaN where a band has no data there."""
    frame = np.ones(image.shape[1:], bool)
    frame[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX] = False
    noise = np.full(len(image), np.nan)
    for band, pixels in enumerate(image[:, frame]):
        pixels = pixels[np.isfinite(pixels)]
        if pixels.size:
            noise[band] = 1.4826 * np.median(np.abs(pixels - np.median(pixels)))
    return noise


def _measure(image: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Flux and error (2, band) of the object in the middle of an image (band, y, x)."""
    noise = edge_noise(image)
    known = np.flatnonzero(noise > 0)
    if not known.size:
        return np.full((2, len(image)), np.nan)
    rms = np.where(np.isfinite(image), noise[:, None, None], np.nan).astype(np.float32)
    significance, mask = detection_image(image, rms, list(known))
    peak_y, peak_x = _peak(smooth(significance, mask))
    pixels = Pixels.unmasked(image, rms, pixel_scale, open_edges=(True, True, True, True))
    measured = measure_sources(pixels, DetectionImage(significance, mask), peak_y, peak_x, np.zeros(1, np.int32))
    return np.stack([measured.flux[:, 0], measured.flux_err[:, 0]])


def _peak(significance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (1,) of the brightest pixel near the middle of a detection image (y, x)."""
    rows, cols = ((length - 1) // 2 - PEAK_REACH_PX + np.arange(2 * PEAK_REACH_PX + 2) for length in significance.shape)
    index = int(np.argmax(significance[np.ix_(rows, cols)]))
    row, col = divmod(index, len(cols))
    return rows[row : row + 1], cols[col : col + 1]
