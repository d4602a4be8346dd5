"""What the methods for redshifts from fluxes alone share: the fluxes of a set, measured where the labels do not hold them."""

from __future__ import annotations

import numpy as np

from surveycnn.evaluation.methods.method import Log, Rows, in_chunks
from surveycnn.evaluation.methods.redshifts import GaussianRedshifts
from surveycnn.sources.stamp_photometry import stamp_photometry
from surveycnn.training.data import LabelledStamps


class FluxLearner(GaussianRedshifts):
    """A method that sees of each object the fluxes that the survey's photometry measures, and their errors."""

    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """Redshifts (object,); in a set that holds fluxes, redshifts, fluxes and errors (object, 1 + 2 x band) float64."""
        if not {"flux", "flux_err"} <= set(data.labels):
            return super().labels_of(data)
        z = np.asarray(data.labels["redshift"], np.float64)
        return np.concatenate([z[:, None], data.labels["flux"], data.labels["flux_err"]], axis=1)


def known_fluxes(name: str, stamps: Rows, labels: np.ndarray, log: Log) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Redshifts (object,), fluxes and errors (object, band) float64 nJy of training stamps and their labels."""
    if labels.ndim == 1:
        log(f"{name}: measuring {len(stamps)} stamps")
        labels = np.concatenate([labels[:, None].astype(np.float64), in_chunks(stamps, measured)], axis=1)
    flux, flux_err = np.split(labels[:, 1:], 2, axis=1)
    return labels[:, 0], flux, flux_err


def measured(stamps: np.ndarray) -> np.ndarray:
    """Fluxes and errors (object, 2 x band) float64 nJy; NaN where a band has no data."""
    return np.concatenate(stamp_photometry(stamps), axis=1)
