"""Mosaics whose axes are not right ascension and declination: the page speaks ICRS all the same, as the catalog does."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from surveycnn.catalogs.query import open_catalog
from surveycnn.report.pixels import compass
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.wcs import wcs_text
from surveycnn.view.mosaics import Mosaics

CENTRE = SkyCoord(150.0, 2.0, unit="deg")
NY, NX = 80, 120


def frame(kind: str) -> WCS:
    wcs = WCS(naxis=2)
    if kind == "galactic":
        centre = CENTRE.galactic
        wcs.wcs.ctype, wcs.wcs.crval = ["GLON-TAN", "GLAT-TAN"], [centre.l.deg, centre.b.deg]
        wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    else:
        wcs.wcs.ctype, wcs.wcs.crval = ["DEC--TAN", "RA---TAN"], [CENTRE.dec.deg, CENTRE.ra.deg]
        wcs.wcs.cdelt = [0.2 / 3600, 0.2 / 3600]
    wcs.wcs.crpix = [(NX + 1) / 2, (NY + 1) / 2]
    return wcs


@pytest.fixture(params=["galactic", "declination first"])
def mosaics(request, small_run, tmp_path) -> Mosaics:
    """A mosaic of that frame in the place of the small run's."""
    options = {"mosaic": "m1", "bands": ["r"], "ny": NY, "nx": NX, "core_px": 2048, "pixel_scale": 0.2, "has_weight": False}
    chunks = ChunkStore.create(tmp_path / "m1.zarr", wcs_header=wcs_text(frame(request.param)), **options)
    chunks.array("image")[0], chunks.array("sky")[0], chunks.array("rms")[0] = 5.0, 5.0, 2.0
    chunks.write_record("r", {"empty": None, "has_bits": False, "has_weight": False})
    return Mosaics(open_catalog(small_run), lambda name: ChunkStore.open(tmp_path / f"{name}.zarr"))


def test_sky_and_pixel__are_icrs(mosaics):
    ra, dec = mosaics.sky("m1", (NX - 1) / 2, (NY - 1) / 2)
    assert SkyCoord(ra, dec, unit="deg").separation(CENTRE).arcsec < 0.01
    assert mosaics.pixel("m1", *mosaics.sky("m1", 11.0, 70.0)) == pytest.approx((11.0, 70.0), abs=1e-3)
    assert mosaics.pixel("m1", 150.0, 2.1) is None
    outline = SkyCoord(mosaics.outline("m1", 0, 0, NX - 1, NY - 1), unit="deg")
    assert len(outline) and outline.separation(CENTRE).arcsec.max() < 0.2 * NX


def test_compass__points_north(mosaics):
    angle, is_east_left = compass(mosaics["m1"].pixels.chunks)
    x, y = (NX - 1) / 2, (NY - 1) / 2
    found = {}
    for name, towards in (("north", 0.0), ("east", 90.0)):
        place = CENTRE.directional_offset_by(towards * units.deg, 3 * units.arcsec)
        there = mosaics.pixel("m1", place.ra.deg, place.dec.deg)
        found[name] = np.subtract(there, (x, y))
    north, east = found["north"], found["east"]
    assert angle % 360 == pytest.approx(np.degrees(np.arctan2(-north[0], north[1])) % 360, abs=0.2)
    assert is_east_left == (north[0] * east[1] - north[1] * east[0] > 0)
