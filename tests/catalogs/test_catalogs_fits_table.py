import io
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from surveycnn.catalogs.formats.fits_header import FitsPart, fits_layout
from surveycnn.catalogs.formats.fits_table import (
    check_parts,
    create_fits,
    create_fits_parts,
    fits_files,
    fits_pieces,
    read_fits,
    text_widths,
    write_fits,
    write_fits_parts,
    write_fits_rows,
)
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError, SchemaError

TEXTS = ["", "a" * 90, "M\u00fcller \U0001f30c", r"x\x41", r"a\b", "ends in blanks  ", "nul\0 line\n", "'"]


@pytest.fixture(scope="module")
def odd(table) -> pa.Table:
    """A table with columns of every type that FITS has, or can be made to have."""
    n, values = table.num_rows, np.arange(table.num_rows)
    texts = pa.array(TEXTS * n, pa.string()).slice(0, n)
    told = {"description": "d" * 200 + " \u00b5", "ucd": "meta.id", "filled_by": "user's table"}
    table = table.append_column(pa.field("text", pa.string(), metadata=told), texts)
    for kind in ("u1", "u2", "u4", "u8", "i2"):
        limits = np.iinfo(kind)
        whole = np.where(values % 3 == 0, limits.max, np.where(values % 3 == 1, limits.min, 7)).astype(kind)
        table = table.append_column(kind, pa.array(whole))
    table = table.append_column("one", pa.FixedSizeListArray.from_arrays(pa.array(values.astype("f4")), 1))
    table = table.append_column("switches", pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * n) % 3 == 0), 2))
    return table.append_column(
        pa.field("stage", pa.int16(), metadata={"null_value": "-1"}), pa.array((values % 3 - 1).astype("i2"))
    )


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        ours, theirs = arrow_to_numpy(found[name]), arrow_to_numpy(expected[name])
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_write_fits__round_trip(odd, tmp_path):
    write_fits(odd, tmp_path / "a.fits")
    assert_same(read_fits(tmp_path / "a.fits"), odd)
    assert_same(read_fits(tmp_path / "a.fits", ["text", "pz_mean"], slice(7, 99)), odd.select(["text", "pz_mean"]).slice(7, 92))
    for field in odd.schema:
        metadata = {key: text for key, text in (field.metadata or {}).items() if key != b"dim"}
        found = read_fits(tmp_path / "a.fits", [field.name], slice(0, 0)).schema.field(0).metadata or {}
        assert {key: text for key, text in found.items() if key != b"dim"} == metadata


def test_write_fits__bytes_of_astropy(odd, tmp_path):
    write_fits(odd, tmp_path / "a.fits")
    again = io.BytesIO()
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus.verify("exception")
        assert len(hdus[1].data) == odd.num_rows  # now it is astropy that writes them
        hdus.writeto(again)
    assert again.getvalue() == (tmp_path / "a.fits").read_bytes()


def test_write_fits__astropy_reads_units_texts_and_nulls(odd, tmp_path):
    write_fits(odd, tmp_path / "a.fits")
    table = Table.read(tmp_path / "a.fits")
    assert str(table["flux_g"].unit) == "nJy" and table["flux_g"].meta["ucd"] == "phot.flux.density;em.opt.B"
    assert table["text"].description == "d" * 200 + r" \xb5" and table["text"][1] == "a" * 90
    assert table["stage"].mask.tolist() == (odd["stage"].to_numpy() == -1).tolist()
    np.testing.assert_array_equal(table["u8"], odd["u8"].to_numpy())


def test_write_fits_rows__by_many_processes_in_any_order(odd, tmp_path):
    write_fits(odd, tmp_path / "whole.fits")
    create_fits(tmp_path / "pieces.fits", odd.schema, odd.num_rows, text_widths(odd), is_sorted=True)
    pieces = [(1000, 400), (0, 500), (1400, 100), (500, 500)]
    with ProcessPoolExecutor(2) as pool:
        path = tmp_path / "pieces.fits"
        tasks = [pool.submit(write_fits_rows, path, first, odd.slice(first, n_rows)) for first, n_rows in pieces]
        for task in tasks:
            task.result()
    assert (tmp_path / "pieces.fits").read_bytes() == (tmp_path / "whole.fits").read_bytes()


def test_write_fits_parts__a_table_in_several_files(table, tmp_path):
    widths = text_widths(table)
    paths = create_fits_parts(tmp_path, table.schema, table.num_rows, widths, is_sorted=True, max_bytes=150_000)
    assert [path.name for path in paths] == ["catalog_001.fits", "catalog_002.fits", "catalog_003.fits"] and paths == fits_files(
        tmp_path
    )
    assert all(path.stat().st_size <= 150_000 for path in paths)
    for first in (900, 0, 300, 600, 1200):
        write_fits_parts(paths, first, table.slice(first, 300))
    check_parts(paths)
    layouts = [fits_layout(path) for path in paths]
    pieces = fits_pieces(table.schema, table.num_rows, widths, 150_000)
    assert pieces == [(layout.part.first_row, layout.n_rows) for layout in layouts] and layouts[1].part.n_parts == 3
    assert_same(pa.concat_tables(map(read_fits, paths)), table)
    with pytest.raises(SchemaError, match="rows 1500 to 1501 do not fit into 3 files of 1500 rows"):
        write_fits_parts(paths, 1500, table.slice(0, 1))
    paths[1].unlink()
    with pytest.raises(CatalogError, match="is file 1 of 3 of a table, from row 0; expected file 1 of 2"):
        check_parts([paths[0], paths[2]])


def test_fits_pieces__one_file_where_it_is_small(table):
    widths = text_widths(table)
    assert fits_pieces(table.schema, 1500, widths) == [(0, 1500)] and fits_pieces(table.schema, 0, widths) == [(0, 0)]
    many = fits_pieces(table.schema, 10**8, widths)
    assert sum(n_rows for _, n_rows in many) == 10**8 and len(many) == 4


def test_write_fits_rows__what_does_not_fit(table, tmp_path):
    create_fits(tmp_path / "a.fits", table.schema, 10, {"mosaic": 2})
    with pytest.raises(SchemaError, match="rows 5 to 11 with columns .* do not fit"):
        write_fits_rows(tmp_path / "a.fits", 5, table.slice(0, 6))
    with pytest.raises(SchemaError, match=r"rows 0 to 1 with columns \['ra'\] do not fit"):
        write_fits_rows(tmp_path / "a.fits", 0, table.select(["ra"]).slice(0, 1))
    with pytest.raises(SchemaError, match="column 'mosaic' has text of 7 bytes, the FITS file was created for 2"):
        write_fits_rows(tmp_path / "a.fits", 0, table.slice(0, 10))


def test_create_fits__what_fits_has_no_place_for(tmp_path):
    import datetime

    with pytest.raises(SchemaError, match="column 'day' is of type date32.*leave it out"):
        write_fits(pa.table({"day": [datetime.date(2026, 1, 1)]}), tmp_path / "a.fits")
    with pytest.raises(SchemaError, match="the table has 1000 columns, FITS has 999 at most"):
        write_fits(pa.table({f"c{number}": [1.0] for number in range(1000)}), tmp_path / "a.fits")


def test_read_fits__tables_that_are_not_ours(tmp_path, table):
    path = tmp_path / "a.fits"
    Table({"z": [1 + 2j]}).write(path)
    with pytest.raises(SchemaError, match="column 1 has the format 'M', which surveycnn does not write"):
        read_fits(path)
    write_fits(table, path)
    with pytest.raises(SchemaError, match="has no column 'colour'"):
        read_fits(path, ["colour"])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        read_fits(path)


def test_fits_layout__what_the_header_says(table, tmp_path):
    write_fits(table, tmp_path / "a.fits")
    layout = fits_layout(tmp_path / "a.fits")
    assert layout.is_sorted and layout.part == FitsPart(1, 1, 0) and layout.n_rows == 1500
    write_fits(table.slice(0, 1500).take(pa.array(np.arange(1500)[::-1])), tmp_path / "b.fits")
    assert not fits_layout(tmp_path / "b.fits").is_sorted


def test_write_fits__what_users_call_columns_and_units(tmp_path):
    told = {"units": "furlongs / fortnight \u00b5", "description": "line\nbreak", "ucd": "not a ucd", "null_value": "x"}
    table = pa.table([pa.array([1, 2])], schema=pa.schema([pa.field("v \u03bb", pa.int64(), metadata=told)]))
    write_fits(table, tmp_path / "a.fits")
    del told["null_value"]
    found = read_fits(tmp_path / "a.fits")
    assert found.column_names == ["v \u03bb"] and found["v \u03bb"].to_pylist() == [1, 2]
    assert found.schema.field(0).metadata == {key.encode(): text.encode() for key, text in told.items()}
