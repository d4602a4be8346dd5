import numpy as np
import pytest

from surveycnn.sources.bad_pixels import REACH_PX, bridge_holes, raise_saturated
from surveycnn.sources.detect import detect_sources, detection_image, smooth


def star(level, shape=(201, 201)):
    """(3, y, x) a bright star at (100.3, 99.8), noise, and what saturates at `level`, with a trail along y."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    profile = 1e6 * (1 + ((y - 100.3) ** 2 + (x - 99.8) ** 2) / 2.5**2) ** -2.2
    image = np.stack([profile * scale for scale in (0.7, 1, 1.2)])
    image += np.random.default_rng(0).normal(0, 1, image.shape)
    bad = image[2] > level
    bad[40:150, 99:102] = True
    return image.astype(np.float32), bad


def peaks(image, saturated, threshold=3.0):
    rms = np.where(np.isnan(image), np.float32(np.nan), np.float32(1))
    significance, mask = detection_image(image, rms, [0, 1, 2])
    smoothed = bridge_holes(raise_saturated(smooth(significance, mask, normalise=True), saturated), mask)
    found = detect_sources(significance, mask, threshold_sigma=threshold, min_area_px=5, smoothed=smoothed)
    near = np.hypot(found.peak_y - 100, found.peak_x - 100) < 70
    return list(zip(found.peak_y[near].tolist(), found.peak_x[near].tolist(), strict=True))


@pytest.mark.parametrize("level", [1e4, 3e4, 3e5])
def test_bridge_holes__a_star_without_its_core_is_one_source(level):
    image, bad = star(level)
    image[:, bad] = np.nan
    found = peaks(image, np.zeros(bad.shape, bool))
    assert len(found) == 1 and not bad[found[0]], "one, whose peak has data"


@pytest.mark.parametrize("scatter", [0.0, 0.003])
@pytest.mark.parametrize("level", [3e3, 3e4, 3e5])
def test_raise_saturated__the_peak_of_a_plateau_is_its_widest_part(level, scatter):
    image, bad = star(level)
    image[:, bad] = level * (1 + scatter * np.random.default_rng(1).normal(size=bad.sum()))
    assert peaks(image, bad) == [(100, 100)]


def test_bridge_holes__large_ones_stay_empty_inside():
    image = np.full((60, 60), 5, np.float32)
    mask = np.zeros(image.shape, bool)
    mask[10:50, 10:50] = True
    image[mask] = 0
    filled = bridge_holes(image, mask)
    assert (filled[~mask] == 5).all()
    assert not filled[18:42, 18:42].any()
    assert (filled[10:18, 20:40] > 4.5).all() and (filled[mask] < 5).all()


def test_bad_pixels__do_not_depend_on_the_window():
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (160, 170)).astype(np.float32)
    mask, saturated = rng.random(image.shape) < 0.2, np.zeros(image.shape, bool)
    mask[60:90, 50:55], saturated[70:110, 80:120] = True, True
    image[mask] = 0
    whole = bridge_holes(raise_saturated(image, saturated), mask)
    cut = (slice(31, 131), slice(13, 140))
    part = bridge_holes(raise_saturated(image[cut], saturated[cut]), mask[cut])
    inner = (slice(REACH_PX, -REACH_PX),) * 2
    assert part[inner].tobytes() == whole[cut][inner].tobytes()


def test_bad_pixels__none():
    image, nothing = np.ones((5, 6), np.float32), np.zeros((5, 6), bool)
    assert bridge_holes(image, nothing) is image and raise_saturated(image, nothing) is image
    assert not bridge_holes(np.zeros((5, 6), np.float32), ~nothing).any()
