"""A plain convolutional network as the first ones that were used on surveys."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from surveycnn.challenge.zoo.method import Published
from surveycnn.challenge.zoo.networks import NetworkFinder
from surveycnn.evaluation.methods.pixels import in_symmetries
from surveycnn.models.backend import import_keras

WIDTHS = (32, 64, 128)
SIZES = (11, 5, 3)
N_DENSE = 512


class PlainCNN(NetworkFinder):
    """Three convolutions (11, 5 and 3 pixels wide) with pooling and two dense layers with dropout (Jacobs et al. 2017,
    MNRAS 471, 167).

    Of the kind of the plain networks in the challenge, such as the baseline of LASTRO EPFL (Schaefer et al. 2018), whose figures
    stand beside it; it is not that entry's network. The input is an arcsinh stretch in units of the noise, where Jacobs et al.
    have colour pictures. Turned by multiples of 90 degrees and mirrored. A third of the paper's channels, for two CPU cores.
    """

    name = "plain_cnn"
    title = "Plain CNN"
    reference = "Jacobs et al. 2017; of the kind of Schaefer et al. 2018 (LASTRO EPFL)"
    published: ClassVar[Published | None] = Published("LASTRO EPFL", 0.97, 0.07, 0.11)
    # 1.7 times as fast as float32 where the CPU has it; not so with the many small layers of a residual network
    dtype = "mixed_bfloat16"

    def __init__(self, *, n_train: int = 20_000, epochs: int = 2, batch_size: int = 64, rate: float = 1e-3) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The network, 4.6 million weights for 64 pixels."""
        keras = import_keras()
        layers = keras.layers
        inputs = x = keras.Input(shape)
        for width, size in zip(WIDTHS, SIZES, strict=True):
            convolution = layers.Conv2D(
                width, size, padding="same", activation="relu", kernel_initializer="he_normal", dtype=dtype
            )
            x = layers.MaxPooling2D(dtype=dtype)(convolution(x))
        x = layers.Flatten(dtype=dtype)(x)
        for _ in range(2):
            x = layers.Dense(N_DENSE, activation="relu", dtype=dtype)(x)
            x = layers.Dropout(0.5, dtype=dtype)(x)
        return keras.Model(inputs, layers.Dense(1, dtype="float32")(x), name="plain_cnn")

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """arcsinh of the signal to noise per pixel."""
        return np.arcsinh(stamps / noise)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)
