"""Redshifts of the nearest neighbours in magnitudes and colours."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from surveycnn.evaluation.methods.fluxes import FluxLearner, known_fluxes, measured
from surveycnn.evaluation.methods.method import Log, Rows
from surveycnn.inference import mixture
from surveycnn.training.data import LabelledStamps

MAGNITUDE_WEIGHT = 0.3
"""A magnitude tells less of the redshift than colours do."""
REFERENCE_BAND = 2
WIDTHS = np.geomspace(0.005, 0.3, 25)
"""Widths in units of 1 + z that are tried."""
N_TRIED = 5000


class NearestFluxes(FluxLearner):
    """The redshifts of the `n_neighbours` nearest in the i magnitude and three colours, as equal Gaussians.

    Magnitudes are asinh magnitudes with twice the median error of the training set as softening, so that faint and negative
    fluxes have one; i counts 0.3 times. The Gaussians around the neighbours' redshifts z are h (1 + z) wide, with the h that
    gives the training set's redshifts the best likelihood when each is left out of its own neighbours.
    """

    name = "flux_knn"
    title = "Fluxes alone: nearest neighbours"
    reference = "in the manner of Beck et al. 2016"

    def __init__(self, *, n_train: int = 50_000, n_neighbours: int = 15) -> None:
        super().__init__(n_train=n_train)
        self.n_neighbours = self.checked("n_neighbours", n_neighbours)

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """Features and redshifts of the training set, the softening of the magnitudes, the width of the Gaussians."""
        z, flux, flux_err = known_fluxes(self.name, stamps, labels, log)
        softening = 2 * np.nanmedian(flux_err, axis=0)
        state = {"softening": softening, "features": features(flux, softening), "z": z}
        return state | {"width": np.asarray(self._best_width(state))}

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Weights, means and widths (object, 3 x neighbour)."""
        flux = np.split(measured(stamps), 2, axis=1)[0]
        near = state["z"][self._nearest(features(flux, state["softening"]), state)]
        return np.concatenate(gaussians(near, float(state["width"])), axis=1)

    def _nearest(self, wanted: np.ndarray, state: dict[str, np.ndarray], n_more: int = 0) -> np.ndarray:
        """Numbers (object, neighbour) in the training set, nearest first."""
        n = min(self.n_neighbours + n_more, len(state["z"]))
        return KDTree(state["features"]).query(wanted, k=n)[1].reshape(len(wanted), n)

    def _best_width(self, state: dict[str, np.ndarray]) -> float:
        members = slice(0, N_TRIED)
        near = state["z"][self._nearest(state["features"][members], state, n_more=1)[:, 1:]]
        if not near.shape[1]:
            return float(WIDTHS[-1])
        density = [mixture.pdf(state["z"][members], *gaussians(near, width)) for width in WIDTHS]
        return float(WIDTHS[int(np.argmax([np.log(values + 1e-3).mean() for values in density]))])


def features(flux: np.ndarray, softening: np.ndarray) -> np.ndarray:
    """The weighted i magnitude and the colours (object, value) of fluxes (object, band) nJy; no data counts as no flux."""
    magnitude = -2.5 / np.log(10) * np.arcsinh(np.nan_to_num(flux) / softening)
    return np.concatenate([MAGNITUDE_WEIGHT * magnitude[:, [REFERENCE_BAND]], magnitude[:, :-1] - magnitude[:, 1:]], axis=1)


def gaussians(z: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal weights, means and widths (object, neighbour) of Gaussians around redshifts, `width` in units of 1 + z."""
    return np.full(z.shape, 1 / z.shape[1]), z, width * (1 + z)
