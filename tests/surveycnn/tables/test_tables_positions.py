"""Columns of positions: which are found, what they are in degrees, and what each refusal says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Column, Table

from surveycnn.errors import InputError
from surveycnn.tables.files import read_table
from surveycnn.tables.positions import POSITION_NAMES, check_positions, degrees_of, find_positions


def schema(*names, text=(), ucds=()):
    """Columns of numbers, or of text."""
    fields = [pa.field(name, pa.string() if name in text else pa.float64()) for name in names]
    return pa.schema(
        [field.with_metadata({"ucd": dict(ucds)[field.name]}) if field.name in dict(ucds) else field for field in fields]
    )


@pytest.mark.parametrize("names", POSITION_NAMES, ids=lambda pair: pair[0])
@pytest.mark.parametrize("spell", [str, str.upper, str.title, "{} [deg]".format, "{}(deg)".format])
def test_find_positions__by_name(names, spell):
    ra, dec = map(spell, names)
    assert find_positions(schema("id", dec, ra, "ra_err"), "x") == (ra, dec)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (schema("RAJ2000", "DEJ2000", "_RAJ2000", "_DEJ2000", text=["RAJ2000", "DEJ2000"]), ("_RAJ2000", "_DEJ2000")),
        (schema("coord_ra", "coord_dec", "ra", "dec"), ("ra", "dec")),
        (schema("coord_ra", "coord_dec", "RA", "Dec", text=["RA", "Dec"]), ("coord_ra", "coord_dec")),
        (schema("a", "b", "ra", "dec", ucds={"a": "pos.eq.ra;meta.main", "b": "pos.eq.dec; meta.main"}), ("a", "b")),
        (schema("a", "ra", "dec", ucds={"a": "pos.eq.ra;meta.main"}), ("ra", "dec")),
        (
            schema("ra", "dec", "ra_other", "dec_other", ucds={n: f"pos.eq.{n[:2]};meta.main" for n in ("ra", "ra_other")}),
            ("ra", "dec"),
        ),
    ],
)
def test_find_positions__of_several_that_which_is_meant(found, expected):
    assert find_positions(found, "x") == expected


def test_find_positions__as_they_are_named():
    assert find_positions(schema("ra", "dec", "RA_2", "l"), "x", "ra_2", "l") == ("RA_2", "l")


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (
            schema("x", "y"),
            {},
            "x has no columns of positions: looked for ra and dec, .*its columns are x, y: name them with ra=",
        ),
        (schema("RA", "x"), {}, "has no columns of positions"),
        (schema(*(f"c{n}" for n in range(40))), {}, "c29 and 10 more: name them"),
        (
            schema("ra", "RA", "dec"),
            {},
            "several columns of positions: 'ra' and 'dec', 'RA' and 'dec': name those that are meant",
        ),
        (
            schema("RAJ2000", "DEJ2000", "coord_ra", "coord_dec"),
            {},
            "several columns of positions: 'RAJ2000' and 'DEJ2000', 'coord",
        ),
        (schema("ra", "dec"), {"ra": "ra"}, "one of ra and dec is named and not the other"),
        (schema("ra", "decl"), {"ra": "ra", "dec": "dec"}, "no column 'dec' .key dec.: did you mean 'decl'"),
    ],
)
def test_find_positions__refusals(found, options, message):
    with pytest.raises(InputError, match=message):
        find_positions(found, "x", **options)


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("ra", "", 1.0),
        ("ra", "deg", 1.0),
        ("ra", "rad", 180 / np.pi),
        ("ra", "hourangle", 15.0),
        ("ra", "arcsec", 1 / 3600),
        ("RA [rad]", "", 180 / np.pi),
        ("RA (deg)", "", 1.0),
        ("RA [rad]", "deg", 1.0),
    ],
)
def test_degrees_of__units(name, unit, expected):
    field = pa.field(name, pa.float64(), metadata={"units": unit})
    assert degrees_of(pa.chunked_array([[1.0, None]]), field, "x") == pytest.approx([expected, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        (
            ["12:34:56.7"],
            "",
            r"x: column 'ra' is text \(such as '12:34:56.7'\), expected degrees: SkyCoord\(ra, dec, unit=\(.hour",
        ),
        (["12h34m56s"], "", "SkyCoord"),
        (["12 34 56"], "", "SkyCoord"),
        (["1.5"], "", "expected degrees: convert it to numbers"),
        ([1.0], "Jy", "column 'ra' has the unit 'Jy', expected deg or another unit of angles"),
        ([1.0], "no unit", "has the unit 'no unit', expected deg"),
        ([[1.0, 2.0]], "", r"column 'ra' is|of type"),
    ],
)
def test_degrees_of__refusals(values, unit, message):
    column = pa.chunked_array([values])
    with pytest.raises(InputError, match=message):
        degrees_of(column, pa.field("ra", column.type, metadata={"units": unit}), "x")


def test_check_positions__missing_ones():
    ra, dec = np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, np.nan])
    check_positions(ra, dec, "x", allow_missing=True)
    for values in ((ra, dec), (np.array([361.0]), np.array([0.0])), (np.array([np.inf]), np.array([0.0]))):
        with pytest.raises(InputError, match="rows have no position on the sky, the first is row"):
            check_positions(*values, "x")


def test_read_table__ucds_and_comments_of_fits_and_votables(tmp_path):
    table = Table({"a": Column([1.0], unit="deg", description="where", meta={"ucd": "pos.eq.ra;meta.main"}), "b": [2]})
    table.write(tmp_path / "t.vot", format="votable")
    table.write(tmp_path / "t.fits")
    from astropy.io import fits

    fits.setval(tmp_path / "t.fits", "TUCD1", value="pos.eq.ra;meta.main", ext=1)
    fits.setval(tmp_path / "t.fits", "TCOMM1", value="where", ext=1)
    for name in ("t.vot", "t.fits"):
        attrs = read_table(tmp_path / name).schema.field("a").metadata
        assert attrs == {b"units": b"deg", b"ucd": b"pos.eq.ra;meta.main", b"description": b"where"}
        assert not read_table(tmp_path / name).schema.field("b").metadata
