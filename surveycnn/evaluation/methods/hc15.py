"""Vote fractions from views of one stamp under shared weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from surveycnn.errors import ConfigError, InputError
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.evaluation.methods.pixels import turned_zoomed_shifted, unit_stretch
from surveycnn.evaluation.methods.votes import N_ANSWERS, MorphologyLearner, answer_slices, shares, softmax_per_question
from surveycnn.models.backend import import_keras

VIEW_PX = 45
N_VIEWS = (4, 8, 16)
ZOOM, SHIFT = (1 / 1.3, 1.3), 0.05
NOT_ASKED = -1.0


class HuertasCompany15(NetworkLearner, MorphologyLearner):
    """Regression of vote fractions (Dieleman et al. 2015, MNRAS 450, 1441; Huertas-Company et al. 2015, ApJS 221, 8).

    Views of 45 pixels on the four corners of a stamp, each turned so that the middle of the stamp is at the same corner of the
    view, of the stamp, its mirror image, and both turned by 45 degrees: 16 in the papers, the first `n_views` of them here. All
    go through the same convolutions (6x6x32, pooling, 5x5x64, pooling, 3x3x128 twice, pooling), are joined, and pass two maxout
    layers. The error is the root mean square over the fractions of all questions that were asked. Here a softmax makes the
    fractions of a question sum to one, where Dieleman divides rectified outputs by their sum.

    Smaller than in the papers, for two CPU cores: 4 views for 16, maxout layers of `n_dense` = 256 for 2048, and few epochs.
    """

    name = "hc15"
    title = "Vote-fraction CNN (HC15)"
    reference = "Huertas-Company et al. 2015; Dieleman et al. 2015"
    dtype = "mixed_bfloat16"

    def __init__(
        self,
        *,
        n_train: int = 6000,
        epochs: int = 4,
        batch_size: int = 32,
        rate: float = 1e-3,
        n_views: int = 4,
        n_dense: int = 256,
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        if n_views not in N_VIEWS:
            raise ConfigError(f"n_views of the method 'hc15' is {n_views!r}, expected one of {', '.join(map(str, N_VIEWS))}")
        self.n_views = n_views
        self.n_dense = self.checked("n_dense", n_dense)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The network on views below each other."""
        return build_hc15(shape, dtype, self.n_dense)

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Values from 0 to 1."""
        return unit_stretch(stamps, noise)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turned, mirrored, zoomed and shifted."""
        return turned_zoomed_shifted(images, rng, zoom=ZOOM, shift=SHIFT, size=images.shape[1])

    def arrange(self, images: np.ndarray) -> np.ndarray:
        """The views (object, view x 45, 45, band), below each other."""
        return views_of(images, self.n_views).reshape(len(images), self.n_views * VIEW_PX, VIEW_PX, images.shape[3])

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Vote fractions (object, answer) float32; -1 where the question was not asked."""
        parts = [shares(labels[:, columns]) for columns in answer_slices().values()]
        return np.nan_to_num(np.concatenate(parts, axis=1), nan=NOT_ASKED).astype(np.float32)

    def loss(self) -> Any:
        """Root of the mean square error of the fractions that are known."""
        return fraction_error

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Expected vote fractions (object, answer)."""
        return softmax_per_question(self.raw_outputs(stamps, state))


def build_hc15(shape: tuple[int, ...], dtype: str = "float32", n_dense: int = 2048) -> Any:
    """Keras model from views below each other, `shape` (view x 45, 45, band), to outputs (object, answer) before the softmax."""
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(shape)
    x = keras.ops.reshape(inputs, (-1, VIEW_PX, VIEW_PX, shape[2]))
    for width, size, is_pooled in ((32, 6, True), (64, 5, True), (128, 3, False), (128, 3, True)):
        x = layers.Conv2D(width, size, activation="relu", kernel_initializer="he_normal", dtype=dtype)(x)
        x = layers.MaxPooling2D(dtype=dtype)(x) if is_pooled else x
    n_features = shape[0] // VIEW_PX * int(np.prod(x.shape[1:]))
    x = keras.ops.reshape(x, (-1, n_features))
    for _ in range(2):
        x = layers.Dense(2 * n_dense, dtype=dtype)(layers.Dropout(0.5, dtype=dtype)(x))
        x = keras.ops.max(keras.ops.reshape(x, (-1, n_dense, 2)), axis=2)  # maxout
    x = layers.Dropout(0.5, dtype=dtype)(x)
    # outputs start near zero, equal fractions: the root mean square error has no gradient where a softmax is saturated
    near_zero = keras.initializers.RandomNormal(stddev=0.01)
    return keras.Model(inputs, layers.Dense(N_ANSWERS, kernel_initializer=near_zero, dtype="float32")(x), name="hc15")


def fraction_error(fractions: Any, raw: Any) -> Any:
    """Root mean square error over answers to questions that were asked; Keras tensors (object, answer), -1 = not asked."""
    ops = import_keras().ops
    expected = ops.concatenate([ops.softmax(raw[:, columns]) for columns in answer_slices().values()], axis=1)
    known = ops.cast(fractions >= 0, raw.dtype)
    return ops.sqrt(ops.sum(known * (fractions - expected) ** 2) / ops.maximum(ops.sum(known), 1.0) + 1e-8)


def views_of(images: np.ndarray, n_views: int) -> np.ndarray:
    """Views (object, view, 45, 45, band) of images (object, y, x, band) of 45 pixels or more, the middle at their lower right."""
    if min(images.shape[1:3]) < VIEW_PX:
        raise InputError(
            f"stamps have {images.shape[1]} x {images.shape[2]} pixels, the method 'hc15' needs {VIEW_PX} x {VIEW_PX}"
        )
    whole = [images, images[:, :, ::-1]][: max(1, n_views // 4)]
    if n_views == 16:
        whole += [turned_45(image) for image in whole]
    views = np.empty((len(images), 4 * len(whole), VIEW_PX, VIEW_PX, images.shape[3]), np.float32)
    for number, image in enumerate(whole):
        for turn in range(4):
            views[:, 4 * number + turn] = np.rot90(image, turn, axes=(1, 2))[:, :VIEW_PX, :VIEW_PX]
    return views


def turned_45(images: np.ndarray) -> np.ndarray:
    """Images (object, y, x, band), square, turned by 45 degrees about their middle; 0 where nothing was."""
    n, length, _, n_bands = images.shape
    flat = images.transpose(1, 2, 0, 3).reshape(length * length, n * n_bands)
    return (_turn(length) @ flat).reshape(length, length, n, n_bands).transpose(2, 0, 1, 3)


@lru_cache(maxsize=4)
def _turn(length: int) -> sparse.csr_array:
    """Bilinear weights (y x x, y x x) float32."""
    middle, root = (length - 1) / 2, np.sqrt(0.5)
    y, x = np.mgrid[:length, :length].reshape(2, -1) - middle
    y, x = middle + root * (y - x), middle + root * (y + x)
    rows, columns, weights = [], [], []
    for dy in (0, 1):
        for dx in (0, 1):
            py, px = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            inside = (py >= 0) & (py < length) & (px >= 0) & (px < length)
            rows.append(np.flatnonzero(inside))
            columns.append((py * length + px)[inside])
            weights.append(((1 - np.abs(y - py)) * (1 - np.abs(x - px)))[inside])
    values = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(values, shape=(length * length, length * length))
