"""Classification into redshift bins by a network of inception modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.evaluation.methods.pixels import in_symmetries
from surveycnn.evaluation.methods.redshifts import N_BINS, BinnedRedshifts
from surveycnn.models.backend import import_keras

N_DENSE = 1096


class Pasquet19(BinnedRedshifts):
    """The inception network of Pasquet et al. (2019, A&A 621, A26), as in their public code.

    A convolution 5x5x64, five inception modules with average pooling between them, and dense layers of 1096, 1096 and 180. All
    convolutions end in a PReLU of one slope per channel. Theirs sees 64 x 64 pixels in u, g, r, i, z and E(B-V), 27.6 million
    weights, 88 % of them in the first dense layer; here the central `stamp_px` pixels in g, r, i, z without E(B-V). Their 180
    bins end at 0.4, where their sample does; these end at the largest redshift of the training set.

    One network for their six, and few passes (`epochs`) for 120,000 batches, for two CPU cores.
    """

    name = "pasquet19"
    title = "Inception CNN, 180 bins"
    reference = "Pasquet et al. 2019"

    def __init__(
        self,
        *,
        n_train: int = 10_000,
        epochs: int = 4,
        batch_size: int = 64,
        rate: float = 5e-4,
        n_bins: int = N_BINS,
        stamp_px: int = 32,
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        self.n_bins = self.checked("n_bins", n_bins)
        self.stamp_px = self.checked("stamp_px", stamp_px)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The published network, its softmax left out."""
        return build_pasquet19(shape, dtype, n_bins=self.n_bins)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)


def build_pasquet19(
    shape: tuple[int, ...], dtype: str = "float32", *, n_bins: int = N_BINS, n_dense: int = N_DENSE, has_reddening: bool = False
) -> Any:
    """Keras model from images of `shape` (y, x, band), and with `has_reddening` E(B-V) (object, 1), to outputs (object, bin).

    `dtype` is a Keras dtype policy.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(shape)
    x = layers.AveragePooling2D(2, padding="same", dtype=dtype)(_convolved(inputs, 64, 5, dtype))
    for narrow, wide in ((48, 64), (64, 92)):
        x = inception(x, narrow, wide, dtype)
    x = layers.AveragePooling2D(2, padding="same", dtype=dtype)(x)
    for narrow, wide in ((92, 128), (92, 128)):
        x = inception(x, narrow, wide, dtype)
    x = layers.AveragePooling2D(2, padding="same", dtype=dtype)(x)
    x = layers.Flatten(dtype=dtype, name="flat")(inception(x, 92, 128, dtype, has_5x5=False))
    sources = [inputs]
    if has_reddening:
        sources.append(keras.Input((1,)))
        x = layers.Concatenate(dtype=dtype)([x, sources[1]])
    slightly = keras.initializers.Constant(0.1)
    for _ in range(2):
        x = layers.Dense(n_dense, activation="relu", bias_initializer=slightly, dtype=dtype)(x)
    outputs = layers.Dense(n_bins, bias_initializer=slightly, dtype="float32")(x)
    return keras.Model(sources if has_reddening else inputs, outputs, name="pasquet19")


def inception(x: Any, narrow: int, wide: int, dtype: str, *, has_5x5: bool = True) -> Any:
    """One inception module on a Keras tensor (object, y, x, channel).

    1x1 wide  -------------------.
    1x1 narrow - 5x5 wide -------+- joined
    1x1 narrow - 3x3 wide -------|
    1x1 narrow - average 2x2 ----'
    """
    layers = import_keras().layers
    parts = [_convolved(x, wide, 1, dtype)]
    for size in (5, 3) if has_5x5 else (3,):
        parts.append(_convolved(_convolved(x, narrow, 1, dtype), wide, size, dtype))
    parts.append(layers.AveragePooling2D(2, strides=1, padding="same", dtype=dtype)(_convolved(x, narrow, 1, dtype)))
    return layers.Concatenate(dtype=dtype)(parts)


def _convolved(x: Any, width: int, size: int, dtype: str) -> Any:
    keras = import_keras()
    slightly = keras.initializers.Constant(0.1)
    x = keras.layers.Conv2D(width, size, padding="same", bias_initializer=slightly, dtype=dtype)(x)
    return keras.layers.PReLU(shared_axes=[1, 2], dtype=dtype)(x)
