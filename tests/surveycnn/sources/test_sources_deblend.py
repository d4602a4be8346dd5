import numpy as np
import pytest

from surveycnn.sources.deblend import find_objects


def objects_of(image, threshold=1.0, min_area_px=5, contrast=0.005):
    above = image > threshold
    objects = find_objects(image, above, min_area_px=min_area_px, contrast=contrast)
    y, x = np.nonzero(above)
    return list(zip(y[objects.peak].tolist(), x[objects.peak].tolist(), strict=True)), objects


def blobs(gaussian, *sources, shape=(60, 80)):
    image = np.zeros(shape, np.float64)
    for y, x, flux, sigma in sources:
        gaussian(image, y, x, flux, sigma)
    return image.astype(np.float32)


def test_find_objects__separate_families(gaussian):
    peaks, objects = objects_of(blobs(gaussian, (20, 20, 500, 2), (40, 60, 500, 2)))
    assert peaks == [(20, 20), (40, 60)]
    assert len(set(objects.family)) == 2


def test_find_objects__two_summits_of_one_family(gaussian):
    peaks, objects = objects_of(blobs(gaussian, (30, 30, 2000, 3), (30, 40, 1000, 3)))
    assert peaks == [(30, 30), (30, 40)]
    assert len(set(objects.family)) == 1
    assert set(objects.of_pixel) == {0, 1}


@pytest.mark.parametrize(("contrast", "n_expected"), [(0.001, 2), (0.1, 1)])
def test_find_objects__contrast_decides(gaussian, contrast, n_expected):
    image = blobs(gaussian, (30, 30, 20000, 6), (30, 47, 700, 2.5))
    peaks, objects = objects_of(image, contrast=contrast)
    assert len(peaks) == n_expected and peaks[0] == (30, 30)
    assert set(objects.of_pixel) == set(range(n_expected))


def test_find_objects__star_on_the_wing_of_a_much_brighter_one(gaussian):
    yy, xx = np.mgrid[:60, :80]
    image = 1e5 * (1 + ((yy - 30.0) ** 2 + (xx - 25.0) ** 2) / 4) ** -2
    assert objects_of(image.astype(np.float32))[0] == [(30, 25)]
    gaussian(image, 30, 50, 600, 1.5)
    assert objects_of(image.astype(np.float32))[0] == [(30, 25), (30, 50)]


def test_find_objects__small_families_are_dropped():
    image = np.zeros((20, 20), np.float32)
    image[5, 5:9] = 3
    image[15, 5:10] = 3
    peaks, objects = objects_of(image)
    assert peaks == [(15, 5)]
    assert (objects.of_pixel == -1).sum() == 4


def test_find_objects__a_spike_is_no_object_of_its_own(gaussian):
    image = blobs(gaussian, (30, 30, 20000, 6))
    image[30, 40] += 3
    assert objects_of(image)[0] == [(30, 30)]


def test_find_objects__flat_top_is_one_object():
    image = np.zeros((30, 30), np.float32)
    image[5:20, 5:9] = image[5:20, 15:19] = image[15:20, 5:19] = 7
    assert objects_of(image)[0] == [(5, 5)]


def test_find_objects__checkerboard_of_equal_pixels_is_no_trouble():
    image = np.full((200, 200), 2, np.float32)
    image[::2, ::2] = 3
    assert len(objects_of(image)[0]) == 1


def test_find_objects__thousands_of_objects_in_one_family(gaussian):
    rng = np.random.default_rng(1)
    image = np.full((512, 512), 1.5)
    for y in range(4, 512, 8):
        for x in range(4, 512, 8):
            gaussian(image, y, x, 100 * rng.uniform(1, 2), 1.5)
    peaks, objects = objects_of(image.astype(np.float32), contrast=0)
    assert len(peaks) == 64 * 64
    assert np.bincount(objects.of_pixel).min() >= 5


def test_find_objects__is_the_same_at_any_place(gaussian):
    rng = np.random.default_rng(2)
    image = blobs(gaussian, *[(*rng.uniform(15, [45, 65]), rng.uniform(100, 3000), rng.uniform(1, 4)) for _ in range(12)])
    image += rng.normal(0, 0.2, image.shape).astype(np.float32)
    image[0], image[-1], image[:, 0], image[:, -1] = 0, 0, 0, 0
    expected, reference = objects_of(image)
    assert len(expected) > 3
    for dy, dx in ((1, 0), (17, 5), (100, 333)):
        shifted = np.zeros((200, 450), np.float32)
        shifted[dy : dy + 60, dx : dx + 80] = image
        peaks, objects = objects_of(shifted)
        assert peaks == [(y + dy, x + dx) for y, x in expected]
        np.testing.assert_array_equal(objects.of_pixel, reference.of_pixel)


@pytest.mark.parametrize(("extra", "n_expected"), [(0.35, 1), (9.0, 2)])
def test_find_objects__a_bump_as_faint_as_the_noise_is_no_object(gaussian, extra, n_expected):
    """A branch of some pixels and little light, which the contrast alone would let pass on a faint source."""
    image = blobs(gaussian, (30, 30, 100, 2.0))
    image[29:32, 38:43] = 1.3
    image[28:33, 32:38] = np.maximum(image[28:33, 32:38], 1.2)
    image[30, 40] = 1.3 + extra
    peaks, _ = objects_of(image, min_area_px=5)
    assert len(peaks) == n_expected
