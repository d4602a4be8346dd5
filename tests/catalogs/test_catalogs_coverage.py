import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, Sip

from surveycnn.catalogs.coverage import (
    Footprint,
    coverage_moc,
    empty_windows,
    merge_windows,
    model_coverages,
    mosaic_mocs,
    union_moc,
)


def footprint(ra=0.0, dec=-31.0, not_searched=(), mosaic="a", scale=2.0, ny=400, nx=600, projection="TAN"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = [f"RA---{projection}", f"DEC--{projection}"], [ra, dec]
    wcs.wcs.crpix, wcs.wcs.cdelt = [nx / 2 + 0.5, ny / 2 + 0.5], [-scale / 3600, scale / 3600]
    return Footprint(mosaic, wcs, ny, nx, tuple(not_searched))


def searched(moc, place, y, x):
    ra, dec = place.wcs.all_pix2world(x, y, 0)
    return moc.contains_lonlat(ra * u.deg, dec * u.deg)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, -31.0), (180.0, 0.0), (10.0, 89.95), (200.0, -90.0)])
def test_coverage_moc__inside_and_outside(ra, dec):
    place = footprint(ra, dec)
    moc = coverage_moc([place])
    y, x = np.random.default_rng(0).uniform(-100, 700, (2, 5000))
    depth = place.depth_arcsec(y, x)
    clear = np.abs(depth) > 10
    assert np.array_equal(searched(moc, place, y, x)[clear], depth[clear] > 0)
    area = moc.sky_fraction * 4 * np.pi * (180 / np.pi) ** 2
    assert area == pytest.approx(400 * 600 * (2 / 3600) ** 2, rel=0.02)


def test_coverage_moc__parts_not_searched():
    place = footprint(not_searched=[(0, 100, 0, 200), (100, 200, 0, 200)])
    y, x = np.random.default_rng(0).uniform(3, 397, (2, 5000))
    missing = (y < 200) & (x < 200)
    clear = np.minimum(np.abs(y - 200), np.abs(x - 200)) > 5
    found = searched(coverage_moc([place]), place, y, x)
    assert np.array_equal(found[clear], ~missing[clear])


def test_coverage_moc__searched_by_another_mosaic():
    whole = footprint()
    part = footprint(not_searched=[(0, 200, 0, 600)], mosaic="b")
    assert coverage_moc([part, whole]) == coverage_moc([whole]) != coverage_moc([part])


def test_coverage_moc__no_mosaic():
    assert coverage_moc([]).sky_fraction == 0


def test_model_coverages__leave_out_mosaics_on_which_a_model_was_skipped():
    places = [footprint(mosaic="a"), footprint(0.3, mosaic="b"), footprint(50, not_searched=[(0, 200, 0, 600)], mosaic="c")]
    mocs = mosaic_mocs(places)
    found = model_coverages(mocs, {"lens": {"a", "c"}, "photoz": {"a", "b", "c"}, "merger": set()})
    assert found["photoz"] == union_moc(mocs.values()) == coverage_moc(places)
    assert found["lens"] == coverage_moc([places[0], places[2]]) and found["merger"].empty()


@pytest.mark.parametrize("distorted", [False, True])
def test_coverage_moc__straight_and_bent_sides(distorted):
    """Points along a side are left out where a great circle goes through them, and nowhere else."""
    place = footprint(10, 60, scale=60)
    if distorted:
        place.wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        place.wcs.sip = Sip(np.zeros((3, 3)), np.array([[0, 0, 0], [0, 0, 0], [2e-4, 0, 0]]), None, None, place.wcs.wcs.crpix)
    assert {len(ra) for ra, _ in place.outlines()} == {4 + 30 * distorted}
    y, x = np.random.default_rng(0).uniform(-100, 700, (2, 3000))
    inside = (y > -0.5) & (y < 399.5) & (x > -0.5) & (x < 599.5)
    clear = np.min([np.abs(y + 0.5), np.abs(y - 399.5), np.abs(x + 0.5), np.abs(x - 599.5)], axis=0) > 2
    assert np.array_equal(searched(coverage_moc([place]), place, y, x)[clear], inside[clear])


def test_coverage_moc__same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        coverage_moc([footprint()]).save(tmp_path / name, format="fits")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def all_sky(projection, ny, nx, crpix_y):
    place = footprint(180, 0, projection=projection, scale=3600, ny=ny, nx=nx)
    place.wcs.wcs.crpix = [nx / 2 + 0.5, crpix_y]
    return place


@pytest.mark.parametrize(
    ("place", "dec_limits"),
    [
        (all_sky("CAR", 20, 360, -29.5), (30, 50)),  # a zone all around the sky, which has no inside
        (all_sky("CAR", 30, 90, -59.5), (60, 90)),  # up to the pole, which is a whole row of pixels
        (all_sky("CAR", 180, 360, 90.5), (-90, 90)),
        (all_sky("AIT", 200, 400, 100.5), (-90, 90)),  # its corners are off the sky
    ],
)
def test_coverage_moc__maps_larger_than_half_the_sky(place, dec_limits):
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    expected = (dec > dec_limits[0]) & (dec < dec_limits[1]) & (np.abs(ra - 180) < place.nx / 2)
    gap = np.min([np.abs(dec - limit) for limit in dec_limits if abs(limit) < 90] + [np.full(3000, 90.0)], axis=0)
    aside = np.abs(np.abs(ra - 180) - place.nx / 2) * np.cos(np.radians(dec)) if place.nx < 360 else 90.0
    clear = np.minimum(gap, aside) > 2.5
    found = coverage_moc([place]).contains_lonlat(ra * u.deg, dec * u.deg)
    assert np.array_equal(found[clear], expected[clear])


def test_coverage_moc__pole_inside_and_the_wrap_of_right_ascension():
    pole, wrap = footprint(77.0, 89.98), footprint(359.99, 40.0)
    moc = coverage_moc([pole, wrap])
    places = [(0, 90), (123, 89.95), (0.05, 40.0), (359.95, 40.0), (0, -90), (180, 40), (257, 89.5)]
    assert [bool(moc.contains_lonlat(ra * u.deg, dec * u.deg)[0]) for ra, dec in places] == [True] * 4 + [False] * 3


def test_footprint__depth():
    place = footprint()
    depth = place.depth_arcsec(np.array([-0.5, 199.5, 10.0, -5.5]), np.array([3.0, 299.5, 599.5, 300.0]))
    assert depth == pytest.approx([0, 400, 0, -10], rel=1e-5, abs=1e-9)


def test_footprint__depth_ends_at_what_was_not_searched():
    """Whatever the rectangles are cut into: the distance along rows or columns from the nearest of their pixels."""
    place = footprint(not_searched=[(64, 128, 64, 128), (192, 300, 64, 90), (380, 400, 500, 600)])
    rng = np.random.default_rng(3)
    y, x = rng.uniform(-0.5, 399.5, 400), rng.uniform(-0.5, 599.5, 400)
    expected = np.min([x + 0.5, y + 0.5, 599.5 - x, 399.5 - y], axis=0)
    for y0, y1, x0, x1 in place.not_searched:
        dy, dx = np.maximum(np.maximum(y0 - 0.5 - y, y - y1 + 0.5), 0), np.maximum(np.maximum(x0 - 0.5 - x, x - x1 + 0.5), 0)
        expected = np.minimum(expected, np.hypot(dy, dx))
    depth = place.depth_arcsec(y, x) / 2
    assert np.all(depth > expected - 1e-3)
    assert np.all(depth < np.sqrt(2) * expected + 1e-3) and (np.abs(depth - expected) < 1e-3).mean() > 0.8


@pytest.mark.parametrize("projection", ["TAN", "CAR"])
def test_footprint__depth_where_pixels_shrink(projection):
    """Ten degrees north to south around declination 60: measured on the sky, not in the pixels of the reference point."""
    place = footprint(20.0, 0.0, projection=projection, scale=360, ny=101, nx=101)
    place.wcs.wcs.crval, place.wcs.wcs.crpix = (
        [20.0, 60.0 if projection == "TAN" else 0.0],
        [51, 51 if projection == "TAN" else -549],
    )
    x, y = np.array([10.0, 50.0]), np.array([50.0, 90.0])
    border = SkyCoord(*place.wcs.all_pix2world([-0.5, 50], [50, 100.5], 0), unit="deg")
    expected = SkyCoord(*place.wcs.all_pix2world(x, y, 0), unit="deg").separation(border).arcsec
    assert place.depth_arcsec(y, x) == pytest.approx(expected, rel=1e-9)


def test_footprint__depth_where_the_border_is_off_the_sky():
    place = footprint(0, 0, projection="AIT", scale=3600, ny=200, nx=400)
    assert np.isfinite(place.depth_arcsec(np.array([99.5, 170.0]), np.array([199.5, 199.5]))).all()


def test_empty_windows__cover_the_blocks_without_data():
    rng = np.random.default_rng(2)
    has_data = rng.random((5, 7)) < 0.6
    windows = empty_windows(has_data, 64, 300, 430)
    drawn = np.zeros((300, 430), dtype=int)
    for y0, y1, x0, x1 in windows:
        drawn[y0:y1, x0:x1] += 1
    assert np.array_equal(drawn, np.kron(~has_data, np.ones((64, 64), dtype=int))[:300, :430])
    assert empty_windows(np.ones((3, 3), dtype=bool), 64, 192, 192) == []


def test_merge_windows__joins_columns():
    assert merge_windows([(64, 128, 0, 64), (0, 64, 0, 64), (128, 192, 64, 128)]) == [(0, 128, 0, 64), (128, 192, 64, 128)]
