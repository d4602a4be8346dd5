"""Scaling: what missing and damaged pixels become."""

import numpy as np

from surveycnn.inference.scaling import MAX_SCALED, scale_stamps
from surveycnn.models.card import Scaling

SCALING = Scaling(softening={"g": 2.0, "r": 4.0})


def test_scale_stamps__each_band_by_its_own_softening():
    stamps = np.full((1, 2, 2, 2), 8.0)
    scaled = scale_stamps(stamps, SCALING, ["g", "r"])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0, 0], np.arcsinh([4.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(scale_stamps(stamps, SCALING, ["r", "g"])[0, 0, 0], np.arcsinh([2.0, 4.0]), rtol=1e-6)


def test_scale_stamps__missing_pixels_are_sky():
    stamps = np.array([np.nan, np.inf, -np.inf, -6.0], np.float32).reshape(1, 2, 2, 1)
    scaled = scale_stamps(stamps, SCALING, ["g"]).ravel()
    np.testing.assert_allclose(scaled, [0, 0, 0, np.arcsinh(-3)], rtol=1e-6)
    assert np.isnan(stamps[0, 0, 0, 0])  # the caller's array stays


def test_scale_stamps__no_overflow():
    stamps = np.array([3e38, -3e38, 1e300, 0]).reshape(1, 2, 2, 1)
    scaled = scale_stamps(stamps, SCALING, ["g"]).ravel()
    np.testing.assert_array_equal(scaled[:3], [MAX_SCALED, -MAX_SCALED, MAX_SCALED])
