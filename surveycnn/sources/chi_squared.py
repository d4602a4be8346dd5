"""The chi-squared image: where any band, or all of them together, rise out of the noise.

An alternative to the smoothed sum of :mod:`detect` for finding and deblending (Szalay, Connolly & Szokoly 1999, AJ 117, 68). It
keeps sources that are seen in one band alone; what is measured stays the sum. Everything is computed pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, log_ndtr, logsumexp

from surveycnn.sources.detect import SMOOTHED_NOISE, smooth


def chi_squared_map(image: np.ndarray, rms: np.ndarray, band_indices: Sequence[int], threshold_sigma: float) -> np.ndarray:
    """What :func:`surveycnn.sources.detect.detect_sources` takes for `smoothed`, scaled so that the threshold keeps its meaning.

    Parameters
    ----------
    image, rms
        (band, y, x) sky-subtracted pixels and their noise; NaN = no data.
    band_indices
        Bands to combine.
    threshold_sigma
        As in :func:`surveycnn.sources.detect.detect_sources`.

    Returns
    -------
    (y, x) float32, the root of the sum of squares of the bands' smoothed significances, negative ones taken for 0, times a
    factor: in blank sky it exceeds `threshold_sigma` as often as the smoothed sum does. One band alone gives its smoothed
    significance, negative values 0; no band gives 0.
    """
    squares = np.zeros(image.shape[1:], np.float32)
    n_bands = np.zeros(image.shape[1:], np.uint8)
    for index in band_indices:
        significance = image[index] / rms[index]
        bad = ~np.isfinite(significance)
        significance[bad] = 0
        smoothed = np.maximum(smooth(significance, bad, normalise=True), 0)
        squares += smoothed * smoothed
        n_bands += ~bad
    factors = [threshold_factor(n, threshold_sigma) for n in range(len(band_indices) + 1)]
    return np.sqrt(squares) * np.array(factors, np.float32)[n_bands]


@cache
def threshold_factor(n_bands: int, threshold_sigma: float) -> float:
    """Factor on the root of the sum of `n_bands` squares that gives a false alarm at `threshold_sigma` its old probability.

    The sum of the squares of the positive ones among n numbers of unit normal noise exceeds c with the probability
    sum_j binom(n, j) / 2^n P(chi2_j > c); c is where that is the tail of the normal distribution at the threshold.

    >>> threshold_factor(1, 3.0)
    1.0
    >>> round(threshold_factor(3, 3.0), 4)
    0.9529
    """
    if n_bands < 2:
        return 1.0
    sigma = threshold_sigma / SMOOTHED_NOISE
    wanted = log_ndtr(-sigma)
    upper = (sigma + 2 + np.sqrt(2 * n_bands)) ** 2
    level = brentq(lambda c: _log_tail(c, n_bands) - wanted, sigma**2, upper, xtol=1e-9, rtol=1e-12)
    return float(sigma / np.sqrt(level))


def _log_tail(level: float, n_bands: int) -> float:
    """Logarithm of the probability that the sum of squares of the positive ones among `n_bands` unit normals exceeds `level`."""
    count = np.arange(1, n_bands + 1)
    log_share = gammaln(n_bands + 1) - gammaln(count + 1) - gammaln(n_bands - count + 1) - n_bands * np.log(2)
    return float(logsumexp(log_share + [_log_chi_squared_tail(level, int(k)) for k in count]))


def _log_chi_squared_tail(level: float, n: int) -> float:
    """Logarithm of P(chi2_n > level), from its finite sum (Abramowitz & Stegun 26.4.4 and 26.4.5), for any far tail."""
    half = level / 2
    power = np.arange(n // 2) + (0.5 if n % 2 else 0.0)
    terms = power * np.log(half) - half - gammaln(power + 1)
    if n % 2:
        terms = np.append(terms, np.log(2) + log_ndtr(-np.sqrt(level)))
    return float(logsumexp(terms))
