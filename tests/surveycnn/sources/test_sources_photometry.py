from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from surveycnn.catalogs.flags import decode_flags, has_flag
from surveycnn.sky.tiling import TileGrid
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.kron import MAX_APERTURE_PX, aperture_limits_px
from surveycnn.sources.photometry import DetectionImage, Pixels, measure_sources

SCALE = 0.3
CLOSED = (False, False, False, False)


def measure(image, rms=None, masked=None, peaks=None, flags=None, bands=None, saturated=None, open_edges=CLOSED, **options):
    """Measurements at `peaks` [(y, x), ...] of `image` (band, y, x)."""
    image = np.asarray(image, np.float32)
    rms = np.where(np.isnan(image), np.nan, 1).astype(np.float32) if rms is None else rms
    masked = np.zeros(image.shape, bool) if masked is None else masked
    image = np.where(masked, np.float32(np.nan), image)
    significance, mask = detection_image(image, rms, range(len(image)) if bands is None else bands)
    y, x = np.array(peaks, np.int64).reshape(-1, 2).T
    flags = np.zeros(y.size, np.int32) if flags is None else flags
    saturated = np.zeros(image.shape, bool) if saturated is None else saturated
    pixels = Pixels(image, rms, masked, saturated, SCALE, open_edges)
    return measure_sources(pixels, DetectionImage(significance, mask), y, x, flags, **options)


def one_source(gaussian, y=50.2, x=49.7, flux=1000.0, sigma=2.0, shape=(100, 100), n_bands=2):
    image = np.zeros(shape)
    gaussian(image, y, x, flux, sigma)
    return np.stack([image * (k + 1) for k in range(n_bands)])


@pytest.mark.parametrize("sigma", [1.2, 2.0, 5.0])
def test_measure_sources__isolated_source(gaussian, sigma):
    found = measure(one_source(gaussian, sigma=sigma, flux=1e5), peaks=[(50, 50)])
    assert found.y[0] == pytest.approx(50.2, abs=5e-3) and found.x[0] == pytest.approx(49.7, abs=5e-3)
    np.testing.assert_allclose(found.flux[:, 0], [1e5, 2e5], rtol=0.02)
    assert found.flux_radius_px[0] == pytest.approx(1.1774 * sigma, rel=0.08)
    assert found.flux_err[0, 0] == pytest.approx(np.sqrt(np.pi) * found.kron_radius_px[0])
    assert found.flags[0] == 0


def test_measure_sources__noise_gives_the_stated_errors(gaussian):
    rng = np.random.default_rng(1)
    centres = [(y, x) for y in range(30, 600, 60) for x in range(30, 600, 60)]
    clean = np.zeros((600, 600))
    for y, x in centres:
        gaussian(clean, y, x, 2000, 1.5)
    image = np.stack([clean, 0.02 * clean]) + rng.normal(0, 1, (2, 600, 600))
    found = measure(image, peaks=centres, bands=[0])
    pulls = (found.flux[1] - 40) / found.flux_err[1]
    assert abs(pulls.mean()) < 0.35
    assert pulls.std() == pytest.approx(1, abs=0.25)
    assert np.median(found.flux[0]) == pytest.approx(2000, rel=0.02)
    assert np.hypot(found.y - np.array(centres)[:, 0], found.x - np.array(centres)[:, 1]).max() < 0.15


def test_aperture_limits_px__stay_within_the_halo():
    for scale in (0.03, 0.1, 0.2, 1.2, 5.0):
        smallest, largest = aperture_limits_px(scale)
        assert 2 <= smallest <= largest <= MAX_APERTURE_PX
    assert aperture_limits_px(0.3)[0] == pytest.approx(1 / 0.3)


def test_measure_sources__a_neighbour_does_not_swell_the_aperture(gaussian):
    image = one_source(gaussian, flux=300, sigma=1.5)
    alone = measure(image, peaks=[(50, 50)])
    gaussian(image[0], 50, 70, 1e5, 2)
    near = measure(image, peaks=[(50, 50)])
    assert near.kron_radius_px[0] < 2 * alone.kron_radius_px[0]


def test_measure_sources__masked_pixels_are_made_up_for(gaussian):
    image = one_source(gaussian, flux=1e4, sigma=3)
    masked = np.zeros(image.shape, bool)
    masked[0, 50, 56:60] = True
    found = measure(image, masked=masked, peaks=[(50, 50)])
    assert decode_flags(found.flags[0]) == ["masked"]
    np.testing.assert_allclose(found.flux[:, 0], [1e4, 2e4], rtol=0.03)
    whole = measure(image, peaks=[(50, 50)])
    assert found.flux_err[0, 0] > 0.99 * whole.flux_err[0, 0]


def test_measure_sources__missing_band(gaussian):
    image = one_source(gaussian)
    image[1] = np.nan
    found = measure(image, peaks=[(50, 50)])
    assert decode_flags(found.flags[0]) == ["missing_band"]
    assert np.isnan(found.flux[1, 0]) and np.isnan(found.flux_err[1, 0])
    assert found.flux[0, 0] == pytest.approx(1000, rel=0.02)


def test_measure_sources__mostly_masked_is_missing(gaussian):
    image = one_source(gaussian)
    masked = np.zeros(image.shape, bool)
    masked[0, :, :52] = True
    found = measure(image, masked=masked, peaks=[(50, 50)], bands=[1])
    assert decode_flags(found.flags[0]) == ["masked", "missing_band"]
    assert np.isnan(found.flux[0, 0])


def test_measure_sources__edge_of_the_mosaic_and_of_the_coverage(gaussian):
    image = one_source(gaussian, y=1.0, x=50)
    gaussian(image[0], 60, 60, 1000, 2)
    image[:, :, 64:] = np.nan
    found = measure(image, peaks=[(1, 50), (60, 60)])
    assert decode_flags(found.flags[0]) == ["edge"]
    assert decode_flags(found.flags[1]) == ["masked", "edge"]
    inside = measure(image, peaks=[(1, 50)], open_edges=(True, False, False, False))
    assert decode_flags(inside.flags[0]) == ["truncated"]


def test_measure_sources__corner_of_the_coverage(gaussian):
    """A source of which three quarters are not seen has a flux of the right size, on the mosaic's corner and on a band's."""
    image = one_source(gaussian, y=0.3, x=0.2, flux=1e4)
    found = measure(image, peaks=[(0, 0)])
    assert decode_flags(found.flags[0]) == ["edge"]
    np.testing.assert_allclose(found.flux[:, 0], [1e4, 2e4], rtol=0.2)
    image = one_source(gaussian, flux=1e4)
    image[:, 51:] = np.nan
    image[:, :, 51:] = np.nan
    found = measure(image, peaks=[(50, 50)])
    assert decode_flags(found.flags[0]) == ["masked", "edge"]
    np.testing.assert_allclose(found.flux[:, 0], [1e4, 2e4], rtol=0.2)
    assert np.isfinite([found.flux_aper[:, 0], found.flux_err[:, 0]]).all()


@pytest.mark.parametrize("hole", [(48, 53, 55, 58), (0, 100, 52, 54), (0, 100, 53, 100), (50, 51, 49, 50)])
def test_measure_sources__masked_wing_or_core(gaussian, hole):
    """A wing takes its mirror image's light; a core that has none is made up for by the light of a Gaussian."""
    image = one_source(gaussian, flux=1e5, y=50.3, x=50.1)
    masked = np.zeros(image.shape, bool)
    masked[0, hole[0] : hole[1], hole[2] : hole[3]] = True
    found = measure(image, masked=masked, peaks=[(50, 50)], bands=[1])
    assert decode_flags(found.flags[0]) == ["masked"]
    np.testing.assert_allclose(found.flux[0, 0] / found.flux[1, 0], 0.5, rtol=0.04)
    np.testing.assert_allclose(found.flux_aper[0, 0] / found.flux_aper[1, 0], 0.5, rtol=0.04)


def test_measure_sources__masked_core_is_no_measurement(gaussian):
    image = one_source(gaussian, flux=1e5)
    masked = np.zeros(image.shape, bool)
    masked[0, 47:54, 46:54] = True
    found = measure(image, masked=masked, peaks=[(50, 50)], bands=[1])
    assert decode_flags(found.flags[0]) == ["masked", "missing_band"]
    assert np.isnan(found.flux[0, 0]) and np.isfinite(found.flux[1, 0])


def test_measure_sources__saturated_inside_an_aperture_alone(gaussian):
    image = one_source(gaussian)
    radius = measure(image, peaks=[(50, 50)]).kron_radius_px[0]
    for distance, expected in ((0, ["saturated"]), (int(radius) - 1, ["saturated"]), (int(radius) + 3, [])):
        saturated = np.zeros(image.shape, bool)
        saturated[1, 50, 50 + distance] = True
        found = measure(image, saturated=saturated, peaks=[(50, 50)])
        assert decode_flags(found.flags[0]) == expected
    np.testing.assert_allclose(found.flux[:, 0], [1000, 2000], rtol=0.02)


@pytest.mark.parametrize("sigma", [2.0, 3.0])
@pytest.mark.parametrize("aperture_arcsec", [1.5, 2.0, 4.0])
def test_measure_sources__fixed_aperture_of_a_gaussian(gaussian, sigma, aperture_arcsec):
    found = measure(one_source(gaussian, flux=1e5, sigma=sigma), peaks=[(50, 50)], aperture_arcsec=aperture_arcsec)
    radius = aperture_arcsec / 2 / SCALE
    inside = 1e5 * (1 - np.exp(-(radius**2) / (2 * sigma**2)))
    np.testing.assert_allclose(found.flux_aper[:, 0], [inside, 2 * inside], rtol=0.02)
    np.testing.assert_allclose(found.flux_aper_err[:, 0], np.sqrt(np.pi) * radius, rtol=1e-6)


def test_measure_sources__at_given_positions(gaussian):
    image = one_source(gaussian, flux=1e5)
    centred = measure(image, peaks=[(50, 50)])
    given_y, given_x = np.array([50.2, 54.2]), np.array([49.7, 49.7])
    significance, mask = detection_image(image.astype(np.float32), np.ones(image.shape, np.float32), [0, 1])
    pixels = Pixels.unmasked(image.astype(np.float32), np.ones(image.shape, np.float32), SCALE)
    flags = np.array([0, 2], np.int32)
    got = measure_sources(pixels, DetectionImage(significance, mask), given_y, given_x, flags, recentre=False)
    np.testing.assert_allclose([got.y, got.x], [given_y, given_x], atol=1 / 8192)
    assert got.flux_aper[0, 0] == pytest.approx(centred.flux_aper[0, 0], rel=1e-3)
    assert got.flux_aper[0, 1] < 0.6 * got.flux_aper[0, 0]
    assert got.flags.tolist() == [0, 2]


def test_measure_sources__no_centroid_and_flags_that_were_set(gaussian):
    image = np.full((2, 40, 40), -1.0)
    found = measure(image, peaks=[(20, 20)], flags=np.array([2], np.int32))
    assert decode_flags(found.flags[0]) == ["blended", "no_centroid"]
    assert (found.y[0], found.x[0]) == (20, 20)
    assert np.isnan(found.flux_radius_px[0]) and found.flux[0, 0] < 0
    assert found.kron_radius_px[0] == aperture_limits_px(SCALE)[0]


def test_measure_sources__none():
    found = measure(np.zeros((2, 30, 30)), peaks=[])
    assert found.flux.shape == found.flux_err.shape == (2, 0)
    assert found.y.shape == found.flags.shape == found.flux_radius_px.shape == (0,)


def measure_tiles(image, rms, grid):
    """Measurements of all owned sources, as bytes, by peak."""
    rows = {}
    for tile in grid:
        window = (slice(None), *tile.outer)
        edges = (tile.oy0 > 0, tile.oy1 < grid.ny, tile.ox0 > 0, tile.ox1 < grid.nx)
        significance, mask = detection_image(image[window], rms[window], [0, 1, 2])
        found = detect_sources(significance, mask, threshold_sigma=3.0, min_area_px=5, open_edges=edges)
        own = tile.owns(found.peak_y + tile.oy0, found.peak_x + tile.ox0)
        y, x = found.peak_y[own], found.peak_x[own]
        pixels = Pixels.unmasked(image[window], rms[window], SCALE, edges)
        got = measure_sources(pixels, DetectionImage(significance, mask, found), y, x, found.flags[own])
        for k in range(y.size):
            numbers = [
                got.y[k] + tile.oy0,
                got.x[k] + tile.ox0,
                got.flux_radius_px[k],
                got.kron_radius_px[k],
                *got.flux[:, k],
                *got.flux_err[:, k],
                *got.flux_aper[:, k],
                *got.flux_aper_err[:, k],
            ]
            rows[int(y[k]) + tile.oy0, int(x[k]) + tile.ox0] = (np.array(numbers).tobytes(), int(got.flags[k]))
    return rows


@pytest.mark.parametrize(("core_px", "halo_px"), [(128, 64), (192, 128), (320, 200)])
def test_measure_sources__bit_equal_however_the_sky_is_cut(crowded_sky, core_px, halo_px):
    image, rms = crowded_sky
    ny, nx = image.shape[1:]
    whole = measure_tiles(image, rms, TileGrid("m", ny, nx, 1024, 64))
    tiled = measure_tiles(image, rms, TileGrid("m", ny, nx, core_px, halo_px))
    for peak, (numbers, flags) in tiled.items():
        if peak in whole:
            assert numbers == whole[peak][0]
        if not has_flag(flags, "truncated"):
            assert (numbers, flags) == whole[peak]


def test_measure_sources__threads_give_the_same(crowded_sky):
    image, rms = crowded_sky
    grid = TileGrid("m", *image.shape[1:], 1024, 64)
    serial = measure_tiles(image, rms, grid)
    with ThreadPoolExecutor(4) as pool:
        assert all(rows == serial for rows in pool.map(lambda _: measure_tiles(image, rms, grid), range(6)))
