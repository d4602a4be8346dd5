"""DeepMerge: a small network for mergers."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.evaluation.methods.mergers import MergerLearner
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.evaluation.methods.pixels import filled, in_symmetries, noise_of, resized
from surveycnn.models.backend import import_keras

STAMP_PX = 75


class DeepMerge(NetworkLearner, MergerLearner):
    """DeepMerge (Ciprijanovic et al. 2020, Astronomy and Computing 32, 100390): the network of their public code.

    Convolutions 5x5x8, 3x3x16 and 3x3x32, each normalised over the batch, rectified and pooled, and dense layers of 64, 32 and 2:
    174,626 weights. The input of 64 pixels is resampled to 75; an arcsinh in units of the noise, less the mean and divided by
    the scatter of the training set in each band, where the paper normalises the fluxes. Turned by multiples of 90 degrees and
    mirrored. Trained in a few passes, see `epochs`, for two CPU cores.
    """

    name = "deepmerge"
    title = "DeepMerge"
    reference = "Ciprijanovic et al. 2020"

    def __init__(self, *, n_train: int = 20_000, epochs: int = 8, batch_size: int = 64, rate: float = 1e-3) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The published network, its softmax left out."""
        return build_deepmerge(shape, dtype)

    def scale_of(self, stamps: np.ndarray) -> np.ndarray:
        """Noise, mean and scatter after the stretch (3, band) float32."""
        noise = np.median(noise_of(stamps), axis=0)
        values = np.arcsinh(filled(stamps) / noise)
        return np.stack([noise, values.mean(axis=(0, 1, 2)), values.std(axis=(0, 1, 2)) + 1e-6]).astype(np.float32)

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """arcsinh of the signal to noise, of mean 0 and scatter 1 over the training set."""
        sigma, mean, scatter = noise
        return (np.arcsinh(stamps / sigma) - mean) / scatter

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)

    def arrange(self, images: np.ndarray) -> np.ndarray:
        """As 75 x 75 pixels."""
        return resized(images, STAMP_PX)

    def loss(self) -> Any:
        """Cross-entropy of the two classes."""
        return import_keras().losses.SparseCategoricalCrossentropy(from_logits=True)

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,): the difference of the two outputs."""
        raw = self.raw_outputs(stamps, state)
        return raw[:, 1] - raw[:, 0]


def build_deepmerge(shape: tuple[int, ...] = (STAMP_PX, STAMP_PX, 3), dtype: str = "float32") -> Any:
    """Keras model from images of `shape` (y, x, band) to two outputs: another galaxy, a merger; `dtype` is a dtype policy."""
    keras = import_keras()
    layers = keras.layers
    inputs = x = keras.Input(shape)
    for width, size in ((8, 5), (16, 3), (32, 3)):
        x = layers.BatchNormalization(dtype=dtype)(layers.Conv2D(width, size, padding="same", dtype=dtype)(x))
        x = layers.MaxPooling2D(dtype=dtype)(layers.Activation("relu", dtype=dtype)(x))
    x = layers.Flatten(dtype=dtype)(x)
    for width in (64, 32):
        x = layers.Dense(width, activation="relu", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(2, dtype="float32")(x), name="deepmerge")
