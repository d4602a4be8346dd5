"""Finders side by side: our model as users get it, and methods of the zoo, each with its scores kept on disk.

Scores are kept under a key of what gave them and of the stamps, so that a changed model or set is scored again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from surveycnn.challenge.sets import is_lens
from surveycnn.evaluation.kept import digest_of, digest_of_files, digest_of_set, kept_arrays, pieces
from surveycnn.inference.load import load_model
from surveycnn.inference.predictor import Predictor
from surveycnn.models.card import CARD_FILE, Calibration
from surveycnn.models.package import package_folder
from surveycnn.training.calibration import fit_calibration
from surveycnn.training.data import LabelledStamps

Log = Callable[[str], None]


@dataclass(frozen=True)
class Scores:
    """What a finder says of a set, (object,) float64 each; NaN = no score."""

    logit: np.ndarray
    """Ranks."""
    score: np.ndarray
    """Calibrated probability at the training prior."""


class Finder(Protocol):
    """What competes."""

    name: str
    title: str
    reference: str
    published: Any
    prior: float
    """Fraction of lenses at which the score is calibrated."""
    n_train: int | None
    """Stamps that it learned from, before augmentation; None where it learns nothing."""
    n_passes: int | None
    """How often it went through them; None where it is not fitted in passes."""

    @property
    def key(self) -> str:
        """Digest of all that the scores depend on, but for the stamps."""

    def score(self, stamps: np.ndarray) -> Scores:
        """Scores of stamps (object, y, x, band) in nJy."""


class ModelFinder:
    """A lens model package through the predictor that users get.

    Parameters
    ----------
    cascade
        Whether its first stage stands before its network.
    """

    published: Any = None
    reference = "this package"
    n_train: int | None
    n_passes: int | None

    def __init__(self, name_or_path: str, cascade: bool = False):
        folder = package_folder(name_or_path)
        self._predictor: Predictor = load_model(name_or_path, cascade=cascade)
        card = self._predictor.card
        assert card.prior is not None  # a lens card has one
        self.name, self.prior, self.n_train = "surveycnn", card.prior.training, card.training.n
        self.n_passes = card.training.epochs or None
        self.title = f"surveycnn {card.name} {card.version}, {card.n_weights:,} weights"
        self.key = digest_of_files([folder / CARD_FILE])
        if cascade and card.cascade is not None:
            self.name += "-cascade"
            self.title += f", behind a first stage of {card.cascade.n_weights:,} that lets {card.cascade.passed:.1%} pass"
            self.key += " cascade"

    def score(self, stamps: np.ndarray) -> Scores:
        found = self._predictor.predict(stamps)
        return Scores(*(found[name].values.astype(np.float64) for name in ("lens_logit", "lens_score")))


class MethodFinder:
    """A method of the zoo, trained on the challenge's own training set and calibrated on its validation set."""

    def __init__(self, method: Any, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log):
        folder.mkdir(parents=True, exist_ok=True)
        method.fit(train, valid, folder=folder, seed=seed, log=log)
        self._method = method
        self.name, self.title, self.reference = str(method.name), str(method.title), str(method.reference)
        self.published = method.published
        self.prior = float(is_lens(valid).mean())
        wanted = getattr(method, "n_train", None)
        self.n_train = None if wanted is None else min(wanted, len(train))
        self.n_passes: int | None = getattr(method, "epochs", None)
        files = [Path(inspect.getfile(type(method))), *sorted(path for path in folder.rglob("*") if path.is_file())]
        self.key = digest_of_files(files, digest_of_set(train), digest_of_set(valid))
        self._centre, self._scale, self._calibration = self._calibrate(valid)

    def score(self, stamps: np.ndarray) -> Scores:
        logit = np.asarray(self._method.score(stamps), np.float64)
        value = (logit - self._centre) / self._scale
        return Scores(logit, expit(value / self._calibration.temperature + self._calibration.bias))

    def _calibrate(self, valid: LabelledStamps) -> tuple[float, float, Calibration]:
        """Centre and width of the scores, as methods measure in units of their own, and the calibration of what is left."""
        logit = np.concatenate([np.asarray(self._method.score(stamps), np.float64) for stamps in pieces(valid)])
        kept = np.isfinite(logit)
        if not kept.any():
            return 0.0, 1.0, Calibration()
        centre, scale = float(np.median(logit[kept])), float(logit[kept].std()) or 1.0
        return centre, scale, fit_calibration((logit[kept] - centre) / scale, is_lens(valid)[kept])


def kept_scores(finder: Finder, data: LabelledStamps, folder: Path) -> Scores:
    """Scores of a set, from the file that an earlier call has left in `folder` where finder and set are the same."""

    def make() -> dict[str, np.ndarray]:
        parts = [finder.score(stamps) for stamps in pieces(data)]
        return {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("logit", "score")}

    return Scores(**kept_arrays(folder, finder.name, digest_of(finder.key, digest_of_set(data)), make))
