"""A complete small package, made once and copied by the tests that damage it."""

import shutil

import numpy as np
import pytest

from surveycnn.inference.scaling import scale_stamps
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Prior, Scaling, Training
from surveycnn.models.lens import build_lens
from surveycnn.models.package import Golden, save_package


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    import_keras().utils.set_random_seed(3)
    card = Card(
        name="tiny",
        version="1",
        task="lens",
        bands=["g", "r"],
        pixel_scale=0.2,
        stamp_px=16,
        scaling=Scaling(softening={"g": 1.0, "r": 2.0}),
        prior=Prior(training=0.5, survey=1e-3),
        calibration=Calibration(temperature=2.0, bias=0.1),
        training=Training(simulation="noise", seed=3, n=0, command="none"),
        licence="BSD-3-Clause",
        keras="",
    )
    stamps = np.random.default_rng(0).normal(0, 20, (3, 16, 16, 2)).astype(np.float32)
    folder = tmp_path_factory.mktemp("pristine")
    golden = Golden(stamps, scale_stamps(stamps, card.scaling, card.bands))
    save_package(folder, build_lens(16, 2, widths=(4, 8)), card, golden)
    return folder


@pytest.fixture
def package(pristine, tmp_path):
    """Path of a copy of the package, to be damaged."""
    return shutil.copytree(pristine, tmp_path / "package")
