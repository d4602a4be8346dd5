"""What every finder of the zoo offers, and what those that learn share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from surveycnn.evaluation.methods.method import Learner, Log, check_both
from surveycnn.training.data import LabelledStamps


@dataclass(frozen=True)
class Published:
    """Figures of an entry in the ground branch of the challenge (Metcalf et al. 2019, arXiv 1802.03609, table 3)."""

    entry: str
    auroc: float
    tpr0: float
    """True positive rate before the first false positive."""
    tpr10: float
    """True positive rate with fewer than ten false positives."""


class Method(Protocol):
    """A lens finder that is trained on a set and then ranks stamps."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    published: ClassVar[Published | None]

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Train, or load what an earlier identical call left in `folder`."""

    def score(self, stamps: np.ndarray) -> np.ndarray:
        """Scores (object,) float64, higher = more like a lens, of stamps (object, y, x, band) in nJy, NaN = no data."""


class Finder(Learner):
    """A lens finder that learns; it ranks with what it learned in `rank`."""

    task = "lens"
    published: ClassVar[Published | None] = None

    @abstractmethod
    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Scores (object,) float64 of at most `CHUNK` stamps, nJy with NaN."""

    def score(self, stamps: np.ndarray) -> np.ndarray:
        """Scores (object,) float64 of stamps (object, y, x, band) in nJy, NaN = no data; may be a memory map.

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        return self.outputs(stamps)

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """The scores."""
        return self.rank(stamps, state)

    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """Which stamps are lenses (object,) bool."""
        return np.asarray(data.labels["is_lens"], bool)

    def check_labels(self, what: str, data: LabelledStamps) -> None:
        """Raise an InputError where a set has no lenses, or nothing else."""
        check_both(what, self.labels_of(data), "lenses")


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)): positive, keeps the order and, in float64, differences of scores far below zero too."""
    return np.logaddexp(0.0, np.asarray(x, np.float64))
