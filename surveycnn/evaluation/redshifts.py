"""Redshift PDFs of models and methods, mixtures of Gaussians or histograms: metrics, and the figures of pictures and tables.

A mixture has the arrays ``pz_weight``, ``pz_mean``, ``pz_sigma`` (object, component), a histogram ``pz_probability``
(object, bin) and ``pz_edges`` (bin + 1,); ``z_phot`` (object,) may go along, else it is the median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from surveycnn.evaluation.kept import Arrays
from surveycnn.inference import histogram, mixture
from surveycnn.models.card import Metric
from surveycnn.training.data import LabelledStamps
from surveycnn.training.metrics import nmad
from surveycnn.training.redshift_metrics import binned_metrics, has_pdf, normalised, pit_by, redshift_metrics

EDGES = "pz_edges"
MIXTURE = ("pz_weight", "pz_mean", "pz_sigma")
RESOLVED = "resolved_"
RESOLVED_FWHM = 0.5
"""Half-light radius in FWHM of the i band above which a galaxy has a shape that an image shows."""
MIN_OBJECTS = 20
"""In a bin, or resolved, without which nothing is said of them."""
MAGNITUDE_EDGES = (16.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0)
REDSHIFT_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 3.0)
N_PIT_BINS = 20
N_DENSITY_BINS = 60
N_REDSHIFT_BINS = 40


@dataclass(frozen=True)
class Pdfs:
    """The objects with a PDF."""

    members: np.ndarray
    """(member,) their numbers."""
    z_phot: np.ndarray
    """(member,)"""
    form: ModuleType
    """The closed forms that take `parts`: mixture or histogram."""
    parts: tuple[np.ndarray, ...]
    """float64, objects along the first axis but for edges."""

    def cdf(self, z: np.ndarray) -> np.ndarray:
        """Probability below `z` (member,)."""
        return self.form.cdf(z, *self.parts)

    def stacked(self, edges: np.ndarray) -> np.ndarray:
        """Mean probability (bin,) of all between `edges` (bin + 1,)."""
        return np.diff([self.cdf(np.full(len(self.members), edge)).mean() for edge in edges])


def pdfs_of(predicted: Arrays) -> Pdfs:
    """PDFs of the objects that have one."""
    names, form = (("pz_probability",), histogram) if EDGES in predicted else (MIXTURE, mixture)
    members = np.flatnonzero(has_pdf(*(predicted[name] for name in names)))
    parts = tuple(np.asarray(predicted[name], float)[members] for name in names)
    if EDGES in predicted:
        parts = normalised(parts[0], predicted[EDGES])
    z_phot = np.asarray(predicted["z_phot"], float)[members] if "z_phot" in predicted else form.quantile(0.5, *parts)
    return Pdfs(members, z_phot, form, parts)


def measure_redshifts(data: LabelledStamps, predicted: Arrays) -> dict[str, Metric]:
    """Metrics of all objects, and of the resolved ones with the prefix ``resolved_`` where the truth tells which they are."""
    z = np.asarray(data.labels["redshift"], float)
    found = _metrics(z, predicted, "")
    if {"radius", "fwhm_i"} <= set(data.truth):
        is_resolved = np.asarray(data.truth["radius"]) > RESOLVED_FWHM * np.asarray(data.truth["fwhm_i"])
        members = np.flatnonzero(is_resolved)
        if len(members) >= MIN_OBJECTS:
            some = {name: values if name == EDGES else values[members] for name, values in predicted.items()}
            text = f"; galaxies with a half-light radius above {RESOLVED_FWHM} FWHM of the i band"
            for name, metric in _metrics(z[members], some, RESOLVED).items():
                found[name] = metric.model_copy(update={"definition": metric.definition + text})
    return found


def _metrics(z: np.ndarray, predicted: Arrays, prefix: str) -> dict[str, Metric]:
    z_phot = predicted.get("z_phot")
    if EDGES in predicted:
        return binned_metrics(z, predicted["pz_probability"], predicted[EDGES], z_phot=z_phot, prefix=prefix)
    return redshift_metrics(z, *(predicted[name] for name in MIXTURE), z_phot=z_phot, prefix=prefix)


def shown_redshifts(data: LabelledStamps, predicted: Arrays) -> dict[str, Any]:
    """PIT histogram; counts of z_phot (rows) against z (columns); shares of n(z); quality in bins. Lists of plain numbers."""
    pdfs = pdfs_of(predicted)
    z = np.asarray(data.labels["redshift"], float)[pdfs.members]
    pit = np.clip(pdfs.cdf(z), 0, 1)
    counts, _ = np.histogram(pit, bins=N_PIT_BINS, range=(0, 1))
    high = float(np.quantile(z, 0.995))
    edges = np.linspace(0, high, N_DENSITY_BINS + 1)
    density, _, _ = np.histogram2d(pdfs.z_phot, z, bins=(edges, edges))
    shown = {"pit": counts.tolist(), "edges": edges.tolist(), "density": density.astype(int).tolist()}
    coarse = np.linspace(0, 1.1 * high, N_REDSHIFT_BINS + 1)
    shares = {name: np.histogram(values, coarse)[0] / len(z) for name, values in (("true", z), ("z_phot", pdfs.z_phot))}
    shares |= {"edges": coarse, "stacked": pdfs.stacked(coarse)}
    bins = {"z_phot": _in_bins(pdfs.z_phot, REDSHIFT_EDGES, pdfs.z_phot, z, pit)}
    if "mag_i" in data.truth:
        magnitude = np.asarray(data.truth["mag_i"], float)[pdfs.members]
        bins = {"mag_i": _in_bins(magnitude, MAGNITUDE_EDGES, pdfs.z_phot, z, pit)} | bins
    return shown | {"nz": {name: values.tolist() for name, values in shares.items()}, "bins": bins}


def _in_bins(
    values: np.ndarray, edges: Sequence[float], z_phot: np.ndarray, z: np.ndarray, pit: np.ndarray
) -> list[dict[str, Any]]:
    """Bias (mean dz), sigma NMAD and KS distance of the PIT in each bin of `values` with enough objects."""
    distance, counts = pit_by(pit, values, np.array(edges))
    found = []
    for low, high, n, ks in zip(edges[:-1], edges[1:], counts, distance, strict=True):
        if n < MIN_OBJECTS:
            continue
        own = (values >= low) & (values < high)
        dz = (z_phot[own] - z[own]) / (1 + z[own])
        row = {"low": low, "high": high, "n": int(n), "bias": float(dz.mean()), "sigma_nmad": nmad(dz), "pit_ks": float(ks)}
        found.append(row)
    return found


def is_qp_there() -> bool:
    """Whether qp is installed."""
    return find_spec("qp") is not None


def write_ensemble(predicted: Arrays, z: np.ndarray, path: Path) -> None:
    """Write mixtures as a qp ensemble, with ``z_true``, ``z_phot`` and ``object``, the number in the set; needs qp."""
    import qp

    pdfs = pdfs_of(predicted)
    ancil = {"object": pdfs.members, "z_true": np.asarray(z, float)[pdfs.members], "z_phot": pdfs.z_phot}
    data = dict(zip(("weights", "means", "stds"), pdfs.parts, strict=True))
    qp.Ensemble(qp.mixmod, data=data, ancil=ancil).write_to(str(path))
