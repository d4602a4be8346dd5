"""A mixture density network behind convolutions, on bands and colours."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import softmax

from surveycnn.errors import ConfigError
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.evaluation.methods.pixels import filled, in_symmetries, noise_of
from surveycnn.evaluation.methods.redshifts import GaussianRedshifts, cut_around
from surveycnn.models.backend import import_keras

N_GAUSSIANS = 5
LOSSES = ("nll", "crps")
MIN_STAMP_PX = 12
"""Of which 2 x 2 pixels are left for the last convolution."""
LOG_SIGMA_RANGE = (-7.0, 3.0)
"""Widths lie between 0.0009 and 20: an exponential has to be held."""


class DIsanto18(NetworkLearner, GaussianRedshifts):
    """The DCMDN of D'Isanto & Polsterer (2018, A&A 609, A111): the network of their experiment with quasars.

    Convolutions 3x3x256, 2x2x512 (tanh) and 2x2x1024 (rectified), the first two pooled, then a mixture density network of 500 and
    100 tanh units and 5 Gaussians. The input is the images in all bands and their pairwise differences, 10 images where the paper
    has 15 of five bands: of the arcsinh of the signal to noise here, each image less the mean and divided by the scatter of the
    training set. `stamp_px` = 16 as for the paper's quasars; 28 is what it takes for galaxies. Trained on the `loss`
    "nll", the negative log likelihood, or "crps". Turned by multiples of 90 degrees and mirrored.

    Adam and few passes, see `epochs`, for two CPU cores; theirs are up to 1000.
    """

    name = "dcmdn"
    title = "DCMDN, 5 Gaussians"
    reference = "D'Isanto & Polsterer 2018"

    def __init__(
        self,
        *,
        n_train: int = 10_000,
        epochs: int = 6,
        batch_size: int = 64,
        rate: float = 5e-4,
        stamp_px: int = 16,
        loss: str = "nll",
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        self.stamp_px = self.checked("stamp_px", stamp_px)
        if stamp_px < MIN_STAMP_PX:
            raise ConfigError(
                f"stamp_px of the method 'dcmdn' is {stamp_px}, expected {MIN_STAMP_PX} or more: the network pools twice"
            )
        if loss not in LOSSES:
            raise ConfigError(f"loss of the method 'dcmdn' is {loss!r}, expected one of {', '.join(LOSSES)}")
        self.trained_on = loss

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The published network."""
        return build_dcmdn(shape, dtype)

    def scale_of(self, stamps: np.ndarray) -> np.ndarray:
        """Noise, mean and scatter (3, image) float32; of the noise the first ones are used, one per band."""
        noise = np.median(noise_of(stamps), axis=0)
        images = self._images(filled(stamps), noise)
        scale = np.ones((3, images.shape[3]))
        scale[0, : len(noise)] = noise
        scale[1], scale[2] = images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2)) + 1e-6
        return scale.astype(np.float32)

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Bands and colours of mean 0 and scatter 1 over the training set."""
        return (self._images(stamps, noise[0, : stamps.shape[3]]) - noise[1]) / noise[2]

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)

    def loss(self) -> Any:
        """That of the setting."""
        return {"nll": log_loss, "crps": crps_loss}[self.trained_on]

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Weights, means and widths (object, 3 x 5)."""
        mean, log_sigma, weight = np.split(self.raw_outputs(stamps, state), 3, axis=1)
        sigma = np.exp(np.clip(log_sigma, *LOG_SIGMA_RANGE))
        return np.concatenate([softmax(weight, axis=1), mean, sigma], axis=1)

    def _images(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return with_colours(np.arcsinh(cut_around(stamps, self.stamp_px, self.name) / noise))


def with_colours(images: np.ndarray) -> np.ndarray:
    """Images (object, y, x, band) and all differences of two of their bands (object, y, x, band + colour)."""
    pairs = combinations(range(images.shape[3]), 2)
    return np.concatenate([images, *(images[..., [a]] - images[..., [b]] for a, b in pairs)], axis=3)


def build_dcmdn(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Keras model from images of `shape` (y, x, image) to means, logarithms of widths and weights' logits (object, 3 x 5)."""
    keras = import_keras()
    layers = keras.layers
    inputs = x = keras.Input(shape)
    for width, size, activation, is_pooled in ((256, 3, "tanh", True), (512, 2, "tanh", True), (1024, 2, "relu", False)):
        x = layers.Conv2D(width, size, activation=activation, kernel_initializer="orthogonal", dtype=dtype)(x)
        x = layers.MaxPooling2D(dtype=dtype)(x) if is_pooled else x
    x = layers.Flatten(dtype=dtype)(x)
    for width in (500, 100):
        x = layers.Dense(width, activation="tanh", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(3 * N_GAUSSIANS, dtype="float32")(x), name="dcmdn")


def log_loss(z: Any, raw: Any) -> Any:
    """Negative log density (object,) at redshifts (object, 1); Keras tensors."""
    ops = import_keras().ops
    mean, log_sigma, weight = _mixture(raw)
    each = -0.5 * ops.square((z - mean) * ops.exp(-log_sigma)) - log_sigma - 0.5 * float(np.log(2 * np.pi))
    return -ops.logsumexp(ops.log_softmax(weight, axis=1) + each, axis=1)


def crps_loss(z: Any, raw: Any) -> Any:
    """Continuous ranked probability score (object,) at redshifts (object, 1) in closed form; Keras tensors."""
    ops = import_keras().ops
    mean, log_sigma, weight = _mixture(raw)
    share, variance = ops.softmax(weight, axis=1), ops.exp(2 * log_sigma)
    own = ops.sum(share * _mean_distance(z - mean, variance), axis=1)
    offset = mean[:, :, None] - mean[:, None, :]
    pairs = _mean_distance(offset, variance[:, :, None] + variance[:, None, :])
    return own - 0.5 * ops.sum(share[:, :, None] * share[:, None, :] * pairs, axis=(1, 2))


def _mixture(raw: Any) -> tuple[Any, Any, Any]:
    """Means, logarithms of the widths and logits of the weights (object, 5)."""
    ops = import_keras().ops
    mean, log_sigma, weight = ops.split(raw, 3, axis=1)
    return mean, ops.clip(log_sigma, *LOG_SIGMA_RANGE), weight


def _mean_distance(offset: Any, variance: Any) -> Any:
    """Mean distance from 0 of a Gaussian around `offset`."""
    ops = import_keras().ops
    sigma = ops.sqrt(variance)
    t = offset / sigma
    return sigma * float(np.sqrt(2 / np.pi)) * ops.exp(-0.5 * t * t) + offset * ops.erf(t / float(np.sqrt(2)))
