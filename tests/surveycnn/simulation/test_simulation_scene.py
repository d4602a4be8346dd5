import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from surveycnn.errors import ConfigError
from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY
from surveycnn.simulation.population import njy
from surveycnn.simulation.scene import simulate_mosaic

SMALL = {"ny": 340, "nx": 460, "bands": ("g", "r", "i"), "seed": 3, "n_lenses": 1, "n_mergers": 1, "density": 3.0}


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaic")
    return folder, simulate_mosaic(folder, **SMALL)


def test_simulate_mosaic__files(mosaic):
    folder, truth = mosaic
    assert sorted(path.name for path in folder.iterdir()) == ["g.fits", "i.fits", "r.fits", "truth.fits"]
    read = Table.read(folder / "truth.fits")
    np.testing.assert_array_equal(read["x"], truth["x"])
    assert sorted(set(read["kind"])) == ["galaxy", "lens", "merger", "star"]


def test_simulate_mosaic__images(mosaic):
    folder, _ = mosaic
    for band in "gri":
        with fits.open(folder / f"{band}.fits") as hdus:
            image, header = hdus[0].data, hdus[0].header
            assert image.shape == (340, 460) and image.dtype == np.dtype(">f4")
            assert (header["MAGZP"], header["FILTER"]) == (27.0, band)
            assert 0.0 < np.isnan(image).mean() < 0.05
            assert np.nanmedian(image) > 20.0 * header["SKYRMS"]  # the sky is not subtracted


def test_simulate_mosaic__truth_matches_the_wcs(mosaic):
    folder, truth = mosaic
    wcs = WCS(fits.getheader(folder / "i.fits"))
    y, x = truth["y"], truth["x"]
    ra, dec = wcs.all_pix2world(x, y, 0)
    np.testing.assert_allclose(truth["ra"], ra, atol=1e-9)
    np.testing.assert_allclose(truth["dec"], dec, atol=1e-9)
    assert truth["ra"].unit == "deg" and 150.0 < truth["ra"][0] < 150.2


def test_simulate_mosaic__objects_stand_where_the_truth_says(mosaic):
    folder, truth = mosaic
    image = fits.getdata(folder / "i.fits").astype(float)
    image -= np.nanmedian(image)
    stars = truth[(truth["kind"] == "star") & (truth["mag_i"] < 21.0)]
    bright = stars[(stars["x"] > 20) & (stars["x"] < 440) & (stars["y"] > 20) & (stars["y"] < 320)]
    assert len(bright) >= 3
    close = []
    for row in bright:
        y, x = int(round(row["y"])), int(round(row["x"]))
        cut = np.clip(np.nan_to_num(image[y - 12 : y + 13, x - 12 : x + 13]), 0, None)
        centre = cut[8:17, 8:17]
        offsets = np.arange(-4, 5)
        place = (centre.sum(1) * offsets).sum() / centre.sum() + y, (centre.sum(0) * offsets).sum() / centre.sum() + x
        flux = cut.sum() * 10 ** (0.4 * (AB_ZEROPOINT_NJY - 27.0))
        close.append(np.hypot(place[0] - row["y"], place[1] - row["x"]) < 0.4 and abs(flux / njy(row["mag_i"]) - 1) < 0.15)
    assert np.mean(close) > 0.6  # the others have neighbours


def test_simulate_mosaic__planted_objects_stand_apart(mosaic):
    _, truth = mosaic
    planted = truth[(truth["kind"] == "lens") | (truth["kind"] == "merger")]
    assert len(planted) == 2
    assert np.hypot(*(planted[name][0] - planted[name][1] for name in "yx")) > 60
    assert (planted["x"] > 50).all() and (planted["x"] < 410).all() and (planted["y"] > 50).all() and (planted["y"] < 290).all()
    assert np.isfinite(planted["redshift"]).all()


def test_simulate_mosaic__deterministic(mosaic, tmp_path):
    folder, _ = mosaic
    simulate_mosaic(tmp_path, **SMALL)
    for name in ("g.fits", "i.fits", "truth.fits"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_simulate_mosaic__errors(tmp_path):
    with pytest.raises(ConfigError, match="200 x 200 px has room for 0 planted lenses and mergers, not for 16"):
        simulate_mosaic(tmp_path / "a", ny=200, nx=200)
    with pytest.raises(ConfigError, match=r"cannot simulate bands \['H'\]: choose from"):
        simulate_mosaic(tmp_path / "a", bands=("H",))
    with pytest.raises(ConfigError, match="magnitudes are drawn in 'i'"):
        simulate_mosaic(tmp_path / "a", bands=("g", "r"))
    assert not (tmp_path / "a").exists()
