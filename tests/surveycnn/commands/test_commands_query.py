"""``surveycnn query`` and ``surveycnn columns``: what they select, print and write, at 100 characters a line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.table import Table
from mocpy import MOC

from surveycnn.catalogs.query import open_catalog
from surveycnn.cli import main
from surveycnn.commands.rows import table_text

NO_ROW = "flux_r > 1e30"


@pytest.fixture(scope="module")
def catalog(small_run):
    return open_catalog(small_run)


def run(capsys, folder, *options: str) -> str:
    """Standard output of a query that ends well."""
    code = main(["query", str(folder), *options])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_query__regions_ids_and_counts(catalog, small_run, tmp_path, capsys):
    ra, dec = catalog["ra"], catalog["dec"]
    west, east, south, north = (float(value) for value in (ra.min() - 1e-6, np.median(ra), np.median(dec), dec.max() + 1e-6))
    inside = (ra >= west) & (ra <= east) & (dec >= south) & (dec <= north)
    place = np.arange(len(ra))
    MOC.from_lonlat(ra[:3] * u.deg, dec[:3] * u.deg, max_norder=24).save(tmp_path / "some.fits", format="fits")
    corners = [(west - 360, south - 1), (east, south - 1), (east, north + 1), (west, north + 1)]
    for options, mask in (
        (["--box", west, east, south, north], inside),
        (["--box", west - 360, east - 360, south, north], inside),
        (["--polygon", *(f"{x},{y}" for x, y in corners)], ra <= east),
        (["--moc", tmp_path / "some.fits"], place < 3),
        (["--ids", *catalog["source_id"][5:9], 5], (place >= 5) & (place < 9)),
        (["--where", NO_ROW], np.zeros(len(ra), bool)),
        (["--cone", ra[0] - 360, dec[0], "1e-1"], place == 0),
    ):
        options = [str(option) for option in options]
        assert run(capsys, small_run, *options, "--count") == f"{mask.sum()}\n", options
        found = json.loads(run(capsys, small_run, *options, "--json", "--columns", "source_id"))
        assert [row["source_id"] for row in found] == catalog["source_id"][mask].tolist()
    assert json.loads(run(capsys, small_run, "--count", "--json")) == {"rows": len(catalog)}


def test_query__json_has_all_columns_and_null_for_nan(catalog, small_run, capsys):
    rows = json.loads(run(capsys, small_run, "--json"))
    assert [row["source_id"] for row in rows] == catalog["source_id"].tolist() and list(rows[0]) == catalog.columns
    for name in ("ra", "flux_z", "pz_mean", "mosaic", "is_primary", "z_phot"):
        values = np.array([row[name] for row in rows], dtype=catalog[name].dtype)
        np.testing.assert_array_equal(values, catalog[name])
    empty = run(capsys, small_run, "--json", "--where", NO_ROW)
    assert json.loads(empty) == []
    text = run(capsys, small_run, "--json", "--columns", "flux_g,flux_r")
    assert "NaN" not in text


def test_query__csv_is_that_of_a_file(catalog, small_run, tmp_path, capsys):
    text = run(capsys, small_run, "--csv")
    run(capsys, small_run, "-o", str(tmp_path / "a.csv"))
    assert text.splitlines() == (tmp_path / "a.csv").read_text().splitlines()
    assert Table.read(text.splitlines(), format="ascii.csv")["source_id"].tolist() == catalog["source_id"].tolist()
    assert run(capsys, small_run, "--csv", "--columns", "source_id,pz_mean", "--where", NO_ROW).startswith("source_id,pz_mean_0,")


def test_query__crossmatch_with_a_file(catalog, small_run, tmp_path, capsys):
    name = [f"no {number}" for number in range(3)]
    Table({"name": name, "ra": catalog["ra"][:3], "dec": catalog["dec"][:3]}).write(tmp_path / "known.csv")
    text = run(capsys, small_run, "--crossmatch", str(tmp_path / "known.csv"), "0.5")
    assert text.splitlines()[0].split()[:4] == ["source_id", "ra", "dec", "separation"]
    assert [line.split()[0] for line in text.splitlines()[1:]] == [str(number) for number in catalog["source_id"][:3]]
    options = ["--crossmatch", str(tmp_path / "known.csv"), "0.5", "--json", "--columns", "name_other"]
    assert [row["name_other"] for row in json.loads(run(capsys, small_run, *options))] == name


def test_query__origin(catalog, small_run, capsys):
    number = int(catalog["source_id"][3])
    assert run(capsys, small_run, "--origin", str(number)) == f"{catalog.origin(number)}\n"
    record = json.loads(run(capsys, small_run, "--origin", str(number), "--json"))
    assert record["tile"]["name"] == catalog.origin(number).tile.name


def test_query__lens_candidates(catalog, small_run, capsys):
    assert main(["query", str(small_run), "--lens-candidates", "1e9", "--csv", "--columns", "source_id"]) == 0
    captured = capsys.readouterr()
    expected = catalog.lens_candidates(1e9)
    assert captured.out.split()[1:] == [str(number) for number in expected.rows["source_id"]]
    assert captured.err == f"{expected}\n"


def test_query__fits_in_100_characters(catalog, small_run, capsys):
    assert main(["query", str(small_run)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 21 and max(map(len, lines)) <= 100
    assert lines[0].split()[:5] == ["source_id", "ra", "dec", "flags", "lens_prob"]
    n_columns = len(lines[0].split())
    assert captured.err == (
        f"{len(catalog)} rows; the first 20 shown; -o FILE writes all; {n_columns} of {len(catalog.columns)} columns; "
        "--columns A,B,... shows others\n"
    )
    # asked for by name, columns are shown however long the lines are
    text = run(capsys, small_run, "--columns", ",".join(catalog.columns), "--top", "2", "--by", "flux_r")
    assert text.splitlines()[0].split() == catalog.columns


def test_table_text__shows_numbers_as_people_read_them():
    table = pa.table(
        {
            "n": pa.array([1, 20]),
            "text": ["a", "bc"],
            "ra": pa.array([1.0, 359.123456789]),
            "flux": pa.array([np.nan, 123456.7], pa.float32()),
            "p": pa.array([1.5e-7, 0.12345], pa.float32()),
            "many": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10, dtype="f4")), 5),
        }
    )
    text, n_columns = table_text(table)
    assert n_columns == 6 and text.splitlines() == [
        " n text         ra   flux       p                          many",
        " 1 a      1.000000    nan 1.5e-07     [0 1.000 2.000 3.000 ...]",
        "20 bc   359.123457 123457  0.1235 [5.000 6.000 7.000 8.000 ...]",
    ]
    assert table_text(table, 30)[1] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--csv"], "--json and --csv are two forms of the same rows: give one of them"),
        (["--json", "-o", "a.fits"], "--json and -o FILE are two forms"),
        (["--polygon", "1,2", "-3"], "--polygon: '-3' is no vertex, expected RA,DEC in degrees, such as 352.1,-31.5"),
        (["--polygon", "1,2", "-3,x", "5,6"], "--polygon: 'x' is no number, expected RA,DEC in degrees"),
        (["--polygon", "1,2", "-3,4"], "polygon: 2 different vertices"),
        (["--crossmatch", "a.csv", "wide"], "--crossmatch: 'wide' is no number, expected a radius in arcsec"),
        (["--crossmatch", "none.csv", "1"], "none.csv"),
        (["--box", "1", "2", "5", "3"], "box: "),
        (["--moc", "none.fits"], "none.fits"),
        (["--origin", "5"], "has no source 5"),
        (["--lens-candidates", "-1"], "contaminants per square degree are -1.0, expected a number from 0"),
    ],
)
def test_query__says_what_is_wrong(small_run, capsys, options, message):
    assert main(["query", str(small_run), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize("options", [["--ids", "x"], ["--cone", "1", "2"], ["--count", "--csv"]])
def test_query__refuses_what_it_cannot_parse(small_run, capsys, options):
    with pytest.raises(SystemExit) as ended:
        main(["query", str(small_run), *options])
    assert ended.value.code == 2 and "surveycnn: --" in capsys.readouterr().err


# -- columns -----------------------------------------------------------------------------------------------------------------


def test_columns__of_a_catalog(catalog, small_run, capsys):
    assert main(["columns", str(small_run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == catalog.columns
    assert {row["name"]: row for row in rows}["pz_mean"] == {
        "name": "pz_mean",
        "type": "f4[8]",
        "unit": "",
        "ucd": "src.redshift.phot;stat.mean",
        "dims": "source, component",
        "filled_by": "photoz model",
        "description": "means of the Gaussians of the PDF",
    }


def test_columns__for_people(small_run, capsys):
    assert main(["columns", str(small_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "filled by detection:",
        "  source_id  i8  meta.id;meta.main",
        "      unique number of the source, independent of the tiling",
        "  ra  f8  [deg]  pos.eq.ra;meta.main",
        "      right ascension, ICRS",
    ]
    assert max(map(len, lines)) <= 100


def test_columns__that_the_shipped_models_give(catalog, capsys):
    assert main(["columns", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert set(catalog.columns) <= set(names) and len(set(names)) == len(names)
    assert main(["columns"]) == 0
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines())) <= 100
    assert captured.err == "columns that the shipped models give; with every further band come its fluxes\n"


def test_columns__of_no_catalog(tmp_path, capsys):
    assert main(["columns", str(tmp_path)]) == 2
    assert "holds no catalog" in capsys.readouterr().err
