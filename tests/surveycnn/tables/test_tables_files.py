"""Files of tables: each format there and back, and what each refusal says."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surveycnn.errors import InputError
from surveycnn.photoz.tables import (
    read_table,
    redshifts_of,
    write_table,
)

SUFFIXES = [".parquet", ".fits", ".csv", ".ecsv", ".hdf5", ".h5", ".FITS", ".CSV"]
WITH_VECTORS = [suffix for suffix in SUFFIXES if suffix.lower() != ".csv"]


def example() -> pa.Table:
    """Every kind of column that all formats hold."""
    return pa.table(
        {
            "id": pa.array([2**60 + 1, -7, 3]),
            "name": ["a", 'b, "c"', "d"],
            "flag": [True, False, True],
            "mag_u": pa.array([22.5, np.nan, 99.0], pa.float32()),
            "Redshift": [0.1, 0.25, 1 / 3],
        }
    )


def columns(**values) -> pa.Table:
    """Table of arrays or lists."""
    return pa.table({name: pa.array(column) for name, column in values.items()})


def same(found: pa.Table, expected: pa.Table) -> None:
    """Both have the same values in columns of the same names; NaN and missing are the same."""
    assert found.column_names == expected.column_names
    for name in expected.column_names:
        left, right = ([None if value != value else value for value in table[name].to_pylist()] for table in (found, expected))
        assert left == right, name


# files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_table__is_read_back(tmp_path, suffix):
    path = write_table(example(), tmp_path / f"table{suffix}")
    found = read_table(path)
    if suffix.lower() == ".csv":  # which holds no types
        found = found.set_column(3, "mag_u", found["mag_u"].cast(pa.float32()))
    same(found, example())
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "no temporary file may stay"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_write_table__keeps_vectors(tmp_path, suffix, n):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * n, dtype=np.float32)), 2)
    path = write_table(pa.table({"id": pa.array(np.arange(n)), "pz": vectors}), tmp_path / f"table{suffix}")
    found = read_table(path)
    if suffix.lower() == ".csv" or (suffix == ".ecsv" and n == 0):
        assert found.column_names == ["id", "pz_0", "pz_1"]
        assert found["pz_1"].to_pylist() == [1.0, 3.0, 5.0][:n]
    else:
        assert found["pz"].to_pylist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]][:n]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.floats()),
            st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
        ),
        min_size=1,
    ),
    suffix=st.sampled_from([".parquet", ".fits", ".ecsv"]),
)
def test_write_table__of_any_rows_is_read_back(tmp_path, rows, suffix):
    types = (pa.int64(), pa.float64(), pa.string())
    table = pa.table(
        {name: pa.array(column, kind) for name, column, kind in zip("ifs", zip(*rows, strict=True), types, strict=True)}
    )
    same(read_table(write_table(table, tmp_path / f"table{suffix}")), table)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64", "float32", "float16"])
@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".ecsv", ".hdf5"])
def test_write_table__keeps_numbers_of_any_type(tmp_path, kind, suffix):
    table = pa.table({"x": pa.array(np.array([0, 1, 100], dtype=kind))})
    same(read_table(write_table(table, tmp_path / f"table{suffix}")), table)


@pytest.mark.parametrize("kind", ["int16", "int64", "uint8", "uint64"])
@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".ecsv", ".csv"])
def test_write_table__keeps_missing_integers_apart_from_all_others(tmp_path, kind, suffix):
    limits = np.iinfo(kind)
    values = pa.array([limits.min + 1, None, 0, 63, limits.max], getattr(pa, kind)())
    table = pa.table({"x": values, "row": np.arange(5)})
    if (kind, suffix) == ("uint64", ".csv"):
        table = table.slice(0, 4)  # text does not tell that it is unsigned
    same(read_table(write_table(table, tmp_path / f"table{suffix}")), table)


def test_write_table__replaces_an_older_file(tmp_path):
    for n in (5, 2):
        write_table(columns(x=np.arange(n)), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").num_rows == 2


def test_write_table__keeps_units_and_descriptions(tmp_path):
    field = pa.field("flux_u", pa.float64(), metadata={"units": "nJy", "description": "what was seen"})
    for suffix in (".fits", ".ecsv", ".parquet"):
        path = write_table(pa.table([[1.0]], schema=pa.schema([field])), tmp_path / f"t{suffix}")
        assert Table.read(path)["flux_u"].unit == "nJy" or suffix == ".parquet"
        assert read_table(path).schema.field(0).metadata[b"units"] == b"nJy"


def test_write_table__turns_times_into_text_and_dictionaries_into_values(tmp_path):
    table = pa.table({"t": pd.to_datetime(["2026-01-02", None]), "d": pa.array(["a", "b"]).dictionary_encode()})
    for suffix in (".fits", ".csv", ".hdf5", ".ecsv"):
        found = read_table(write_table(table, tmp_path / f"t{suffix}"))
        assert str(found["t"][0]).startswith("2026-01-02")
        assert found["d"].to_pylist() == ["a", "b"]


def test_write_table__keeps_vectors_of_vectors_and_missing_ones(tmp_path):
    inner = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 2)
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(inner, 3)})
    for suffix in (".fits", ".ecsv", ".hdf5", ".parquet"):
        same(read_table(write_table(table, tmp_path / f"t{suffix}")), table)
    assert read_table(write_table(table, tmp_path / "t.csv")).column_names == [f"x_{place}" for place in range(6)]
    missing = pa.table({"x": pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))})
    found = read_table(write_table(missing, tmp_path / "t.fits"))["x"].to_pylist()
    assert found[0] == [1.0, 2.0] and np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("suffix", "column", "message"),
    [
        (".fits", pa.array([[1.0], [2.0, 3.0]]), "column 'x' of type list<.*> is no column of numbers or text"),
        (".csv", pa.array([{"a": 1}]), "column 'x' of type struct<.*> is no column of numbers or text"),
        (".hdf5", pa.array([1, None]), r"column 'x' \(int64\) has 1 missing values, which HDF5 cannot hold"),
        (".fits", pa.array([True, None]), r"column 'x' \(bool\) has 1 missing values, which FITS cannot hold"),
    ],
)
def test_write_table__says_which_column_a_format_cannot_hold(tmp_path, suffix, column, message):
    with pytest.raises(InputError, match=message):
        write_table(pa.table({"x": column}), tmp_path / f"t{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_write_table__of_names_that_a_format_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="column 'a/b' cannot be written to HDF5"):
        write_table(columns(**{"a/b": [1]}), tmp_path / "t.h5")
    table = pa.table({"p_0": [1.0], "p": pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))})
    with pytest.raises(InputError, match="more than one column 'p_0': rename all but one"):
        write_table(table, tmp_path / "t.csv")


def test_write_table__says_why_a_path_cannot_be_written(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, message in {
        "t.txt": "the suffix is '.txt', known are .parquet, .fits, .csv, .ecsv, .hdf5, .h5",
        "t.fits.gz": "the suffix is '.gz'",
        "no/t.fits": "there is no folder '.*no'",
        "folder.csv": "something else is there under that name",
        "x" * 300 + ".csv": "File name too long",
    }.items():
        with pytest.raises(InputError, match=message):
            write_table(example(), tmp_path / name)


def test_read_table__of_compressed_fits(tmp_path):
    write_table(example(), tmp_path / "t.fits")
    for name in ("t.fits.gz", "T.FITS.GZ"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "t.fits").read_bytes()))
        same(read_table(tmp_path / name), example())


def test_read_table__finds_the_table_among_hdus(tmp_path):
    tables = [fits.BinTableHDU(Table({"x": [number]}), name=f"T{number}") for number in (1, 2)]
    image = fits.ImageHDU(np.zeros((4, 4)), name="SKY")
    fits.HDUList([fits.PrimaryHDU(), image, *tables]).writeto(tmp_path / "t.fits")
    assert [read_table(f"{tmp_path}/t.fits{part}")["x"][0].as_py() for part in ("", "[2]", "[t2]", "[3]")] == [1, 1, 2, 2]
    assert read_table(tmp_path / "t.fits", "T2")["x"][0].as_py() == 2
    for part in ("[0]", "[1]", "[SKY]", "[9]", "[T3]"):
        with pytest.raises(InputError, match=r"has no table \[.+\]: its tables are \[2\] T1, \[3\] T2"):
            read_table(f"{tmp_path}/t.fits{part}")
    image.writeto(tmp_path / "image.fits")
    with pytest.raises(InputError, match="has no table: its 2 HDUs hold other things"):
        read_table(tmp_path / "image.fits")


def test_read_table__of_units_that_are_not_in_the_standard(tmp_path):
    hdu = fits.BinTableHDU.from_columns([fits.Column("flux_u", "E", unit="counts per visit", array=np.ones(2))])
    hdu.writeto(tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits").schema.field(0).metadata[b"units"] == b"counts per visit"


@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
def test_read_table__of_masked_values(tmp_path, suffix):
    mask = [False, True, False]
    values = {"x": [1.0, 2.0, 3.0], "n": [1, 2, 3], "s": ["a", "b", "c"]}
    Table({name: MaskedColumn(column, mask=mask) for name, column in values.items()}).write(tmp_path / f"t{suffix}")
    found = read_table(tmp_path / f"t{suffix}")
    assert found["n"].to_pylist() == [1, None, 3]
    np.testing.assert_array_equal(redshifts_of(found.filter(pa.array([True, False, True])), "x"), [1.0, 3.0])
    with pytest.raises(InputError, match="1 of 3 values are missing or infinite"):
        redshifts_of(found, "x")


def test_read_table__of_hdf5_finds_the_only_group(tmp_path):
    with h5py.File(tmp_path / "t.hdf5", "w") as root:
        root["deep/photometry/mag_u"] = np.array([20.0, 21.0], dtype=">f4")
        root["deep/photometry/name"] = np.array([b"a", b"b"])
        root["deep/version"] = 3
    for part in ("", "[deep/photometry]", "[/deep/photometry]"):
        found = read_table(f"{tmp_path}/t.hdf5{part}")
        assert found["mag_u"].to_pylist() == [20.0, 21.0]
        assert found["name"].to_pylist() == ["a", "b"]
    with pytest.raises(InputError, match=r"has no table \[wide\]: give .*t.hdf5\[deep/photometry\]"):
        read_table(f"{tmp_path}/t.hdf5[wide]")


def test_read_table__of_hdf5_with_many_or_no_tables_asks(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as root:
        root["train/z"], root["test/z"] = np.ones(2), np.zeros(3)
        root["ragged/a"], root["ragged/b"] = np.ones(2), np.zeros(3)
    with pytest.raises(InputError, match=r"holds 3 tables: give one of .*t.h5\[ragged\], .*t.h5\[test\], .*t.h5\[train\]"):
        read_table(tmp_path / "t.h5")
    assert read_table(f"{tmp_path}/t.h5[test]").num_rows == 3
    with pytest.raises(InputError, match="differ in length: {'a': 2, 'b': 3}"):
        read_table(tmp_path / "t.h5", "ragged")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(InputError, match="no group of it holds columns"):
        read_table(tmp_path / "empty.h5")


def test_read_table__of_records_that_astropy_wrote(tmp_path):
    Table({"mag_u": [20.0], "name": ["a"]}).write(tmp_path / "t.hdf5", path="photometry", serialize_meta=True)
    assert read_table(tmp_path / "t.hdf5").to_pydict() == {"mag_u": [20.0], "name": ["a"]}


def test_read_table__of_csv_with_comments_before_the_names(tmp_path):
    (tmp_path / "t.csv").write_text("#Table1\n# from a server\nobjid,u\n1237648720693755918,19.5\n8,\n")
    assert read_table(tmp_path / "t.csv").to_pydict() == {"objid": [1237648720693755918, 8], "u": [19.5, None]}


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".csv", ".ecsv", ".hdf5", ".fits.gz"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 400], ids=["empty", "garbage"])
def test_read_table__of_a_broken_file(tmp_path, suffix, content):
    (tmp_path / f"t{suffix}").write_bytes(content)
    with pytest.raises(InputError, match="t\\."):
        found = read_table(tmp_path / f"t{suffix}")
        redshifts_of(found, "z")


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".hdf5"])
def test_read_table__of_a_truncated_file(tmp_path, suffix):
    path = write_table(columns(x=np.random.default_rng(1).normal(size=9000)), tmp_path / f"t{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot read the table .*: is it complete?"):
        read_table(path)


def test_read_table__says_what_is_wrong_with_a_path(tmp_path):
    write_table(example(), tmp_path / "t.parquet")
    (tmp_path / "folder.fits").mkdir()
    for name, message in {
        "t.txt": "the suffix is '.txt', known are .parquet, .fits, .csv, .ecsv, .hdf5, .h5, .fits.gz",
        "none.fits": "there is no table '.*none.fits': correct the path",
        "folder.fits": "there is no table",
        "t.parquet[1]": r"has no part \[1\]: only FITS has HDUs and HDF5 groups",
    }.items():
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


def test_read_table__refuses_two_columns_of_one_name(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(InputError, match="the table '.*t.csv' has more than one column 'a': rename all but one"):
        read_table(tmp_path / "t.csv")


def test_read_table__of_pandas_keeps_its_index(tmp_path):
    frame = pd.DataFrame({"x": pd.array([1, None], dtype="Int64"), "y": pd.array([0.5, None], dtype="Float32")}, index=["p", "q"])
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet").append_column("z_phot", pa.array([0.1, 0.2]))
    again = pd.read_parquet(write_table(table, tmp_path / "u.parquet"))
    assert list(again.index) == ["p", "q"] and list(again.columns) == ["x", "y", "z_phot"]


VOTABLE = """<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>
<TABLE name="first">
<FIELD ID="a" name="name" datatype="unicodeChar" arraysize="*"/><FIELD ID="b" name="ra" datatype="double" unit="deg"/>
<FIELD ID="c" name="n" datatype="long"><VALUES null="-1"/></FIELD>
<DATA><TABLEDATA><TR><TD>a</TD><TD>1.5</TD><TD>-1</TD></TR><TR><TD>b\u00fc</TD><TD/><TD>7</TD></TR></TABLEDATA></DATA></TABLE>
<TABLE name="second"><FIELD ID="x" name="x" datatype="int"/><DATA><TABLEDATA><TR><TD>3</TD></TR></TABLEDATA></DATA></TABLE>
</RESOURCE></VOTABLE>"""


def test_read_table__votable(tmp_path):
    path = tmp_path / "t.vot"
    path.write_text(VOTABLE, encoding="utf-8")
    table = read_table(path)
    assert table["name"].to_pylist() == ["a", "b\u00fc"]
    assert table["n"].to_pylist() == [None, 7]
    np.testing.assert_array_equal(table["ra"], [1.5, np.nan])
    assert table.schema.field("ra").metadata[b"units"] == b"deg"
    for part in ("[1]", "[second]"):
        assert read_table(f"{path}{part}")["x"].to_pylist() == [3]
    with pytest.raises(InputError, match=r"has no table of that name: its tables are \[0\] first, \[1\] second"):
        read_table(f"{path}[third]")
    with pytest.raises(InputError, match=r"has no table \[2\]: its tables are"):
        read_table(f"{path}[2]")
    (tmp_path / "empty.xml").write_text('<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"/>')
    with pytest.raises(InputError, match=r"'.*empty.xml' has no table"):
        read_table(tmp_path / "empty.xml")
    with pytest.raises(InputError, match=r"cannot write '.*t.vot': the suffix is '.vot', known are .parquet"):
        write_table(table, path)


def test_read_table__text_that_looks_like_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("id,n\n007,1\nNA,\n")
    table = read_table(tmp_path / "t.csv", text=["id", "other"])
    assert table.to_pydict() == {"id": ["007", "NA"], "n": [1, None]}
