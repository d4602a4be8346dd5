from math import comb

import numpy as np
import pytest
from scipy.stats import chi2, norm

from surveycnn.sources.chi_squared import chi_squared_map, threshold_factor
from surveycnn.sources.detect import SMOOTHED_NOISE, detect_sources, detection_image, smooth


def noise(shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_threshold_factor__keeps_the_false_alarms():
    for n_bands in (2, 3, 9):
        for threshold in (0.6, 1.0, 2.5):
            sigma = threshold / SMOOTHED_NOISE
            level = (sigma / threshold_factor(n_bands, threshold)) ** 2
            shares = [comb(n_bands, k) / 2**n_bands * chi2.sf(level, k) for k in range(1, n_bands + 1)]
            assert sum(shares) == pytest.approx(norm.sf(sigma), rel=1e-6)


def test_threshold_factor__far_tails():
    factors = [threshold_factor(n, 1000.0) for n in range(11)]
    assert factors[:2] == [1.0, 1.0]
    assert (np.diff(factors[1:]) < 0).all() and factors[-1] > 0.9999


def test_chi_squared_map__of_one_band_is_the_smoothed_sum(crowded_sky):
    image, rms = (values.copy() for values in crowded_sky)
    image[1, 30:40, 50:70] = np.nan
    for band in (0, 1):
        expected = smooth(*detection_image(image, rms, [band]), normalise=True)
        found = chi_squared_map(image, rms, [band], 3.0)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5)


def test_chi_squared_map__finds_in_one_band_what_the_sum_finds(crowded_sky):
    image, rms = crowded_sky
    significance, mask = detection_image(image, rms, [0])
    found = [
        detect_sources(significance, mask, threshold_sigma=1.5, min_area_px=5, smoothed=smoothed)
        for smoothed in (None, chi_squared_map(image, rms, [0], 1.5))
    ]
    np.testing.assert_array_equal(found[0].peak_y, found[1].peak_y)
    np.testing.assert_array_equal(found[0].peak_x, found[1].peak_x)
    np.testing.assert_array_equal(found[0].segmentation, found[1].segmentation)


@pytest.mark.parametrize("n_bands", [2, 4])
def test_chi_squared_map__false_pixels_are_as_many_as_those_of_the_sum(n_bands):
    image = noise((n_bands, 900, 900))
    rms = np.ones_like(image)
    image[0, :300] = np.nan
    summed = smooth(*detection_image(image, rms, range(n_bands)), normalise=True)
    for threshold in (0.7, 1.0):
        both = [
            np.count_nonzero(pixels > threshold) for pixels in (summed, chi_squared_map(image, rms, range(n_bands), threshold))
        ]
        # neighbouring pixels are alike: a fluctuation counts about 4 times
        assert abs(both[0] - both[1]) < 4 * np.sqrt(4 * sum(both))


def test_chi_squared_map__keeps_a_source_of_one_band(gaussian):
    sky = np.zeros((100, 100))
    gaussian(sky, 50, 50, 75, 2)
    image = noise((4, 100, 100))
    image[3] += sky.astype(np.float32)
    rms = np.ones_like(image)
    significance, mask = detection_image(image, rms, range(4))
    near = []
    for smoothed in (None, chi_squared_map(image, rms, range(4), 1.5)):
        found = detect_sources(significance, mask, threshold_sigma=1.5, min_area_px=5, smoothed=smoothed)
        near.append(int((np.hypot(found.peak_y - 50, found.peak_x - 50) < 3).sum()))
    assert near == [0, 1]


def test_chi_squared_map__without_data():
    image, rms = np.full((2, 8, 8), np.nan, np.float32), np.full((2, 8, 8), np.nan, np.float32)
    assert not chi_squared_map(image, rms, [0, 1], 3.0).any()
    assert not chi_squared_map(image, rms, [], 3.0).any()
