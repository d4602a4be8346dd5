"""What surveys write where they have no data, and how it arrives: NaN in the image, 0 in the weight, bits for the rest."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.sky.strips import MASKED, SATURATED, STRIP_PX, ZERO_RUN_PX, inverse_variance, open_maps, read_strips, zero_runs

NY, NX = 300, 60


@pytest.fixture
def pixels():
    return np.random.default_rng(3).normal(10, 1, (NY, NX)).astype(np.float32)


@pytest.fixture
def strips_of(tmp_path):
    """Function (image, header, maps, keys) -> image, weight and bits of the whole band in data units (factor 1)."""

    def read(image, header=None, keys=None, **maps):
        paths = {}
        for name, values in {"path": image, **maps}.items():
            paths[name] = str(tmp_path / f"{name}.fits")
            fits.writeto(paths[name], values, fits.Header(header or {}) if name == "path" else None, overwrite=True)
        config = ImageConfig(band="g", zeropoint=31.4, **paths, **(keys or {}))
        with open_maps(config) as opened:
            strips = list(read_strips(opened, config, 1.0))
        assert [strip.y0 for strip in strips] == list(range(0, image.shape[-2], STRIP_PX))
        weight = None if strips[0].weight is None else np.concatenate([strip.weight for strip in strips])
        return np.concatenate([s.image for s in strips]), weight, np.concatenate([s.bits for s in strips])

    return read


def test_read_strips__gives_every_row_once(strips_of, pixels):
    image, weight, bits = strips_of(pixels)
    np.testing.assert_array_equal(image, pixels)
    assert weight is None and not bits.any()


@pytest.mark.parametrize("kind", ["variance", "rms"])
@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, np.inf, 1e16, 1e20, 1e30])
def test_read_strips__no_data_in_noise_maps(strips_of, pixels, kind, value):
    noise = np.full((NY, NX), 4.0, np.float32)
    noise[140:150, 7] = value
    image, weight, _ = strips_of(pixels, **{kind: noise})
    expected = np.zeros((NY, NX), bool)
    expected[140:150, 7] = True
    np.testing.assert_array_equal(np.isnan(image), expected)
    np.testing.assert_array_equal(weight == 0, expected)
    assert weight[0, 0] == pytest.approx(1 / 4 if kind == "variance" else 1 / 16)


def test_read_strips__weights_may_be_large(strips_of, pixels):
    """Of an image in maggies: noise of 1e-12 is a weight of 1e24."""
    image, weight, _ = strips_of(pixels * 1e-12, weight=np.full((NY, NX), 1e24, np.float32))
    assert np.isfinite(image).all() and weight[0, 0] == pytest.approx(1e24)


def test_read_strips__value_without_data(strips_of, pixels):
    pixels[5, 5:8] = -99.0
    assert np.isnan(strips_of(pixels, keys={"nodata": -99.0})[0]).sum() == 3
    assert not np.isnan(strips_of(pixels)[0]).any()


def test_read_strips__padding_of_zeros(strips_of, pixels):
    pixels[:, -20:] = 0  # padding
    pixels[7, :3] = 0  # chance
    image, *_ = strips_of(pixels)
    assert np.isnan(image[:, -20:]).all() and not np.isnan(image[:, :-20]).any()
    counts = pixels.astype(np.int16)  # zeros of integers are counts
    assert not np.isnan(strips_of(counts)[0]).any()
    weighted, *_ = strips_of(pixels, weight=np.ones((NY, NX), np.float32))
    assert not np.isnan(weighted).any()


@given(row=st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0]), min_size=1, max_size=70))
def test_zero_runs__are_what_a_loop_finds(row):
    pixels = np.array([row, row[::-1]])
    found = zero_runs(pixels)
    found = np.zeros(pixels.shape, bool) if found is None else found
    for values, marks in zip(pixels, found, strict=True):
        for x in range(values.size):
            left, right = x, x
            while left > 0 and values[left - 1] == 0:
                left -= 1
            while right < values.size - 1 and values[right + 1] == 0:
                right += 1
            assert marks[x] == (values[x] == 0 and right - left + 1 >= ZERO_RUN_PX)


def test_read_strips__saturation(strips_of, pixels):
    pixels[130, 3], pixels[131, 3] = 500, 499
    for header, keys, expected in [
        ({}, {}, 0),
        ({"SATURATE": 500.0}, {}, 1),
        ({"SATURATE": 500.0}, {"saturation": 499.0}, 2),
        ({"SATURATE": 0.0}, {}, 0),
        ({"SATURATE": "unknown"}, {}, 0),
    ]:
        image, _, bits = strips_of(pixels, header, keys)
        assert np.count_nonzero(bits == SATURATED) == np.count_nonzero(bits) == expected
        assert image[130, 3] == 500  # it stays what it is


def test_read_strips__mask_and_nan_in_a_mask(strips_of, pixels):
    mask = np.zeros((NY, NX), np.float32)
    mask[200, 1:4] = [1, 16, np.nan]
    image, _, bits = strips_of(pixels, mask=mask)
    assert np.count_nonzero(bits == MASKED) == 3 and np.isfinite(image).all()


def test_open_maps__cube_of_maps_takes_the_plane_of_the_image(strips_of, pixels):
    cube = np.stack([pixels, pixels + 1, pixels + 2])
    rms = np.stack([np.full((NY, NX), value, np.float32) for value in (1, 2, 4)])
    image, weight, bits = strips_of(cube, keys={"plane": 2}, rms=rms, mask=np.ones((NY, NX), np.uint8))
    np.testing.assert_array_equal(image, pixels + 2)
    assert (weight == 1 / 16).all() and (bits == MASKED).all()


def test_open_maps__map_of_another_shape(strips_of, pixels):
    with pytest.raises(InputError, match=r"rms '.*' has shape \(10, 60\), expected \(300, 60\) as its image"):
        strips_of(pixels, rms=np.ones((10, NX), np.float32))


@pytest.mark.parametrize("tile", [(1, NX), (100, 50), (NY, NX)])
def test_read_strips__tile_compressed(tmp_path, pixels, tile):
    path = str(tmp_path / "r.fits.fz")
    counts = (100 * pixels).astype(np.int32)
    hdu = fits.CompImageHDU(counts, compression_type="RICE_1", tile_shape=tile)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    config = ImageConfig(band="g", path=path)
    with open_maps(config) as opened:
        assert opened["image"].tile_rows == tile[0]
        image = np.concatenate([strip.image for strip in read_strips(opened, config, 1.0)])
    np.testing.assert_array_equal(image, counts.astype(np.float32))


@given(st.floats(1e-30, 1e10), st.sampled_from(["weight", "variance", "rms"]))
def test_inverse_variance__says_the_same_of_all_kinds(rms, kind):
    values = np.array([{"weight": rms**-2, "variance": rms**2, "rms": rms}[kind], 0.0])
    weight = inverse_variance(values, kind, factor=1 / rms)  # one data unit is 1 / rms nJy: the noise is 1 nJy
    expected = 0.0 if kind == "variance" and rms**2 >= 1e15 or values[0] in (0, np.inf) else 1.0
    np.testing.assert_allclose(weight, [expected, 0], rtol=1e-5)
