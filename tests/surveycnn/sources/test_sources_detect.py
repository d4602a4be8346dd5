from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sep

from surveycnn.catalogs.flags import has_flag
from surveycnn.sky.tiling import TileGrid
from surveycnn.sources.detect import detect_sources, detection_image, smooth

OPTIONS = {"threshold_sigma": 3.0, "min_area_px": 5}


def peaks_of(found):
    return list(zip(found.peak_y.tolist(), found.peak_x.tolist(), strict=True))


def noise(shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_detection_image__weighs_bands_by_their_noise():
    image = np.array([[[3.0]], [[4.0]], [[100.0]]], np.float32)
    rms = np.array([[[1.0]], [[2.0]], [[1.0]]], np.float32)
    significance, mask = detection_image(image, rms, [0, 1])
    assert significance[0, 0] == pytest.approx((3 + 4 / 4) / np.sqrt(1 + 1 / 4))
    assert significance.dtype == np.float32 and not mask.any()


def test_detection_image__blank_sky_has_unit_variance():
    rms = np.stack([np.full((200, 200), s, np.float32) for s in (1, 3, 10)])
    significance, _ = detection_image(rms * noise((3, 200, 200)), rms, [0, 1, 2])
    assert significance.std() == pytest.approx(1, rel=0.02)


def test_detection_image__missing_data():
    image, rms = np.ones((2, 2, 2), np.float32), np.ones((2, 2, 2), np.float32)
    image[0, 0], rms[1, 0, 0] = np.nan, np.nan
    significance, mask = detection_image(image, rms, [0, 1])
    assert mask.tolist() == [[True, False], [False, False]]
    np.testing.assert_allclose(significance, [[0, 1], [np.sqrt(2), np.sqrt(2)]], rtol=1e-6)


def test_smooth__is_the_default_kernel_of_sextractor():
    image = noise((40, 50))
    mask = np.zeros(image.shape, bool)
    mask[10, 10] = True
    smoothed = smooth(image, mask)
    image[mask] = 0
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = sum(kernel[dy, dx] * np.pad(image, 1)[dy : dy + 40, dx : dx + 50] for dy in range(3) for dx in range(3))
    assert smoothed[10, 10] == 0
    np.testing.assert_allclose(smoothed[~mask], expected[~mask], atol=1e-5)


def test_detect_sources__nothing_there():
    for mask in (np.zeros((30, 30), bool), np.ones((30, 30), bool)):
        found = detect_sources(np.where(mask, 0, noise((30, 30))), mask, **OPTIONS)
        assert len(found) == 0
        assert found.peak_y.dtype == found.peak_x.dtype == np.int64 and found.flags.dtype == np.int32


def test_detect_sources__finds_isolated_sources(gaussian):
    image = noise((400, 400)).astype(np.float64)
    truth = [(y, x) for y in range(20, 400, 40) for x in range(20, 400, 40)]
    for y, x in truth:
        gaussian(image, y, x, 200, 1.5)
    found = detect_sources(image.astype(np.float32), np.zeros(image.shape, bool), **OPTIONS)
    assert len(found) == len(truth)
    offsets = np.array(peaks_of(found)) - np.array(truth)
    assert np.abs(offsets).max() <= 2
    assert not found.flags.any()


def test_detect_sources__masked_pixels_are_no_peaks(gaussian):
    image = np.zeros((40, 40))
    gaussian(image, 20, 20, 1000, 2)
    mask = np.zeros(image.shape, bool)
    mask[18:23, 18:23] = True
    found = detect_sources(image.astype(np.float32), mask, **OPTIONS)
    assert all(not mask[y, x] for y, x in peaks_of(found))


def test_detect_sources__blended_flag(gaussian):
    image = noise((80, 80)).astype(np.float64)
    for y, x in ((30, 30), (30, 37), (60, 60)):
        gaussian(image, y, x, 1500, 2)
    found = detect_sources(image.astype(np.float32), np.zeros(image.shape, bool), **OPTIONS)
    assert has_flag(found.flags, "blended").tolist() == [True, True, False]


def test_detect_sources__agrees_with_sep_where_sep_is_local(crowded_sky):
    significance, mask = detection_image(*crowded_sky, [0, 1, 2])
    found = detect_sources(significance, mask, contrast=0.005, **OPTIONS)
    theirs = sep.extract(significance, 3.0, mask=mask, minarea=5, clean=False, deblend_cont=0.005)
    ours = set(peaks_of(found))
    common = ours & set(zip(theirs["ycpeak"].tolist(), theirs["xcpeak"].tolist(), strict=True))
    assert len(ours) > 250
    assert len(common) > 0.9 * len(ours)


def test_detect_sources__wing_of_a_star_makes_no_sources():
    yy, xx = np.mgrid[:300, :300]
    star = 3e4 * (1 + ((yy - 150) ** 2 + (xx - 150) ** 2) / 3**2) ** -1.8
    image = (star + noise(star.shape)).astype(np.float32)
    found = detect_sources(image, np.zeros(image.shape, bool), threshold_sigma=1.5, min_area_px=5)
    raw = sep.extract(image, 1.5, minarea=5, clean=False)
    near = [peak for peak in peaks_of(found) if 0 < np.hypot(peak[0] - 150, peak[1] - 150) < 56]
    raw_near = np.hypot(raw["ycpeak"] - 150, raw["xcpeak"] - 150) < 56
    assert raw_near.sum() > 8
    assert len(near) <= 1


@pytest.mark.parametrize(("core_px", "halo_px"), [(128, 64), (192, 128), (320, 200), (64, 64)])
@pytest.mark.parametrize("threshold", [1.5, 3.0])
def test_detect_sources__same_sources_however_the_sky_is_cut(crowded_sky, core_px, halo_px, threshold):
    image, rms = crowded_sky
    ny, nx = image.shape[1:]

    def owned(grid):
        sources = {}
        for tile in grid:
            window = (slice(None), *tile.outer)
            edges = (tile.oy0 > 0, tile.oy1 < ny, tile.ox0 > 0, tile.ox1 < nx)
            found = detect_sources(
                *detection_image(image[window], rms[window], [0, 1, 2]),
                threshold_sigma=threshold,
                min_area_px=5,
                open_edges=edges,
            )
            y, x = found.peak_y + tile.oy0, found.peak_x + tile.ox0
            for k in np.flatnonzero(tile.owns(y, x)):
                sources[int(y[k]), int(x[k])] = int(found.flags[k])
        return sources

    whole = owned(TileGrid("m", ny, nx, 1024, 64))
    tiled = owned(TileGrid("m", ny, nx, core_px, halo_px))
    assert not has_flag(np.array(list(whole.values())), "truncated").any()
    sure = {peak: flags for peak, flags in tiled.items() if not has_flag(flags, "truncated")}
    assert len(sure) > 100
    assert all(whole.get(peak) == flags for peak, flags in sure.items())
    # what the tiles lack can only be part of a family that some tile saw running out of its window
    assert len(set(whole) - set(tiled)) <= 0.02 * len(whole)


def test_detect_sources__threads_give_the_same(crowded_sky):
    significance, mask = detection_image(*crowded_sky, [0, 1, 2])
    serial = detect_sources(significance, mask, **OPTIONS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: detect_sources(significance, mask, **OPTIONS), range(8)):
            assert peaks_of(found) == peaks_of(serial)
            np.testing.assert_array_equal(found.flags, serial.flags)


def test_detect_sources__everything_above_the_threshold():
    found = detect_sources(np.abs(noise((700, 700))) + 5, np.zeros((700, 700), bool), threshold_sigma=1.0, min_area_px=5)
    assert len(found) >= 1
