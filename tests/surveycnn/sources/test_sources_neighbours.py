"""Light of neighbours: fluxes of drawn blends, and the cells in which pixels are replaced."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.flags import flag_value, has_flag
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.neighbours import Cells, Places, batches, grow, labels_near, pixels_near
from surveycnn.sources.photometry import DetectionImage, Pixels, measure_sources

SCALE = 0.25


def detect(image, rms=None):
    """Pixels and detections of an image (band, y, x) with noise of 1 nJy."""
    rms = np.ones(image.shape, np.float32) if rms is None else rms
    significance, mask = detection_image(image, rms, range(len(image)))
    found = detect_sources(significance, mask, threshold_sigma=3.0, min_area_px=5)
    return Pixels.unmasked(image, rms, SCALE), DetectionImage(significance, mask, found)


def measure(pixels, detection, found=None, **options):
    found = detection.found if found is None else found
    return measure_sources(pixels, detection, found.peak_y, found.peak_x, found.flags, **options)


def draw_pair(gaussian, separation, ratio, sigma=2.0):
    """Image (1, 90, 110) of two stars, the second `ratio` times as bright as the first, which has 20,000 nJy."""
    image = np.random.default_rng(5).normal(0, 1, (90, 110))
    gaussian(image, 45.2, 49.8, 2e4, sigma)
    gaussian(image, 45.7, 49.8 + separation, 2e4 * ratio, sigma)
    return image[None].astype(np.float32)


@pytest.mark.parametrize(("separation", "ratio", "largest"), [(8, 0.5, 0.06), (9, 0.3, 0.06), (10, 1, 0.01), (10, 4, 0.02)])
def test_measure_sources__pairs_of_stars(gaussian, separation, ratio, largest):
    pixels, detection = detect(draw_pair(gaussian, separation, ratio))
    assert len(detection.found) == 2
    truth = np.array([2e4, 2e4 * ratio])[detection.found.peak_x.argsort().argsort()]
    apart = np.abs(measure(pixels, detection).flux[0] / truth - 1)
    together = np.abs(measure(pixels, replace(detection, found=None), detection.found).flux[0] / truth - 1)
    assert apart.max() < largest
    assert apart.max() < 0.3 * together.max()


def test_measure_sources__far_neighbours_change_nothing(gaussian):
    pixels, detection = detect(draw_pair(gaussian, 30, 1))
    apart, together = measure(pixels, detection), measure(pixels, replace(detection, found=None), detection.found)
    for name in ("flux", "flux_err", "flux_aper", "flux_radius_px", "kron_radius_px", "flags"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(together, name))


def test_measure_sources__a_mirrored_pixel_has_its_noise_twice(gaussian):
    pixels, detection = detect(draw_pair(gaussian, 9, 1))
    apart, together = measure(pixels, detection), measure(pixels, replace(detection, found=None), detection.found)
    with_mirror = apart.flux_err[0] ** 2 / (np.pi * apart.kron_radius_px**2)
    assert (with_mirror > 1.01).all() and (with_mirror < 2).all()
    np.testing.assert_allclose(together.flux_err[0] ** 2 / (np.pi * together.kron_radius_px**2), 1, rtol=1e-6)


def test_measure_sources__colour_of_a_faint_source_beside_a_bright_one(gaussian):
    faint, bright = np.zeros((2, 90, 110))
    gaussian(faint, 45, 50, 4e3, 2)
    gaussian(bright, 45, 61, 4e4, 2)
    noise = np.random.default_rng(1).normal(0, 1, (2, 90, 110))
    image = (np.stack([faint + bright, faint + 3 * bright]) + noise).astype(np.float32)
    pixels, detection = detect(image)
    flux = measure(pixels, detection).flux[:, detection.found.peak_x.argmin()]
    assert flux[1] / flux[0] == pytest.approx(1, abs=0.1)
    flux = measure(pixels, replace(detection, found=None), detection.found).flux[:, detection.found.peak_x.argmin()]
    assert flux[1] / flux[0] > 1.3


def test_measure_sources__beside_an_object_that_might_not_be_there(gaussian):
    pixels, detection = detect(draw_pair(gaussian, 12, 1))
    first, second = detection.found.peak_x.argsort()
    flags = detection.found.flags.copy()
    flags[second] |= flag_value("truncated")
    unsure = replace(detection, found=replace(detection.found, flags=flags))
    got = measure(pixels, unsure, detection.found)
    assert has_flag(got.flags, "truncated")[first]
    assert not has_flag(measure(pixels, detection).flags, "truncated").any()


@pytest.fixture(scope="module")
def whole(crowded_sky):
    """Pixels with masked and saturated ones, detections and measurements of the crowded sky."""
    image, rms = crowded_sky[0].copy(), crowded_sky[1]
    rng = np.random.default_rng(2)
    masked, saturated = rng.random(image.shape) < 0.003, image > 3e3
    image[masked] = np.nan
    significance, mask = detection_image(image, rms, [0, 1, 2])
    found = detect_sources(significance, mask, threshold_sigma=3.0, min_area_px=5)
    pixels, detection = Pixels(image, rms, masked, saturated, SCALE), DetectionImage(significance, mask, found)
    return pixels, detection, measure(pixels, detection)


@settings(deadline=None, max_examples=15)
@given(st.tuples(st.integers(0, 190), st.integers(0, 230)), st.tuples(st.integers(0, 190), st.integers(0, 230)), st.booleans())
def test_measure_sources__same_bytes_in_any_window(whole, low, high, recentre):
    pixels, detection, expected = whole
    (y0, x0), (ny, nx) = low, detection.mask.shape
    part = (slice(y0, ny - high[0]), slice(x0, nx - high[1]))
    cut = {name: getattr(pixels, name)[(slice(None), *part)] for name in ("image", "rms", "masked", "saturated")}
    window = Pixels(**cut, pixel_scale=SCALE, open_edges=(y0 > 0, high[0] > 0, x0 > 0, high[1] > 0))
    found = detection.found
    inner = ((found.peak_y >= y0 + 60) | (y0 == 0)) & ((found.peak_y < ny - high[0] - 60) | (high[0] == 0))
    inner &= ((found.peak_x >= x0 + 60) | (x0 == 0)) & ((found.peak_x < nx - high[1] - 60) | (high[1] == 0))
    seen = DetectionImage(
        detection.significance[part], detection.mask[part], replace(found, segmentation=found.segmentation[part])
    )
    y, x = (found.peak_y, found.peak_x) if recentre else (expected.y, expected.x)
    got = measure_sources(window, seen, y[inner] - y0, x[inner] - x0, found.flags[inner], recentre=recentre)
    for name in ("flux", "flux_err", "flux_aper", "flux_aper_err", "flux_radius_px", "kron_radius_px"):
        assert getattr(got, name).tobytes() == np.ascontiguousarray(getattr(expected, name)[..., inner]).tobytes(), name
    if recentre:
        np.testing.assert_array_equal(got.flags, expected.flags[inner])


def cells_around(y, x, segmentation, own=1, radius=3.0, ends=True):
    place = Places(np.array([y]), np.array([x]), np.array([own]))
    return Cells.around(place, np.asarray(segmentation, np.int32), radius, np.array([ends]))


def test_cells__replace_by_the_mirror_image():
    image = np.arange(121, dtype=np.float32).reshape(11, 11)
    segmentation = np.zeros((11, 11))
    segmentation[5, 7], segmentation[4, 5] = 2, 2
    segmentation[6, 5] = 3
    cells = cells_around(5.0, 5.0, segmentation)
    bad = np.zeros_like(cells.foreign)
    mirrored, (replaced,) = cells.replace(bad, cells.cut(image, np.nan))
    middle = int(cells.y[0])
    assert replaced[0, middle, middle + 2] == image[5, 3] and mirrored[0, middle, middle + 2]
    assert replaced[0, middle - 1, middle] == replaced[0, middle + 1, middle] == 0  # each is the mirror image of the other
    assert mirrored.sum() == 1 + (cells.outside & mirrored).sum()


@pytest.mark.parametrize(("y", "partner"), [(5.2, 3), (5.25, 4), (5.3, 4), (4.8, 3), (4.75, 3), (4.7, 2)])
def test_cells__mirror_is_the_nearest_pixel(y, partner):
    segmentation = np.zeros((11, 11))
    segmentation[7, 5] = 2
    image = np.repeat(np.arange(11, dtype=np.float32)[:, None], 11, axis=1)
    cells = cells_around(y, 5.0, segmentation)
    _, (replaced,) = cells.replace(np.zeros_like(cells.foreign), cells.cut(image, np.nan))
    row = 7 - 5 + replaced.shape[1] // 2
    assert replaced[0, row, replaced.shape[2] // 2] == partner


def test_cells__nothing_is_put_where_the_sky_goes_on():
    cells = cells_around(1.0, 5.0, np.zeros((11, 11)), ends=False)
    image = np.ones((11, 11), np.float32)
    mirrored, (replaced,) = cells.replace(cells.cut(np.zeros((11, 11), bool), True), cells.cut(image, np.nan))
    assert not mirrored.any()
    np.testing.assert_array_equal(replaced == 0, cells.outside)
    np.testing.assert_array_equal(cells.unseen, cells.outside)


def test_cells__weight_is_a_gaussian_on_the_source():
    weight = cells_around(5.25, 4.5, np.zeros((11, 11)), radius=5.0).weight(np.array([1.5]))[0]
    rows, cols = np.indices(weight.shape)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(weight.shape[0] // 2 + 0.25, abs=1e-3)
    assert weight.sum() == pytest.approx(2 * np.pi * 1.5**2, rel=2e-3)
    assert abs((weight * cols).sum() / weight.sum() - weight.shape[0] // 2) == pytest.approx(0.5, abs=1e-2)


@given(st.lists(st.floats(1, 100), max_size=60))
def test_batches__hold_every_source_once(radius):
    groups = list(batches(np.array(radius)))
    assert sorted(np.concatenate(groups).tolist() if groups else []) == list(range(len(radius)))


def test_near__pixels_of_others_in_the_square_alone():
    segmentation = np.zeros((30, 30), np.int32)
    segmentation[10, 10], segmentation[10, 15], segmentation[29, 29] = 1, 2, 3
    places = Places(np.array([10.0, 10.0, 28.0]), np.array([10.0, 15.0, 28.0]), np.array([1, 2, 3]))
    some = np.array([False, True, True, True])
    for reach, expected in ((4.0, [False, False, False]), (5.0, [True, True, False]), (40.0, [True, True, True])):
        assert labels_near(places, np.full(3, reach), segmentation, some).tolist() == expected
    assert labels_near(places, np.full(3, 40.0), segmentation, np.zeros(4, bool)).tolist() == [False] * 3
    assert pixels_near(places, np.full(3, 2.0), segmentation == 3).tolist() == [False, False, True]


def test_grow__octagons_into_what_is_nobodys():
    segmentation = np.zeros((9, 9), np.int32)
    segmentation[4, 4] = 1
    sizes = [int((grow(segmentation, steps) == 1).sum()) for steps in range(4)]
    assert sizes == [1, 5, 21, 37]
    segmentation[4, 6] = 2
    grown = grow(segmentation, 2)
    assert grown[4, 4] == 1 and grown[4, 3] == 1 and grown[4, 5] == 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_grow__does_not_depend_on_the_window_nor_on_gaps_in_the_numbers(seed, steps):
    rng = np.random.default_rng(seed)
    segmentation = np.where(rng.random((40, 40)) < 0.03, rng.integers(1, 9, (40, 40)), 0).astype(np.int32)
    whole = grow(segmentation, steps)
    part = grow(segmentation[7:, 5:33], steps)
    inner = (slice(steps, None), slice(steps, 28 - steps))
    np.testing.assert_array_equal(part[inner], whole[7:, 5:33][inner])
    numbers = np.append(0, np.cumsum(rng.integers(1, 5, 8)))
    np.testing.assert_array_equal(grow(numbers[segmentation], steps), numbers[whole])
