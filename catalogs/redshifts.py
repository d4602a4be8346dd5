"""Redshifts of rows from their PDFs: densities, quantiles, n(z) of a selection, draws, and the PDFs as a qp ensemble.

The PDF of a row is the mixture of Gaussians in its columns `pz_weight`, `pz_mean` and `pz_sigma`, the weights divided by their
sum. That is what `z_phot`, `z_phot_lo`, `z_phot_hi` and `z_mode` are computed from, and it is not cut at redshift 0: up to 16 %
of the PDF of a very near galaxy lie below. Arrays of Gaussians are (row, component); a row without a PDF, that has NaN there or
no positive weight or width, gives NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from surveycnn.catalogs.philox import uniforms
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError
from surveycnn.inference import mixture

if TYPE_CHECKING:
    import qp

    from surveycnn.catalogs.query import Catalog

MIXTURE = ("pz_weight", "pz_mean", "pz_sigma")
BLOCK_VALUES = 1 << 20
"""Numbers per component in memory at a time, beside the result."""

Gaussians = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights, means and widths (row, component)."""


def known_gaussians(weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, Gaussians]:
    """Boolean array (row,), True where there is a PDF, and the Gaussians of those rows in double precision, weights of sum 1."""
    known = np.all([np.isfinite(values).all(axis=1) for values in (weight, mean, sigma)], axis=0)
    known &= (sigma > 0).all(axis=1) & (weight >= 0).all(axis=1) & (weight > 0).any(axis=1)
    w, m, s = (values[known].astype(np.float64) for values in (weight, mean, sigma))
    return known, (w / w.sum(axis=1, keepdims=True), m, s)


def pdf(z: ArrayLike, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Densities (row, z) at the redshifts `z`.

    >>> one = np.ones((1, 1))
    >>> pdf([0.5, 1.0], one, one, 0.5 * one).round(4).tolist()
    [[0.4839, 0.7979]]
    """
    grid = _numbers("z", z, "redshifts")

    def density(w: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
        return _over_components(lambda t: np.exp(-0.5 * t**2), grid, w / (mixture.SQRT_2PI * s), m, s)

    return _per_row(density, grid.size, (weight, mean, sigma))


def cdf(z: ArrayLike, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Probabilities (row, z) below the redshifts `z`."""
    grid = _numbers("z", z, "redshifts")
    return _per_row(lambda w, m, s: _over_components(ndtr, grid, w, m, s), grid.size, (weight, mean, sigma))


def quantiles(q: ArrayLike, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Redshifts (row, q) below which the fractions `q` of the probability lie.

    >>> one = np.ones((1, 1))
    >>> quantiles([0.5, 0.84], one, one, 0.5 * one).round(4).tolist()
    [[1.0, 1.4972]]
    """
    levels = _numbers("q", q, "fractions between 0 and 1")
    if not ((levels > 0) & (levels < 1)).all():
        raise CatalogError(f"q is {levels.tolist()}, expected fractions between 0 and 1, these two left out")

    def find(w: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.stack([mixture.quantile(float(level), w, m, s) for level in levels], axis=1)

    return _per_row(find, levels.size, (weight, mean, sigma))


def draws(source_id: np.ndarray, n_draws: int, seed: int, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Redshifts (row, draw) drawn from the PDFs.

    Each depends on the seed, the source and the number of the draw alone, whatever the other rows and draws are.
    """
    n_draws, seed = _whole("n_draws", n_draws, 1 << 31), _whole("seed", seed, 1 << 64)

    def draw(w: np.ndarray, m: np.ndarray, s: np.ndarray, ids: np.ndarray) -> np.ndarray:
        which, where = uniforms(seed, ids, n_draws)
        share = np.cumsum(w, axis=1)
        share /= share[:, -1:]  # exactly 1: the last Gaussian is not drawn if it has no weight
        component = np.zeros(which.shape, np.int64)
        for upper in share[:, :-1].T:
            component += which >= upper[:, None]
        return np.take_along_axis(m, component, axis=1) + np.take_along_axis(s, component, axis=1) * ndtri(where)

    return _per_row(draw, n_draws, (weight, mean, sigma), np.asarray(source_id))


@dataclass(frozen=True, eq=False)
class RedshiftDistribution:
    """n(z) of a selection: sums over its rows of the probability in each bin of redshift."""

    edges: np.ndarray
    """(bin + 1,)"""
    count: np.ndarray
    """(bin,) expected number of rows, or sum of their weights."""
    covariance: np.ndarray
    """(bin, bin) of the counts, of a Poisson bootstrap of the rows: sampling alone, not wrong PDFs nor large-scale structure."""
    below: float
    """What lies below the first edge."""
    above: float
    """What lies above the last edge."""
    n_rows: int
    n_without: int
    """Rows without a PDF, which count nowhere."""

    @property
    def error(self) -> np.ndarray:
        """(bin,) 1 sigma errors of the counts, which go along with those of the bins beside."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def density(self) -> np.ndarray:
        """(bin,) counts per unit of redshift, with an integral of 1 over the bins; NaN where they are empty."""
        total = self.count.sum()
        return self.count / np.diff(self.edges) / total if total else np.full(self.count.shape, np.nan)

    def __repr__(self) -> str:
        missing = f", {self.n_without:,} of them without a PDF" if self.n_without else ""
        lines = [f"<n(z) of {self.n_rows:,} rows{missing}>"]
        bins = zip(self.edges[:-1], self.edges[1:], self.count, self.error, strict=True)
        lines += [f"  {low:7.4g} to {high:7.4g}  {count:10.2f} +- {error:.2f}" for low, high, count, error in bins]
        return "\n".join([*lines, f"  below {self.below:.2f}, above {self.above:.2f}"])


def pdf_of(catalog: Catalog, z: ArrayLike) -> np.ndarray:
    """Densities (row, z) of the rows of a catalog; see :func:`pdf`."""
    grid = _numbers("z", z, "redshifts")
    return _gathered([pdf(grid, *gaussians) for gaussians, _ in _scan(catalog)], grid.size)


def quantiles_of(catalog: Catalog, q: ArrayLike) -> np.ndarray:
    """Redshifts (row, q) of the rows of a catalog; see :func:`quantiles`."""
    return _gathered([quantiles(q, *gaussians) for gaussians, _ in _scan(catalog)], np.size(q))


def draws_of(catalog: Catalog, n_draws: int, seed: int) -> np.ndarray:
    """Redshifts (row, draw) of the rows of a catalog; see :func:`draws`."""
    n_draws, parts = _whole("n_draws", n_draws, 1 << 31), _scan(catalog, "source_id")
    return _gathered([draws(ids, n_draws, seed, *gaussians) for gaussians, (ids,) in parts], n_draws)


def n_of_z(catalog: Catalog, edges: ArrayLike, weights: str | ArrayLike | None = None) -> RedshiftDistribution:
    """n(z) of the rows of a catalog, which are read one part after another.

    Parameters
    ----------
    edges
        Borders of the bins, increasing.
    weights
        A column, or one number for each row; None counts each row once.

    Raises
    ------
    CatalogError
        For a catalog without photometric redshifts, edges that do not increase, weights that are missing or not finite.
    """
    borders = _edges(edges)
    total = np.zeros(borders.size + 1)
    squares = np.zeros((borders.size - 1, borders.size - 1))
    n_rows = n_without = 0
    for gaussians, row_weight in _weighted(catalog, weights):
        n_rows += len(row_weight)
        step = max(1, BLOCK_VALUES // borders.size)
        for start in range(0, len(row_weight), step):
            below = cdf(borders, *(values[start : start + step] for values in gaussians))
            known = np.isfinite(below[:, 0])
            n_without += int(np.count_nonzero(~known))
            share = np.diff(below[known], axis=1, prepend=0, append=1) * row_weight[start : start + step][known, None]
            total += share.sum(axis=0)
            squares += share[:, 1:-1].T @ share[:, 1:-1]
    return RedshiftDistribution(borders, total[1:-1], squares, float(total[0]), float(total[-1]), n_rows, n_without)


def to_qp(catalog: Catalog) -> qp.Ensemble:
    """Ensemble of Gaussian mixtures of the rows that have one; source_id, ra and dec go along as ancillary data."""
    names = ("source_id", "ra", "dec")
    try:
        import qp
    except ImportError:
        raise CatalogError("qp is not installed: pip install 'surveycnn[qp]'") from None
    found = [(known_gaussians(*gaussians), others) for gaussians, others in _scan(catalog, *names)]
    if not any(known.any() for (known, _), _ in found):
        n_rows = sum(len(known) for (known, _), _ in found)
        raise CatalogError(f"none of the {n_rows} rows has a redshift PDF: select others")
    keys = ("weights", "means", "stds")
    data = {key: np.concatenate([gaussians[place] for (_, gaussians), _ in found]) for place, key in enumerate(keys)}
    ancil = {name: np.concatenate([others[place][known] for (known, _), others in found]) for place, name in enumerate(names)}
    return qp.Ensemble(qp.mixmod, data=data, ancil=ancil)


def _scan(catalog: Catalog, *others: str) -> Iterator[tuple[Gaussians, list[np.ndarray]]]:
    """Gaussians and other columns of the rows of a catalog, part by part.

    Raises
    ------
    CatalogError
        Where the catalog has no photometric redshifts.
    """
    missing = [name for name in MIXTURE if name not in catalog.published_columns]
    if missing:
        raise CatalogError(f"catalog {catalog.name!r} has no columns {missing}: a photo-z model did not run")
    for table in catalog.scan([*MIXTURE, *others]):
        weight, mean, sigma, *rest = (arrow_to_numpy(table[name]) for name in (*MIXTURE, *others))
        if not (weight.ndim == 2 and weight.shape == mean.shape == sigma.shape and weight.dtype.kind == "f"):
            kinds = ", ".join(f"{name} is {table.schema.field(name).type}" for name in MIXTURE)
            raise CatalogError(f"catalog {catalog.name!r}: {kinds}: expected as many numbers per row in each")
        yield (weight, mean, sigma), rest


def _weighted(catalog: Catalog, weights: str | ArrayLike | None) -> Iterator[tuple[Gaussians, np.ndarray]]:
    """Gaussians and weights (row,) of the rows, part by part."""
    if isinstance(weights, str):
        if weights not in catalog.published_columns:
            raise CatalogError(f"weights: catalog {catalog.name!r} has no column {weights!r}: give one of its columns")
        for gaussians, (values,) in _scan(catalog, weights):
            yield gaussians, _weights(values, weights)
        return
    given = None if weights is None else _weights(np.asarray(weights), "the array")
    start = 0
    for gaussians, _ in _scan(catalog):
        n = len(gaussians[0])
        part = np.ones(n) if given is None else given[start : start + n]
        start += n
        if len(part) == n:
            yield gaussians, part
    if given is not None and len(given) != start:
        raise CatalogError(f"weights: {len(given)} numbers for {start} rows: give one for each, in the order of the rows")


def _weights(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise CatalogError(f"weights: {name} is {values.dtype.name} of shape {values.shape}, expected one number for each row")
    if not np.isfinite(values).all():
        raise CatalogError(
            f"weights: {name} has NaN or infinite values: leave these rows out, for instance with where('lens_prob >= 0')"
        )
    return values.astype(np.float64)


def _gathered(parts: Sequence[np.ndarray], n_columns: int) -> np.ndarray:
    """Parts of a result, (row, `n_columns`), below one another."""
    return np.concatenate([np.empty((0, n_columns)), *parts])


def _per_row(function: Callable[..., np.ndarray], n_columns: int, gaussians: Gaussians, *others: np.ndarray) -> np.ndarray:
    """Results (row, `n_columns`) of a function of the Gaussians of rows that have a PDF, block by block; NaN for others."""
    found = np.full((len(gaussians[0]), n_columns), np.nan)
    step = max(1, BLOCK_VALUES // n_columns)
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        known, valid = known_gaussians(*(values[rows] for values in gaussians))
        found[rows][known] = function(*valid, *(values[rows][known] for values in others))
    return found


def _over_components(
    function: Callable[[np.ndarray], np.ndarray], grid: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """Weighted sums (row, grid) over the Gaussians of a function of the distance from each in its widths."""
    total = np.zeros((len(weight), grid.size))
    for w, m, s in zip(weight.T, mean.T, sigma.T, strict=True):
        total += w[:, None] * function((grid - m[:, None]) / s[:, None])
    return total


def _numbers(name: str, values: ArrayLike, what: str) -> np.ndarray:
    """One or more finite numbers as an array (n,)."""
    try:
        found = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise CatalogError(f"{name} is {values!r}, expected {what}: one, or a list of finite numbers")
    return found


def _edges(values: ArrayLike) -> np.ndarray:
    found = _numbers("edges", values, "redshifts")
    if found.size < 2 or not (np.diff(found) > 0).all():
        raise CatalogError(f"edges are {found.tolist()}, expected at least two redshifts that increase: the borders of the bins")
    return found


def _whole(name: str, value: int, end: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < end or (name == "n_draws" and number == 0):
        lowest = 1 if name == "n_draws" else 0
        raise CatalogError(f"{name} is {value!r}, expected a whole number from {lowest} to {end - 1}")
    return number
