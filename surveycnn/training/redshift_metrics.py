"""Metrics of redshift PDFs against true redshifts, the same for mixtures of Gaussians and for histograms.

For the cards of models, for methods of the literature and for tables. ``dz = (z_phot - z) / (1 + z)``; the probability integral
transform (PIT) is the CDF at the true redshift, uniform where the PDFs are right. A uniform PIT alone says little: the
distribution of all redshifts, given to every object, has one (Schmidt et al. 2020, MNRAS 499, 1587); CRPS and CDE loss tell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surveycnn.errors import InputError
from surveycnn.inference import histogram, mixture
from surveycnn.models.card import Metric
from surveycnn.training.metrics import measured, nmad

OUTLIER_FLOOR = 0.06
"""Least |dz| of an outlier beyond 3 sigma."""
PIT_EDGE = 1e-4
"""A PIT nearer than this to 0 or 1: the PDF as good as excludes the true redshift."""
PIT_CLIP = 1e-6
"""The Anderson-Darling distance takes no PIT nearer to 0 or 1, where it grows without limit."""


def redshift_metrics(
    z: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray,
    *,
    z_phot: np.ndarray | None = None,
    prefix: str = "",
) -> dict[str, Metric]:
    """Metrics of mixtures of Gaussians, each name with `prefix` before it; objects without a PDF are left out.

    Parameters
    ----------
    z
        (object,) true redshifts.
    weight, mean, sigma
        (object, component), weights summing to 1, in redshift; NaN = no PDF.
    z_phot
        (object,) point estimates; None takes the medians.

    Raises
    ------
    InputError
        Where no object has a PDF, or one has a width that is not positive.
    """
    z, kept, (weight, mean, sigma) = _with_pdf(z, weight, mean, sigma)
    if not (sigma > 0).all():
        raise InputError(f"a redshift PDF has a Gaussian of width {sigma.min():g}: expected widths above 0")
    parts = (weight, mean, sigma)
    point = mixture.quantile(0.5, *parts) if z_phot is None else np.asarray(z_phot, float)[kept]
    pit, crps, cde = (function(z, *parts) for function in (mixture.cdf, mixture.crps, mixture.cde_loss))
    return _named(prefix, point, z, pit, crps, cde, "of the mixture, closed form")


def binned_metrics(
    z: np.ndarray, probability: np.ndarray, edges: np.ndarray, *, z_phot: np.ndarray | None = None, prefix: str = ""
) -> dict[str, Metric]:
    """The same of histograms, of constant density inside a bin.

    Parameters
    ----------
    probability
        (object, bin) of any sum above 0; NaN = no PDF.
    edges
        (bin + 1,) ascending redshifts.

    Raises
    ------
    InputError
        Where no object has a PDF, a probability is negative, a row sums to 0, or the edges do not go with the bins.
    """
    z, kept, (probability,) = _with_pdf(z, probability)
    probability, edges = normalised(probability, edges)
    parts = (probability, edges)
    point = histogram.quantile(0.5, *parts) if z_phot is None else np.asarray(z_phot, float)[kept]
    pit, crps, cde = (function(z, *parts) for function in (histogram.cdf, histogram.crps, histogram.cde_loss))
    return _named(prefix, point, z, pit, crps, cde, "of the histogram, exact")


def normalised(probability: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histograms (object, bin) whose rows sum to 1, and their edges (bin + 1,), both float64; InputError where they are none."""
    probability, edges = np.asarray(probability, float), np.asarray(edges, float)
    if edges.shape != (probability.shape[1] + 1,) or not (np.diff(edges) > 0).all():
        raise InputError(
            f"redshift PDFs in {probability.shape[1]} bins have edges of the shape {edges.shape}, "
            f"expected {probability.shape[1] + 1} ascending ones"
        )
    total = probability.sum(axis=1, keepdims=True)
    if (probability < 0).any() or not (total > 0).all():
        raise InputError(
            f"the lowest probability of a bin is {probability.min():g} and of a PDF {total.min():g}: expected 0 or more in "
            "each bin, and more in each PDF"
        )
    return probability / total, edges


def has_pdf(*parts: np.ndarray) -> np.ndarray:
    """Whether an object has a PDF (object,): its values in all of `parts` (object, ...) are finite."""
    return np.all([np.isfinite(part).all(axis=1) for part in parts], axis=0)


def pit_by(pit: np.ndarray, values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """KS distance of the PIT from uniform, and number of objects, in bins of `values` (object,), the upper edge not included.

    Errors of opposite sign cancel in the PIT of all objects, but not in that of the faint ones or of those at one redshift.
    Bins of the true redshift are no test: PDFs that are right have no uniform PIT in them.

    Returns
    -------
    distance, n
        (bin,) float64, NaN where there is no object, and int.
    """
    place = np.digitize(values, edges) - 1
    members = [pit[place == index] for index in range(len(edges) - 1)]
    distance = [ks_distance(own) if len(own) else np.nan for own in members]
    return np.array(distance), np.array([len(own) for own in members])


def ks_distance(pit: np.ndarray) -> float:
    """Largest difference of the distribution of `pit` from uniform (Kolmogorov-Smirnov).

    >>> ks_distance(np.array([0.25, 0.5, 0.75, 1.0]))
    0.25
    """
    return _ks(np.sort(pit), np.ones(len(pit)))


def _with_pdf(z: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Objects with a PDF: their redshifts, whether each is one of them, and their parts, in double precision."""
    kept = has_pdf(*parts)
    if not kept.any():
        raise InputError(f"none of {len(kept)} objects has a redshift PDF to measure")
    return np.asarray(z, float)[kept], kept, tuple(np.asarray(part, float)[kept] for part in parts)


def _named(
    prefix: str, z_phot: np.ndarray, z: np.ndarray, pit: np.ndarray, crps: np.ndarray, cde: np.ndarray, how: str
) -> dict[str, Metric]:
    found = _point_metrics((z_phot - z) / (1 + z))
    found["crps"] = measured(_mean, f"mean continuous ranked probability score {how}", crps)
    text = "mean over objects of the integral of f^2 less 2 f(z)"
    found["cde_loss"] = measured(_mean, f"conditional density estimation loss, {text}, {how}", cde)
    found |= _pit_metrics(np.clip(pit, 0, 1))
    return {prefix + name: metric for name, metric in found.items()}


def _point_metrics(dz: np.ndarray) -> dict[str, Metric]:
    beyond = f"fraction |dz| > max({OUTLIER_FLOOR}, 3 sigma_iqr)"
    return {
        "bias": measured(_mean, "mean dz, dz = (z_phot - z) / (1 + z)", dz),
        "bias_median": measured(lambda v: float(np.median(v)), "median dz", dz),
        "sigma_nmad": measured(nmad, "1.4826 median |dz - median dz|", dz),
        "sigma_iqr": measured(sigma_iqr, "(75 % - 25 % quantile of dz) / 1.349", dz),
        "eta_0.05": measured(_mean, "fraction |dz| > 0.05", np.abs(dz) > 0.05),
        "eta_0.15": measured(_mean, "fraction |dz| > 0.15", np.abs(dz) > 0.15),
        "eta_3sigma": measured(lambda v: _mean(np.abs(v) > max(OUTLIER_FLOOR, 3 * sigma_iqr(v))), beyond, dz),
    }


def _pit_metrics(pit: np.ndarray) -> dict[str, Metric]:
    """Distances of the PIT (object,) from uniform that do not grow with the number of objects, and coverages."""
    ordered, ranks = np.sort(pit), np.arange(len(pit))

    def distance(function: Callable[[np.ndarray, np.ndarray], float], text: str, values: np.ndarray = ordered) -> Metric:
        # sets of objects are drawn as counts of each: nothing is sorted again
        return measured(lambda drawn: function(values, np.bincount(drawn, minlength=len(values))), text, ranks)

    def inside(low: float) -> np.ndarray:
        return (pit >= low) & (pit <= 1 - low)

    of_pit = "distance of the PIT (the CDF at the true redshift) from uniform"
    root = "root of the statistic {} divided by the number of objects"
    clip = f"PITs clipped to [{PIT_CLIP:g}, 1 - {PIT_CLIP:g}]"
    clipped = np.clip(ordered, PIT_CLIP, 1 - PIT_CLIP)
    return {
        "pit_ks": distance(_ks, f"Kolmogorov-Smirnov {of_pit}"),
        "pit_cvm": distance(_cvm, f"Cramer-von Mises {of_pit}: {root.format('W^2')}"),
        "pit_ad": distance(_ad, f"Anderson-Darling {of_pit}: {root.format('A^2')}, {clip}", clipped),
        "pit_outside": measured(_mean, f"fraction of the PITs outside [{PIT_EDGE:g}, 1 - {PIT_EDGE:g}]", ~inside(PIT_EDGE)),
        "coverage_68": measured(_mean, "fraction of the true redshifts in the central 68 % of their PDF", inside(0.16)),
        "coverage_90": measured(_mean, "fraction of the true redshifts in the central 90 % of their PDF", inside(0.05)),
    }


def sigma_iqr(dz: np.ndarray) -> float:
    """Width of a Gaussian with the quartiles of `dz`."""
    low, high = np.percentile(dz, [25, 75])
    return float((high - low) / 1.349)


def _ks(ordered: np.ndarray, count: np.ndarray) -> float:
    """Largest |F - u| of values u (value,) in order, each there `count` times."""
    above, share = np.cumsum(count) / count.sum(), count / count.sum()
    return float(max((above - ordered).max(), (ordered - (above - share)).max()))


def _cvm(ordered: np.ndarray, count: np.ndarray) -> float:
    """Root of the integral of (F - u)^2 over [0, 1], piece by piece between the values."""
    level = np.append(0, np.cumsum(count) / count.sum())
    low, high = np.append(0, ordered), np.append(ordered, 1)
    high, low = high - level, low - level
    return float(np.sqrt((high * high * high - low * low * low).sum() / 3))


def _ad(ordered: np.ndarray, count: np.ndarray) -> float:
    """The same of (F - u)^2 / (u (1 - u)) = F^2 / u + (1 - F)^2 / (1 - u) - 1."""
    level = np.append(0, np.cumsum(count) / count.sum())
    log_u, log_rest = np.log(ordered), np.log1p(-ordered)
    # F is 0 up to the first value and 1 from the last: what would be infinite there counts nothing
    rise, fall = np.diff(log_u, prepend=log_u[0], append=0), np.diff(log_rest, prepend=0, append=log_rest[-1])
    return float(np.sqrt((level**2 * rise - (1 - level) ** 2 * fall).sum() - 1))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))
