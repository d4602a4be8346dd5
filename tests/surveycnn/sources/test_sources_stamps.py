import numpy as np
import pytest

from surveycnn.sources.stamps import cut_stamps


@pytest.fixture
def star(gaussian):
    """(1, 400, 400) image of a Gaussian of flux 1000 that is well sampled at `sigma` pixels."""

    def make(sigma, y=200.3, x=198.8):
        image = np.zeros((400, 400))
        gaussian(image, y, x, 1000, sigma)
        return image[None].astype(np.float32), np.array([y]), np.array([x])

    return make


def test_cut_stamps__whole_pixels():
    image = np.arange(2 * 30 * 40, dtype=np.float32).reshape(2, 30, 40)
    stamps = cut_stamps(image, np.array([15.2, 10.0]), np.array([20.4, 9.6]), 5, 1.0)
    assert stamps.shape == (2, 5, 5, 2) and stamps.dtype == np.float32
    np.testing.assert_array_equal(stamps[0], np.moveaxis(image[:, 13:18, 18:23], 0, -1))
    np.testing.assert_array_equal(stamps[1], np.moveaxis(image[:, 8:13, 8:13], 0, -1))


def test_cut_stamps__even_size_is_within_half_a_pixel():
    image = np.zeros((1, 30, 30), np.float32)
    image[0, 14:16, 14:16] = 1
    stamp = cut_stamps(image, np.array([14.5]), np.array([14.5]), 4, 1.005)[0, :, :, 0]
    assert stamp[1:3, 1:3].sum() == 4


@pytest.mark.parametrize(("step", "sigma"), [(0.2 / 0.3, 1.5), (0.2 / 1.19, 1.2), (2.0, 4.0), (1.3, 2.0), (0.2 / 0.05, 8.0)])
def test_cut_stamps__flux_centre_and_width_survive(star, step, sigma):
    image, y, x = star(sigma)
    size = int(2 * np.ceil(5 * sigma / step) + 10)
    stamp = cut_stamps(image, y, x, size, step)[0, :, :, 0].astype(float)
    assert stamp.sum() == pytest.approx(1000, rel=0.01)
    grid = np.arange(size) - (size - 1) / 2
    assert (stamp.sum(1) * grid).sum() / stamp.sum() == pytest.approx(0, abs=0.02)
    assert (stamp.sum(0) * grid).sum() / stamp.sum() == pytest.approx(0, abs=0.02)
    expected = sigma / step
    width = np.sqrt((stamp.sum(1) * grid**2).sum() / stamp.sum())
    assert width == pytest.approx(expected, rel=0.06)


def test_cut_stamps__constant_sky_scales_with_the_area():
    image = np.full((1, 50, 50), 3, np.float32)
    for step in (0.5, 1.5, 2.0):
        stamp = cut_stamps(image, np.array([25.1]), np.array([24.6]), 12, step)
        np.testing.assert_allclose(stamp, 3 * step**2, rtol=1e-5)


@pytest.mark.parametrize("step", [0.5, 0.999, 1.7])
def test_cut_stamps__no_data_outside_and_in_holes(step):
    image = np.random.default_rng(1).normal(10, 1, (2, 60, 60)).astype(np.float32)
    image[0, 20:24, 20:24] = np.nan
    size = 21
    stamps = cut_stamps(image, np.array([22.0, 0.0]), np.array([22.0, 59.0]), size, step)
    grid = np.arange(size) - (size - 1) / 2
    near = np.floor(22.0 + grid * step + 0.5)
    in_hole = (near >= 20) & (near < 24)
    np.testing.assert_array_equal(np.isnan(stamps[0, :, :, 0]), in_hole[:, None] & in_hole)
    assert not np.isnan(stamps[0, :, :, 1]).any()
    outside_y, outside_x = np.floor(grid * step + 0.5) < 0, np.floor(59 + grid * step + 0.5) > 59
    np.testing.assert_array_equal(np.isnan(stamps[1, :, :, 1]), outside_y[:, None] | outside_x)
    # beside a hole the values stay those of the sky, without rims
    good = stamps[0, :, :, 0][~np.isnan(stamps[0, :, :, 0])]
    assert np.abs(good / max(step, 0.999) ** 2 - 10).max() < 6 or step == 0.5
    if step == 0.5:
        assert good.min() > 0.25 * 5 and good.max() < 0.25 * 15


def test_cut_stamps__wholly_outside():
    stamps = cut_stamps(np.ones((1, 20, 20), np.float32), np.array([-100.0, 500.0]), np.array([10.0, 10.0]), 8, 0.7)
    assert np.isnan(stamps).all()


@pytest.mark.parametrize("step", [1.0, 0.66, 2.0])
def test_cut_stamps__none(step):
    assert cut_stamps(np.ones((3, 20, 20), np.float32), np.zeros(0), np.zeros(0), 8, step).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("step", [1.0, 0.6612, 1.4])
def test_cut_stamps__do_not_depend_on_the_others_nor_on_the_window(monkeypatch, step):
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, (3, 300, 200)).astype(np.float32)
    image[1, 100:120, 50:60] = np.nan
    y, x = np.floor(rng.uniform(40, [[260], [160]][0], 50) * 8192) / 8192, np.floor(rng.uniform(40, 160, 50) * 8192) / 8192
    together = cut_stamps(image, y, x, 24, step)
    for k in (0, 17, 49):
        assert cut_stamps(image, y[k : k + 1], x[k : k + 1], 24, step)[0].tobytes() == together[k].tobytes()
    inner = cut_stamps(image[:, 7:, 13:], y - 7, x - 13, 24, step)
    assert inner.tobytes() == together.tobytes()
    monkeypatch.setattr("surveycnn.sources.stamps._BATCH_VALUES", 20_000)
    assert cut_stamps(image, y, x, 24, step).tobytes() == together.tobytes()
