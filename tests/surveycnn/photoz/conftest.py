"""A small table of galaxies whose colours tell their redshifts, and a model that was fitted to it."""

import numpy as np
import pytest

from surveycnn.photoz.card import FitSettings
from surveycnn.photoz.fit import fit_photoz
from surveycnn.photoz.tables import Photometry

BANDS = ("g", "r", "i")


def galaxies(n: int, seed: int) -> tuple[Photometry, np.ndarray]:
    """Photometry (nJy) of `n` galaxies that are redder the farther they are, and their redshifts."""
    rng = np.random.default_rng(seed)
    redshift = rng.gamma(3.0, 0.25, n)
    brightness = 10 ** rng.uniform(2.5, 4.5, n)
    colours = np.stack([np.exp(-1.2 * redshift), np.ones(n), np.exp(0.8 * np.sin(1.5 * redshift))], axis=1)
    error = np.full((n, len(BANDS)), 30.0)
    flux = brightness[:, None] * colours + error * rng.standard_normal((n, len(BANDS)))
    return Photometry(BANDS, flux, error), redshift


SETTINGS = FitSettings(seed=4, members=2, epochs=12, valid_fraction=0.2)


@pytest.fixture(scope="session")
def table():
    """Function (n, seed) -> photometry and redshifts."""
    return galaxies


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """Folder of a model that was fitted to 1,500 galaxies, and its card."""
    folder = tmp_path_factory.mktemp("photoz") / "model"
    return folder, fit_photoz(*galaxies(1500, 1), folder, settings=SETTINGS, name="toy", log=lambda text: None)
