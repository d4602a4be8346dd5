"""What the methods for photometric redshifts share: labels, the cut around the middle, and probabilities as named arrays."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from scipy.special import softmax

from surveycnn.errors import InputError
from surveycnn.evaluation.methods.method import Learner, Log, Rows
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.models.backend import import_keras
from surveycnn.training.data import LabelledStamps, centre_cut

Pdfs = dict[str, np.ndarray]
"""``pz_weight``, ``pz_mean``, ``pz_sigma`` (object, component) of Gaussians in redshift; or ``pz_probability`` (object, bin),
which sums to 1 over the bins, and their ``pz_edges`` (bin + 1,). All float64."""

N_BINS = 180
"""Of Pasquet et al. (2019)."""


class RedshiftLearner(Learner):
    """A method that gives the probability of a redshift."""

    task = "photoz"
    bands = ("g", "r", "i", "z")

    @abstractmethod
    def pdfs(self, outputs: np.ndarray) -> Pdfs:
        """Probabilities by name from what `apply` gave, (object, value), (0,) for no object."""

    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """Redshifts (object,) float32."""
        return np.asarray(data.labels["redshift"], np.float32)

    def check_labels(self, what: str, data: LabelledStamps) -> None:
        """Raise an InputError where a set has no redshifts, or some that cannot be."""
        if "redshift" not in data.labels:
            raise InputError(f"the {what} set has no label 'redshift': simulate the set again")
        z = np.asarray(data.labels["redshift"], np.float64)
        n_bad = int(np.sum(~(np.isfinite(z) & (z >= 0))))
        if z.shape != (len(data),) or n_bad or not (z > 0).any():
            raise InputError(
                f"the {what} set has redshifts of the shape {z.shape} for {len(data)} stamps, {n_bad} of them negative or not "
                "finite: expected one per stamp, none of that kind, and some above 0"
            )

    def predict(self, stamps: np.ndarray) -> Pdfs:
        """Probability of the redshift of each object.

        Parameters
        ----------
        stamps
            (object, y, x, band) nJy, bands g, r, i, z, NaN = no data; may be a memory map.

        Returns
        -------
        dict of np.ndarray
            See `Pdfs`.

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        return self.pdfs(self.outputs(stamps))


class GaussianRedshifts(RedshiftLearner):
    """Mixtures of Gaussians; `apply` gives weights, means and widths side by side."""

    def pdfs(self, outputs: np.ndarray) -> Pdfs:
        """Weights, means and widths."""
        whole = outputs if outputs.ndim == 2 else np.empty((0, 0))
        parts = np.split(whole, 3, axis=1)
        return dict(zip(("pz_weight", "pz_mean", "pz_sigma"), parts, strict=True))


class BinnedRedshifts(NetworkLearner, RedshiftLearner):
    """A network that classifies into `n_bins` bins of equal width, from 0 to the largest redshift of its training set.

    What lies above has no probability. The input is the arcsinh of the signal to noise in the central `stamp_px` pixels, turned
    by multiples of 90 degrees and mirrored in the training.
    """

    n_bins: int
    stamp_px: int

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The weights, what scales the stamps, and the edges of the bins."""
        edges = np.linspace(0, float(labels.max()), self.n_bins + 1)
        learned = super().learn(stamps, bin_numbers(labels, edges), valid, seed=seed, log=log)
        return learned | {"edges": edges}

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """arcsinh of the signal to noise per pixel around the middle."""
        return np.arcsinh(cut_around(stamps, self.stamp_px, self.name) / noise)

    def loss(self) -> Any:
        """Cross-entropy of the bins."""
        return import_keras().losses.SparseCategoricalCrossentropy(from_logits=True)

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Probabilities (object, bin)."""
        return softmax(self.raw_outputs(stamps, state), axis=1)

    def pdfs(self, outputs: np.ndarray) -> Pdfs:
        """Probabilities and edges of the bins."""
        assert self._state is not None  # there are outputs
        edges = np.asarray(self._state["edges"], np.float64)
        return {"pz_probability": outputs.reshape(len(outputs), len(edges) - 1), "pz_edges": edges}


def bin_numbers(z: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Numbers (object,) of the bins in which redshifts lie; the last one holds its upper edge.

    >>> bin_numbers(np.array([0.0, 0.5, 0.99, 1.0]), np.array([0.0, 0.5, 1.0])).tolist()
    [0, 1, 1, 1]
    """
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)


def cut_around(stamps: np.ndarray, size: int, name: str) -> np.ndarray:
    """The central `size` x `size` pixels of stamps (object, y, x, band), which have as many or more.

    Raises
    ------
    InputError
        Where they have fewer.
    """
    if min(stamps.shape[1:3]) < size:
        raise InputError(f"stamps have {stamps.shape[1]} x {stamps.shape[2]} pixels, the method {name!r} needs {size} x {size}")
    return centre_cut(stamps, size)
