"""Sets with known scores, and methods that are trained in no time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from surveycnn.training.data import LabelledStamps

KINDS = ("spiral", "ring", "field")


class Brightness:
    """A method of the zoo that ranks by the light in one band; it keeps what it has learned, as the others do."""

    name, title, reference = "brightness", "total flux", "nobody et al."
    published = SimpleNamespace(entry="a", auroc=0.81, tpr0=0.0, tpr10=0.1)
    fits = 0

    def fit(self, train, valid, *, folder: Path, seed: int, log) -> None:
        path = folder / "mean.npy"
        if not path.is_file():
            type(self).fits += 1
            np.save(path, np.nanmean(train.stamps))
            log("brightness: fitted")
        self.mean = float(np.load(path))

    def score(self, stamps: np.ndarray) -> np.ndarray:
        return np.nansum(stamps[..., 0], axis=(1, 2)).astype(np.float64) - self.mean


class Nothing(Brightness):
    """A method that finds nothing to score in any stamp."""

    name, title, published = "nothing", "no score at all", None

    def score(self, stamps: np.ndarray) -> np.ndarray:
        return np.full(len(stamps), np.nan)


def known_set(n: int, seed: int, prior: float = 1 / 11) -> LabelledStamps:
    """Labels and truth as the simulation gives them, on stamps of one pixel."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prior
    truth = {"kind": np.where(y, "lens", rng.choice(KINDS, n))}
    for name, low, high in (("theta_e", 0.5, 2.9), ("arc_sn", 25, 290), ("magnification", 2, 12)):
        truth[name] = np.where(y, rng.uniform(low, high, n), np.nan)
    truth["is_detectable"] = y & (rng.random(n) < 0.8)
    return LabelledStamps("lens", ("g", "r", "i"), rng.random((n, 1, 1, 3), np.float32), {"is_lens": y}, truth)


@pytest.fixture(scope="session")
def make_set():
    """Function (n, seed, prior) -> LabelledStamps."""
    return known_set


@pytest.fixture
def zoo(monkeypatch):
    """The zoo with two tiny methods in place of those of the literature."""
    methods = {"brightness": Brightness, "nothing": Nothing}
    monkeypatch.setattr("surveycnn.challenge.zoo.METHODS", methods)
    Brightness.fits = Nothing.fits = 0
    return methods
