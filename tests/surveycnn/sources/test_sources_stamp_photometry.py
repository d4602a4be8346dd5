"""Fluxes on stamps: those that the same object has in a mosaic, and what is missing."""

import numpy as np
import pytest

from surveycnn.sources.detect import detection_image
from surveycnn.sources.photometry import DetectionImage, Pixels, measure_sources
from surveycnn.sources.stamp_photometry import edge_noise, stamp_photometry

FLUX = np.array([2000.0, 4000.0])
NOISE = np.array([3.0, 5.0])


@pytest.fixture(scope="module")
def sky():
    """Image (band, y, x) of 129 px with one round object of known flux in the middle."""
    y, x = np.mgrid[:129, :129] - 64.0
    blob = np.exp(-0.5 * (x**2 + y**2) / 2.5**2) / (2 * np.pi * 2.5**2)
    noise = np.random.default_rng(3).standard_normal((2, 129, 129)) * NOISE[:, None, None]
    return (FLUX[:, None, None] * blob + noise).astype(np.float32)


def stamps_of(sky):
    return np.moveaxis(sky[:, 32:97, 32:97], 0, -1)[None]


def test_stamp_photometry__is_that_of_the_mosaic(sky):
    flux, error = stamp_photometry(stamps_of(sky))
    rms = np.broadcast_to(NOISE.astype(np.float32)[:, None, None], sky.shape)
    significance, mask = detection_image(sky, rms, [0, 1])
    peak = np.array([64])
    detection = DetectionImage(significance, mask)
    measured = measure_sources(Pixels.unmasked(sky, rms, 0.2), detection, peak, peak, np.zeros(1, np.int32))
    np.testing.assert_allclose(flux[0], measured.flux[:, 0], rtol=0.02)
    np.testing.assert_allclose(error[0], measured.flux_err[:, 0], rtol=0.15)
    np.testing.assert_allclose(flux[0], FLUX, atol=4 * error.max())


def test_stamp_photometry__a_band_without_data(sky):
    stamps = stamps_of(sky).copy()
    stamps[..., 1] = np.nan
    flux, error = stamp_photometry(stamps)
    assert np.isfinite(flux[0, 0]) and np.isnan([flux[0, 1], error[0, 1]]).all()
    flux, error = stamp_photometry(np.full_like(stamps, np.nan))
    assert np.isnan(flux).all() and np.isnan(error).all()


def test_stamp_photometry__no_stamps():
    flux, error = stamp_photometry(np.zeros((0, 64, 64, 3), np.float32))
    assert flux.shape == error.shape == (0, 3)


def test_edge_noise__of_the_frame_alone(sky):
    image = sky.copy()
    np.testing.assert_allclose(edge_noise(image), NOISE, rtol=0.1)
    image[:, 20:-20, 20:-20] = 1e6
    np.testing.assert_array_equal(edge_noise(image), edge_noise(sky))
