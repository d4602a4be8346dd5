"""What can be had from the positions, fluxes and shapes of the galaxies alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.evaluation.methods.mergers import MergerLearner
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.evaluation.methods.pixels import in_symmetries
from surveycnn.models.backend import import_keras
from surveycnn.models.merger import build_merger


class SersicImages(NetworkLearner, MergerLearner):
    """Our network on images of models (Chudy et al. 2025): each galaxy of a scene is replaced by a smooth profile.

    Chudy et al. find most of a network's success on images of Sersic models, without any tidal feature. Here a profile has the
    flux, the centroid and the second moments of its galaxy: the mix ``sersic`` of the simulation, on which this is both trained
    and judged. How far the real images go beyond it is what a network makes of tidal features. The network is the one of
    surveycnn.models.merger, of which only the logit is trained; arcsinh in units of the noise, turned and mirrored.
    """

    name = "sersic_images"
    title = "Positions and shapes only"
    reference = "Chudy et al. 2025"
    mix = "sersic"

    def __init__(self, *, n_train: int = 10_000, epochs: int = 6, batch_size: int = 128, rate: float = 2e-3) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The merger network."""
        return build_merger(stamp_px=shape[0], n_bands=shape[2])

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """arcsinh of the signal to noise per pixel."""
        return np.arcsinh(stamps / noise)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)

    def loss(self) -> Any:
        """Cross-entropy of the logit, the first output; the others, for the time, stay as they are."""
        entropy = import_keras().losses.BinaryCrossentropy(from_logits=True)
        return lambda target, raw: entropy(target, raw[:, :1])

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,)."""
        return self.raw_outputs(stamps, state)[:, 0]


class WholeImages(SersicImages):
    """The same network, trained as long on as many images of the galaxies as they are: what the former is to be compared with."""

    name = "whole_images"
    title = "The same network on whole images"
    reference = "this package"
    mix = "train"
