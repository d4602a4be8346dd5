"""CMU DeepLens: the residual network that led the challenge."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from surveycnn.challenge.zoo.method import Published
from surveycnn.challenge.zoo.networks import NetworkFinder
from surveycnn.models.backend import import_keras

CLIP_SIGMA = 100.0
BN_MOMENTUM = 0.9
ZOOM = (0.9, 1.0)


class CMUDeepLens(NetworkFinder):
    """CMU DeepLens (Lanusse et al. 2018, MNRAS 473, 3895): the network of their public code, for three bands.

    7x7 convolution, five stages of three (`n_blocks`) pre-activated bottlenecks (He et al. 2016) with exponential linear units,
    average pooling, one logit; both classes weigh the same; Adam from 1e-3, divided by ten after each third of the epochs;
    random turns, mirror images and zooms with wrapped edges.

    Their input is clipped at 1e-9 and multiplied by 1e11, which leaves the noise of the challenge's ground images of order one
    and cuts at 100. Here each band is divided by the noise per pixel, the median of the training set, and clipped at 100 of it.
    Shorter than the published training (120 epochs, batches of 128), which two CPU cores cannot do: see `epochs`.
    """

    name = "cmu_deeplens"
    title = "CMU DeepLens"
    reference = "Lanusse et al. 2018"
    published: ClassVar[Published | None] = Published("CMU-DeepLens-Resnet-ground3", 0.98, 0.09, 0.45)

    def __init__(
        self, *, n_train: int = 20_000, epochs: int = 1, batch_size: int = 64, rate: float = 1e-3, n_blocks: int = 3
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        self.n_blocks = self.checked("n_blocks", n_blocks)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The network, 3.5 million weights."""
        return build_cmu_deeplens(shape, dtype, self.n_blocks)

    def rates(self, n_steps: int) -> Any:
        """`rate`, divided by ten after each third of the batches."""
        steps = [max(1, n_steps * third // 3) for third in (1, 2)]
        values = [self.rate, self.rate / 10, self.rate / 100]
        return import_keras().optimizers.schedules.PiecewiseConstantDecay(steps, values)

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Signal to noise per pixel, clipped."""
        return np.clip(stamps / noise, -CLIP_SIGMA, CLIP_SIGMA)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turned by up to 90 degrees either way, mirrored in y and x, both axes stretched by up to 1/0.9; edges wrapped."""
        out = np.empty_like(images)
        middle = (np.array(images.shape[1:3]) - 1) / 2
        for image, target in zip(images, out, strict=True):
            angle = rng.uniform(-np.pi / 2, np.pi / 2)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            matrix = turn * (rng.uniform(*ZOOM, 2) * rng.choice([-1, 1], 2))
            for band in range(images.shape[3]):
                ndimage.affine_transform(
                    image[..., band], matrix, middle - matrix @ middle, output=target[..., band], order=1, mode="grid-wrap"
                )
        return out


def build_cmu_deeplens(shape: tuple[int, ...], dtype: str = "float32", n_blocks: int = 3) -> Any:
    """Keras model from prepared stamps of `shape` (y, x, band) to the logit (object, 1); `n_blocks` per stage.

    `dtype` is a Keras dtype policy.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(shape)
    x = layers.Conv2D(32, 7, padding="same", activation="elu", kernel_initializer="he_normal", dtype=dtype)(inputs)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, dtype=dtype)(x)
    for stage in range(5):
        for block in range(n_blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            is_activated = stage == 0 and block == 0
            x = _bottleneck(x, 16 << stage, stride, dtype, is_activated=is_activated)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(1, dtype="float32")(x), name="cmu_deeplens")


def _bottleneck(x: Any, width: int, stride: int, dtype: str, *, is_activated: bool) -> Any:
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; normalised and activated before each; the stride is on the first."""
    layers = import_keras().layers

    def activated(y: Any) -> Any:
        return layers.Activation("elu", dtype=dtype)(layers.BatchNormalization(momentum=BN_MOMENTUM, dtype=dtype)(y))

    def convolved(y: Any, n: int, size: int, step: int = 1) -> Any:
        made = layers.Conv2D(n, size, step, padding="same", use_bias=False, kernel_initializer="he_normal", dtype=dtype)
        return made(y)

    first = x if is_activated else activated(x)
    y = convolved(first, width, 1, stride)
    y = convolved(activated(y), width, 3)
    y = convolved(activated(y), 2 * width, 1)
    if stride != 1 or x.shape[-1] != 2 * width:
        x = convolved(first, 2 * width, 1, stride)
    return layers.Add(dtype=dtype)([x, y])
