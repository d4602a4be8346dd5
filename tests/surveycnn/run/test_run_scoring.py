"""Scores of sources whatever way the mosaic lies, where a model wants north up."""

from __future__ import annotations

from contextlib import nullcontext
from copy import copy

import numpy as np
import pytest
from small_sky import small_wcs

from surveycnn import load_model
from surveycnn.run.scoring import TileModel, score
from surveycnn.sky.wcs import sky_positions
from surveycnn.sky.window import Window

SHAPE = (201, 201)


@pytest.fixture(scope="module")
def lens():
    """The shipped lens model twice: as it is, and as if it wanted north up."""
    as_it_is = load_model("lens")
    north_up = copy(as_it_is)
    north_up.card = as_it_is.card.model_copy(update={"orientation": "sky"})
    return [TileModel(predictor, tuple(predictor.card.bands)) for predictor in (as_it_is, north_up)]


def window_of(degrees: float) -> Window:
    """The same arc-like object on a mosaic that is turned by `degrees`."""
    wcs = small_wcs(*SHAPE)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    wcs.wcs.cd = 0.2 / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]]) @ np.array([[cos, -sin], [sin, cos]])
    wcs.wcs.set()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ra, dec = sky_positions(wcs, x.ravel(), y.ravel())
    east = ((ra - 150.0) * np.cos(np.radians(2.0)) * 3600).reshape(SHAPE)
    north = ((dec - 2.0) * 3600).reshape(SHAPE)
    galaxy = 40 * np.exp(-(east**2 + north**2) / 2)
    arc = 15 * np.exp(-((np.hypot(east, north) - 2) ** 2) / 0.3) * (north > 0.5) * (east > -1)
    image = np.stack([galaxy * 0.5 + arc, galaxy + arc * 0.7, galaxy * 1.4 + arc * 0.5]).astype(np.float32)
    nothing = np.zeros(image.shape, bool)
    return Window("m", 0, 0, *SHAPE, ("g", "r", "i"), image, np.ones_like(image), nothing, nothing, wcs, 0.2)


def logits(model: TileModel, degrees: float) -> float:
    columns = {"y": np.array([100.0]), "x": np.array([100.0])}
    scores, incomplete = score(window_of(degrees), columns, [model], lambda name: nullcontext())
    assert incomplete["lens"].tolist() == [False]
    return float(scores["lens_logit"][0])


def test_score__with_north_up_does_not_depend_on_the_mosaic(lens):
    _, north_up = lens
    scores = [logits(north_up, degrees) for degrees in (0.0, 90.0, 180.0)]
    assert np.ptp(scores) < 1e-3


def test_score__models_of_two_orientations_have_stamps_of_their_own(lens):
    columns = {"y": np.array([100.0]), "x": np.array([100.0])}
    both, _ = score(window_of(137.0), columns, lens, lambda name: nullcontext())
    assert both["lens_logit"][0] == pytest.approx(logits(lens[1], 137.0), abs=1e-4), "the last one stays"
    assert logits(lens[0], 137.0) != pytest.approx(logits(lens[1], 137.0), abs=1e-4)
