"""Catalogs of users: positions and ids whatever the file says them in, what lies on a mosaic, and a message for each mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.table import Table
from small_sky import small_wcs

from surveycnn.errors import InputError
from surveycnn.sky.wcs import sky_positions, wcs_text
from surveycnn.sources.catalog import count_sources, read_sources
from surveycnn.tables.files import write_table

RA, DEC = np.array([150.0, 150.01, 149.99]), np.array([2.0, 2.01, 1.99])
IDS = [2**60 + 1, -7, 12]


def write(folder: Path, columns: dict[str, object] | Table, name: str = "s.ecsv") -> str:
    table = columns if isinstance(columns, Table) else Table(columns)
    table.write(folder / name, format="votable" if name.endswith(".vot") else None)
    return str(folder / name)


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".csv", ".ecsv", ".vot", ".h5"])
@pytest.mark.parametrize("ids", [IDS, ["a", "007", "b c"], ["007", "8", "9"]], ids=["int", "text", "zeros"])
def test_read_sources__the_same_from_every_format(tmp_path, suffix, ids):
    table = pa.table({"ra": RA, "dec": DEC, "object_id": ids})
    if suffix == ".vot":
        path = write(tmp_path, Table({"ra": RA, "dec": DEC, "object_id": ids}), "s.vot")
    else:
        path = str(write_table(table, tmp_path / f"s{suffix}"))
    sources = read_sources(path)
    np.testing.assert_array_equal(sources.ra, RA)
    np.testing.assert_array_equal(sources.dec, DEC)
    assert sources.input_id.tolist() == ids
    assert (sources.id_column, sources.has_text_ids) == ("object_id", isinstance(ids[0], str))


@pytest.mark.parametrize(
    ("columns", "name", "ids"),
    [
        ({"NUMBER": [5, 6, 7]}, "NUMBER", [5, 6, 7]),
        ({"ID": [1, 2, 3], "Source_ID": [5, 6, 7]}, "Source_ID", [5, 6, 7]),
        ({"objid": [5.0, 6.0, 7.0]}, "objid", [5, 6, 7]),
        ({"name": ["a", "b", "c"]}, "", [0, 1, 2]),
        ({"id": np.array([1, 2, 2**64 - 1], "u8")}, "id", ["1", "2", str(2**64 - 1)]),
    ],
)
def test_read_sources__finds_the_ids(tmp_path, columns, name, ids):
    sources = read_sources(write(tmp_path, {"RA": RA, "DEC": DEC} | columns))
    assert (sources.id_column, sources.input_id.tolist()) == (name, ids)


def test_read_sources__converts_angles(tmp_path):
    table = {"lon": (RA * units.deg).to(units.hourangle), "lat": (DEC * units.deg).to(units.rad), "who": ["a", "b", "c"]}
    sources = read_sources(write(tmp_path, table), "lon", "lat", "who")
    np.testing.assert_allclose(sources.ra, RA, rtol=1e-15)
    np.testing.assert_allclose(sources.dec, DEC, rtol=1e-15)
    assert sources.input_id.tolist() == ["a", "b", "c"]
    turned = read_sources(write(tmp_path, {"ra": [-0.5, 360.0, 359.0], "dec": DEC}, "t.ecsv"))
    assert turned.ra.tolist() == [359.5, 0.0, 359.0]


def test_read_sources__reads_a_file_again_that_has_changed(tmp_path):
    path = write(tmp_path, {"ra": RA, "dec": DEC})
    first = read_sources(path)
    assert read_sources(path) is first
    Table({"ra": RA[:2], "dec": DEC[:2]}).write(path, overwrite=True)
    second = read_sources(path)
    assert len(second) == 2 and second.sha256 != first.sha256


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"dec": DEC}, r"s.ecsv' has no column 'ra' \(key detection.ra\): its columns are dec"),
        ({"ra_deg": RA, "dec": DEC}, r"no column 'ra' \(key detection.ra\): did you mean 'ra_deg'\? its columns are ra_deg, dec"),
        ({"RA": RA, "Ra": RA, "dec": DEC}, r"no column 'ra' .* its columns are RA, Ra, dec"),
        ({"ra": RA[:0], "dec": DEC[:0]}, "has no rows: give the sources to measure, or leave detection.catalog out"),
        (
            {"ra": ["10:00:00"] * 3, "dec": DEC},
            r"column 'ra' is text \(such as '10:00:00'\), expected degrees: SkyCoord\(ra, dec, unit=",
        ),
        ({"ra": np.zeros((3, 2)), "dec": DEC}, r"column 'ra' is float64 of shape \(3, 2\) .*expected degrees"),
        ({"ra": RA, "dec": DEC * units.mag}, "column 'dec' has the unit 'mag', expected deg or another unit of angles"),
        (
            {"ra": [1, np.nan, np.inf], "dec": DEC},
            r"2 of 3 rows have no position .* row 1 \(counted from 0\) with ra nan",
        ),
        ({"ra": RA, "dec": [1, 2, -90.1]}, r"1 of 3 rows .* row 2 .* dec -90.1 degrees: expected -180 to 360 and -90 to 90"),
        ({"ra": RA, "dec": DEC, "id": [4, 5, 4]}, r"1 ids in column 'id' are those of several rows, such as .*4.* in rows 0, 2 "),
        (
            {"ra": RA, "dec": DEC, "id": ["a", "b", "b"]},
            r"several rows, such as 'b' in rows 1, 2 \(counted from 0\): make them unique",
        ),
        ({"ra": RA, "dec": DEC, "id": [1, 2, 2.5]}, r"column 'id' holds fractions such as .*2.5.*, expected ids: name another"),
        (
            {"ra": RA, "dec": DEC, "id": np.ma.masked_equal([1, 2, 0], 0)},
            r"1 rows have no 'id', the first is row 2 \(counted from 0\)",
        ),
        ({"ra": RA, "dec": DEC, "id": np.zeros((3, 2))}, "column 'id' has several values per row, expected ids"),
    ],
)
def test_read_sources__says_what_is_wrong(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        read_sources(write(tmp_path, columns))


def test_read_sources__without_a_file_or_the_id(tmp_path):
    with pytest.raises(InputError, match="there is no table '/no/such.fits'"):
        read_sources("/no/such.fits")
    with pytest.raises(InputError, match=r"key 'detection.catalog': 's3://a/b.fits' is a URL: copy the table here"):
        read_sources("s3://a/b.fits")
    with pytest.raises(InputError, match=r"has no column 'name' \(key detection.id\): its columns are ra, dec"):
        read_sources(write(tmp_path, {"ra": RA, "dec": DEC}), id_column="name")


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.0, 60.0), (359.999, -10.0), (0.0, -90.0), (77.0, 89.99)])
def test_on_mosaic__finds_what_was_put_there(tmp_path, ra, dec):
    ny, nx = 300, 400
    wcs = small_wcs(ny, nx, ra, dec)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-100, nx + 100, 200), rng.uniform(-100, ny + 100, 200)
    lon, lat = sky_positions(wcs, x, y)
    far = np.column_stack([rng.uniform(0, 360, 50), np.degrees(np.arcsin(rng.uniform(-1, 1, 50)))])
    far = far[np.abs(far[:, 1] - dec) > 1]
    lon, lat = np.append(lon, far[:, 0]), np.append(lat, far[:, 1])
    sources = read_sources(str(write_table(pa.table({"ra": lon, "dec": lat}), tmp_path / "s.parquet")))
    placed = sources.on_mosaic(wcs_text(wcs), ny, nx)
    expected = np.flatnonzero((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5))
    np.testing.assert_array_equal(placed.row, expected)
    np.testing.assert_allclose(placed.x, x[expected], atol=1e-4)
    np.testing.assert_allclose(placed.y, y[expected], atol=1e-4)
    np.testing.assert_array_equal(placed.ra, lon[expected])
    np.testing.assert_array_equal(placed.input_id, expected)


def test_count_sources__says_where_they_are_if_all_are_outside(tmp_path):
    mosaic = (wcs_text(small_wcs(300, 400)), 300, 400)
    inside = read_sources(write(tmp_path, {"ra": RA, "dec": DEC + [0, 0, 5]}))
    assert count_sources(inside, [mosaic, mosaic]) == [1, 1, 2]
    outside = read_sources(write(tmp_path, {"ra": DEC, "dec": [20.0, 30.0, 40.0]}, "o.ecsv"))
    message = r"none of the 3 sources of '.*o.ecsv' lies on a mosaic: they are at ra 1.9900 to 2.0100, dec 20.0000 to 40.0000, "
    message += r"the mosaics at ra 149.98\d+ to 150.01\d+, dec 1.98\d+ to 2.01\d+: check that detection.ra"
    with pytest.raises(InputError, match=message):
        count_sources(outside, [mosaic])
