import numpy as np
import pytest
from astropy.wcs import WCS

from surveycnn.sky.wcs import local_jacobian
from surveycnn.sources.stamps import cut_stamps
from surveycnn.sources.turned_stamps import cut_turned_stamps, sky_matrices

SCALE = 0.2


def tangent_plane(degrees=0.0, pixel_scale=0.3, mirrored=False, middle=(100.0, 100.0)):
    """WCS with north turned by `degrees` from the columns; `mirrored` with east to the right where north is up."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, -35.0]
    wcs.wcs.crpix = [middle[1] + 1, middle[0] + 1]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    wcs.wcs.cd = pixel_scale / 3600 * np.diag([1.0 if mirrored else -1.0, 1.0]) @ turn
    return wcs


def draw(wcs, shape=(201, 201)):
    """(1, y, x) a bright source, a fainter one 3 arcsec to its north, and the faintest 2 arcsec to its east; seeing 1 arcsec."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    jacobian = local_jacobian(wcs, np.array([100.0]), np.array([100.0]))[0]
    east, north = np.einsum("ij,jyx->iyx", jacobian, np.stack([x - 100.0, y - 100.0]))
    image = np.zeros(shape)
    for flux, e, n in ((1000, 0, 0), (500, 0, 3), (250, 2, 0)):
        image += flux * np.exp(-((east - e) ** 2 + (north - n) ** 2) / (2 * 0.45**2)) / (2 * np.pi * 0.45**2)
    return (image * abs(np.linalg.det(jacobian)))[None].astype(np.float32)


def sky_stamp(wcs, image, size=64, y=100.0, x=100.0):
    matrix = sky_matrices(local_jacobian(wcs, np.array([x]), np.array([y])), SCALE)
    return cut_turned_stamps(image, np.array([y]), np.array([x]), size, matrix)[0]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 180.0, 237.0])
@pytest.mark.parametrize("pixel_scale", [0.3, 0.12])
def test_cut_turned_stamps__show_the_same_sky(mirrored, degrees, pixel_scale):
    wcs = tangent_plane(degrees, pixel_scale, mirrored)
    stamp = sky_stamp(wcs, draw(wcs))[:, :, 0]
    north, west = (np.mgrid[:64, :64] - 31.5) * SCALE
    expected = sum(
        flux * np.exp(-((west + e) ** 2 + (north - n) ** 2) / (2 * 0.45**2)) * SCALE**2 / (2 * np.pi * 0.45**2)
        for flux, e, n in ((1000, 0, 0), (500, 0, 3), (250, 2, 0))
    )
    assert stamp.sum() == pytest.approx(1750, rel=0.01)
    assert np.abs(stamp - expected).max() < 0.03 * expected.max()
    row, col = np.unravel_index(np.argmax(np.where(north > 2, stamp, 0)), stamp.shape)
    assert row in (46, 47) and col in (31, 32), "north is up"
    assert stamp[31:33, 20:24].max() > 5 * stamp[31:33, 41:45].max(), "east is left"


@pytest.mark.parametrize("step", [0.66, 1.3, 2.0])
def test_cut_turned_stamps__unturned_are_those_of_the_mosaic(step):
    image = np.random.default_rng(2).normal(10, 1, (2, 120, 130)).astype(np.float32)
    image[1, 50:56, 60:64] = np.nan
    y, x = np.array([55.0, 60.37, 1.0]), np.array([61.5, 70.11, 128.0])
    matrix = np.tile(np.diag([step, step]), (3, 1, 1))
    expected = cut_stamps(image, y, x, 20, step)
    found = cut_turned_stamps(image, y, x, 20, matrix)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_cut_turned_stamps__do_not_depend_on_the_others_nor_on_the_window(monkeypatch):
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, (3, 300, 200)).astype(np.float32)
    image[1, 100:120, 50:60] = np.nan
    y = np.floor(rng.uniform(40, 260, 40) * 8192) / 8192
    x = np.floor(rng.uniform(40, 160, 40) * 8192) / 8192
    matrix = rng.normal(0, 0.7, (40, 2, 2))
    together = cut_turned_stamps(image, y, x, 24, matrix)
    for k in (0, 17, 39):
        alone = cut_turned_stamps(image, y[k : k + 1], x[k : k + 1], 24, matrix[k : k + 1])
        assert alone[0].tobytes() == together[k].tobytes()
    assert cut_turned_stamps(image[:, 7:, 13:], y - 7, x - 13, 24, matrix).tobytes() == together.tobytes()
    monkeypatch.setattr("surveycnn.sources.turned_stamps._BATCH_VALUES", 50_000)
    assert cut_turned_stamps(image, y, x, 24, matrix).tobytes() == together.tobytes()


def test_cut_turned_stamps__no_data():
    wcs = tangent_plane(40.0)
    image = draw(wcs)
    image[0, 110:, :] = np.nan
    stamp = sky_stamp(wcs, image)[:, :, 0]
    clean = sky_stamp(wcs, draw(wcs))[:, :, 0]
    assert 0.1 < np.isnan(stamp).mean() < 0.4
    # where pixels are missing under the kernel the nearest one stands in
    same = ~np.isnan(stamp)
    assert np.median(np.abs(stamp - clean)[same]) < 1e-3


def test_cut_turned_stamps__none_and_without_a_sky():
    image = np.ones((2, 30, 30), np.float32)
    assert cut_turned_stamps(image, np.zeros(0), np.zeros(0), 8, np.zeros((0, 2, 2))).shape == (0, 8, 8, 2)
    matrix = sky_matrices(np.array([[[np.nan, 0.3], [0.3, 0.0]], [[0.3, 0.3], [0.3, 0.3]], [[-0.3, 0.0], [0.0, 0.3]]]), SCALE)
    stamps = cut_turned_stamps(image, np.full(3, 15.0), np.full(3, 15.0), 8, matrix)
    assert np.isnan(stamps[:2]).all()
    np.testing.assert_allclose(stamps[2], 4 / 9, rtol=1e-4)
