"""Counts that grow with the rows that are added, in memory that does not: histograms, and sums of redshift PDFs."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from surveycnn.catalogs.redshifts import known_gaussians


class Axis:
    """Equal bins between two limits."""

    def __init__(self, low: float, high: float, n: int):
        self.low, self.high, self.n = low, high, n

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(self.low, self.high, self.n + 1)

    @property
    def centres(self) -> np.ndarray:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def place(self, values: np.ndarray) -> np.ndarray:
        """Number of the bin of each value: 0 below and NaN, 1 to n inside, n + 1 above."""
        with np.errstate(invalid="ignore"):
            scaled = (values - self.low) * (self.n / (self.high - self.low)) + 1
        return np.clip(np.nan_to_num(scaled, nan=0.0), 0, self.n + 1).astype(np.int64)


class Histogram:
    """Counts along one axis."""

    def __init__(self, axis: Axis):
        self.axis = axis
        self._counts = np.zeros(axis.n + 2, np.int64)

    def add(self, values: np.ndarray) -> None:
        values = values[~np.isnan(values)]
        self._counts += np.bincount(self.axis.place(values), minlength=self.axis.n + 2)

    @property
    def counts(self) -> np.ndarray:
        """(bin,) inside of the limits."""
        return self._counts[1:-1]

    @property
    def median(self) -> float:
        """Median of what lies inside of the limits, to the width of a bin; NaN without any."""
        before = np.concatenate([[0], np.cumsum(self.counts)])
        return float(np.interp(before[-1] / 2, before, self.axis.edges)) if before[-1] else float("nan")

    @property
    def total(self) -> int:
        """All that were added and are numbers, inside of the limits or not."""
        return int(self._counts.sum())


class Histogram2d:
    """Counts on two axes."""

    def __init__(self, x: Axis, y: Axis):
        self.x, self.y = x, y
        self._counts = np.zeros((x.n + 2) * (y.n + 2), np.int64)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        known = ~(np.isnan(x) | np.isnan(y))
        place = self.x.place(x[known]) * (self.y.n + 2) + self.y.place(y[known])
        self._counts += np.bincount(place, minlength=self._counts.size)

    @property
    def counts(self) -> np.ndarray:
        """(x, y) inside of the limits."""
        return self._counts.reshape(self.x.n + 2, self.y.n + 2)[1:-1, 1:-1]

    def quantiles(self, levels: tuple[float, ...], least: int = 5) -> np.ndarray:
        """(level, x) quantiles of y in each bin of x, to the width of a bin; NaN where fewer than `least` are counted."""
        counts = self._counts.reshape(self.x.n + 2, self.y.n + 2)[1:-1]
        before = np.concatenate([np.zeros((self.x.n, 1)), np.cumsum(counts, axis=1)], axis=1)
        edges = np.concatenate([[self.y.low], self.y.edges, [self.y.high]])
        found = np.full((len(levels), self.x.n), np.nan)
        for i in np.flatnonzero(before[:, -1] >= least):
            found[:, i] = np.interp(np.array(levels) * before[i, -1], before[i], edges)
        return found


class MixtureSum:
    """n(z): the sum of the PDFs of all rows.

    Each Gaussian is counted, with its weight, in a bin of mean and width so fine that its shape does not change to the eye: the
    sum over 1e7 rows of eight Gaussians costs what a histogram of them costs.
    """

    MEAN = Axis(-1.0, 8.0, 1800)
    LOG_SIGMA = Axis(np.log(1e-3), np.log(3.0), 120)

    def __init__(self) -> None:
        self._weights = np.zeros((self.MEAN.n + 2) * (self.LOG_SIGMA.n + 2))
        self.n_rows = 0

    def add(self, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> None:
        """Add the PDFs of rows; arrays are (row, component), and rows without a PDF count nowhere."""
        known, (w, m, s) = known_gaussians(weight, mean, sigma)
        place = self.MEAN.place(m) * (self.LOG_SIGMA.n + 2) + self.LOG_SIGMA.place(np.log(s))
        self._weights += np.bincount(place.ravel(), weights=w.ravel(), minlength=self._weights.size)
        self.n_rows += int(known.sum())

    def counts(self, edges: np.ndarray) -> np.ndarray:
        """(bin,) expected number of rows between `edges`."""
        filled = np.flatnonzero(self._weights)
        i, j = np.divmod(filled, self.LOG_SIGMA.n + 2)
        means = np.clip(self.MEAN.low + (i - 0.5) * (self.MEAN.high - self.MEAN.low) / self.MEAN.n, self.MEAN.low, self.MEAN.high)
        widths = np.exp(self.LOG_SIGMA.low + (j - 0.5) * (self.LOG_SIGMA.high - self.LOG_SIGMA.low) / self.LOG_SIGMA.n)
        below = np.array([self._weights[filled] @ ndtr((edge - means) / widths) for edge in edges])
        return np.diff(below)
