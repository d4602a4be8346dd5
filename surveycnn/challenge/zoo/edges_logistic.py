"""ALL-star: histograms of oriented gradients and a logistic regression."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from surveycnn.challenge.zoo.method import Finder, Published
from surveycnn.evaluation.methods.linear import fit_logistic, logits
from surveycnn.evaluation.methods.method import Log, Rows, in_chunks
from surveycnn.evaluation.methods.pixels import stretched
from surveycnn.training.data import LabelledStamps

N_ORIENTATIONS = 9
SIZE_PX = 48
"""The central 9.6 arcsec: arcs lie within some 3 arcsec, and what is farther out costs features."""


class EdgesLogistic(Finder):
    """Edges and gradients with logistic regression: Automated Lensing Learner (Avestruz et al. 2019, ApJ 877, 58).

    The gradients of each band, after an arcsinh stretch in units of the noise, are counted by orientation in cells of 8 pixels;
    blocks of 2 x 2 cells are normalised (Dalal & Triggs 2005), so that only the pattern of the edges counts, not the flux.
    The paper has one band; here the histograms of g, r and i stand side by side.
    """

    name = "edges_logistic"
    title = "Edges + logistic regression"
    reference = "Avestruz et al. 2019 (ALL-star)"
    published: ClassVar[Published | None] = Published("ALL-star", 0.84, 0.01, 0.02)

    def __init__(self, *, n_train: int = 20_000, cell_px: int = 8) -> None:
        super().__init__(n_train=n_train)
        self.cell_px = self.checked("cell_px", cell_px)

    def learn(self, stamps: Rows, is_lens: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The weights of the regression; its penalty is the best one on the validation set."""
        features, valid_features = (in_chunks(part, self._features) for part in (stamps, valid.stamps))
        return fit_logistic(features, is_lens, valid_features, np.asarray(valid.labels["is_lens"], bool))

    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,)."""
        return logits(self._features(stamps).astype(np.float64), state)

    def _features(self, stamps: np.ndarray) -> np.ndarray:
        image = stretched(stamps)
        y, x = (max(0, (length - SIZE_PX) // 2) for length in image.shape[1:3])
        image = image[:, y : image.shape[1] - y, x : image.shape[2] - x]
        parts = [oriented_gradients(image[..., band], self.cell_px) for band in range(image.shape[3])]
        return np.concatenate(parts, axis=1)


def oriented_gradients(image: np.ndarray, cell_px: int = 8) -> np.ndarray:
    """Histograms of oriented gradients (object, feature) float32 of images (object, y, x).

    9 orientations without sign, cells of `cell_px` pixels, overlapping blocks of 2 x 2 cells, each normalised to length 1,
    clipped at 0.2 and normalised again (Dalal & Triggs 2005, L2-Hys); in the order of ``skimage.feature.hog``.
    """
    gy, gx = np.zeros_like(image), np.zeros_like(image)
    gy[:, 1:-1] = image[:, 2:] - image[:, :-2]
    gx[:, :, 1:-1] = image[:, :, 2:] - image[:, :, :-2]
    strength = np.hypot(gy, gx)
    orientation = np.degrees(np.arctan2(gy, gx)) % 180
    member = np.minimum((orientation * (N_ORIENTATIONS / 180)).astype(np.int8), N_ORIENTATIONS - 1)
    n, (ny, nx) = len(image), (length // cell_px for length in image.shape[1:])
    cells = np.empty((n, ny, nx, N_ORIENTATIONS), np.float32)
    for number in range(N_ORIENTATIONS):
        part = np.where(member == number, strength, 0)[:, : ny * cell_px, : nx * cell_px]
        cells[..., number] = part.reshape(n, ny, cell_px, nx, cell_px).mean(axis=(2, 4))
    corners = [[cells[:, y : ny - 1 + y, x : nx - 1 + x] for x in (0, 1)] for y in (0, 1)]
    blocks = np.stack([np.stack(row, axis=3) for row in corners], axis=3)
    blocks = np.minimum(_normalised(blocks), 0.2)
    return _normalised(blocks).reshape(n, -1)


def _normalised(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt((blocks**2).sum(axis=(3, 4, 5), keepdims=True) + np.float32(1e-10))
