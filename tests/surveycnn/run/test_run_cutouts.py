"""Cutouts of the rows of a catalog."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits

import surveycnn
from surveycnn.errors import CatalogError


@pytest.fixture(scope="module")
def catalog(small_run):
    return surveycnn.open_catalog(small_run)


def test_cutouts__are_pixels_of_the_mosaic_without_the_sky(catalog, sky):
    rows = catalog.where("x > 60 and x < 250 and y > 60 and y < 150").top(3, by="flux_r")
    image = fits.getdata(sky / "r.fits") * 10 ** (0.4 * (31.4 - 27))  # nJy
    for row, cutout in zip(rows.to_arrow().to_pylist(), surveycnn.cutouts(rows, size_arcsec=5), strict=True):
        assert cutout.source_id == row["source_id"] and cutout.bands == ("g", "r", "i", "z")
        assert cutout.pixels.shape == (4, 25, 25) and cutout.pixels.dtype == np.float32
        y, x = round(row["y"]), round(row["x"])
        sky_level = image[y - 12 : y + 13, x - 12 : x + 13] - cutout["r"]
        assert np.ptp(sky_level) < 0.02 * np.ptp(cutout["r"])
        assert np.max(cutout["r"][11:14, 11:14]) == np.max(cutout["r"])


def test_cutouts__have_a_wcs(catalog):
    rows = catalog.top(2, by="flux_r")
    for row, cutout in zip(rows.to_arrow().to_pylist(), surveycnn.cutouts(rows, bands=["r"]), strict=True):
        x, y = cutout.wcs.all_world2pix(row["ra"], row["dec"], 0)
        assert abs(x - 31.5) <= 0.51 and abs(y - 31.5) <= 0.51


def test_cutouts__beyond_the_mosaic_is_no_data(catalog):
    row = catalog.where("x < 20").top(1, by="flux_r")
    (cutout,) = surveycnn.cutouts(row)
    assert np.isnan(cutout.pixels[:, :, 0]).all() and np.isfinite(cutout.pixels[:, :, -1]).any()
    assert (cutout.rgb[:, 0] == cutout.rgb[0, 0]).all()


def test_cutouts__give_pictures(catalog):
    (cutout,) = surveycnn.cutouts(catalog.top(1, by="flux_r"))
    assert cutout.rgb.shape == (64, 64, 3) and cutout.rgb.dtype == np.uint8
    assert cutout.rgb[32, 32].mean() > cutout.rgb[0, 0].mean()
    assert "64 x 64 px of 0.2 arcsec" in repr(cutout)


def test_cutouts__refuse_what_cannot_be_cut(catalog, small_run, tmp_path):
    one = catalog.top(1, by="flux_r")
    with pytest.raises(CatalogError, match="size_arcsec is 0, expected more than 0"):
        surveycnn.cutouts(one, size_arcsec=0)
    with pytest.raises(CatalogError, match="no band 'Y' in the catalog: it has g, r, i, z"):
        surveycnn.cutouts(one, bands=["Y"])
    with pytest.raises(CatalogError, match="need the catalog of a run"):
        surveycnn.cutouts(catalog.crossmatch(catalog))
    (cutout,) = surveycnn.cutouts(one, bands=["g"])
    with pytest.raises(CatalogError, match="has no band 'r': it has g"):
        cutout["r"]
    moved = tmp_path / "moved"
    shutil.copytree(small_run, moved, ignore=shutil.ignore_patterns("work"))
    record = json.loads((moved / "provenance.json").read_text())
    record["config"]["work_dir"] = str(tmp_path / "gone")
    (moved / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(CatalogError, match="which holds the pixels, is gone"):
        next(surveycnn.cutouts(surveycnn.open_catalog(moved)))
