"""Surveys of a user's own sources: his rows and ids, measured where he says, whatever the tiles, the file, and the mosaics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from surveycnn.catalogs.flags import has_flag
from surveycnn.catalogs.query import open_catalog
from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ConfigError, InputError, ResumeError
from surveycnn.run.plan import make_plan
from surveycnn.run.survey import run_infer, run_ingest, run_publish, run_survey
from surveycnn.run.verify import recompute_tiles
from surveycnn.sky.files import file_sha256

HOLE, OUTSIDE = 30, 31
"""Rows of the table: in a part of the mosaic without data, and on no mosaic."""


def survey(folder: Path, output: Path, catalog: Path, **changes: object) -> SurveyConfig:
    changes = {"detection.catalog": catalog, "models": "lens", "formats": "[fits]", "output": output} | changes
    return load_config(folder / "survey.yaml", [f"{key}={value}" for key, value in changes.items()])


def rows_of(output: Path) -> Table:
    """Catalog in the order of the user's rows."""
    table = Table.read(output / "catalog.fits")
    table["row"] = table["source_id"] & ((1 << 34) - 1)
    table.sort(["mosaic", "row"])
    return table


@dataclass(frozen=True)
class Given:
    """A user's table, and the catalog of detected sources that most of its rows come from."""

    table: Table
    detected: Table


@pytest.fixture(scope="module")
def given(small_run, sky) -> Given:
    detected = Table.read(small_run / "catalog.fits")
    detected = detected[np.random.default_rng(5).permutation(len(detected))[:HOLE]]
    x, y = [*detected["x"], 315.2, 5000.0], [*detected["y"], 204.8, 5.0]
    ra, dec = WCS(fits.getheader(sky / "g.fits")).all_pix2world(x, y, 0)
    ra[:HOLE], dec[:HOLE] = detected["ra"], detected["dec"]
    return Given(Table({"RA": ra, "DEC": dec, "name": [f"star {n}" for n in range(len(x))]}), detected)


@pytest.fixture(scope="module")
def catalog(given, sky, tmp_path_factory) -> Path:
    """Published catalog of the user's sources, in tiles of 512 px."""
    folder = tmp_path_factory.mktemp("given")
    given.table.write(folder / "sources.fits")
    result = run_survey(survey(sky, folder / "out", folder / "sources.fits", **{"detection.id": "name", "tiling.core_px": 512}))
    assert result.n_sources == OUTSIDE
    assert "1 of 32 sources of" in result.summary() and "lie on no mosaic and are left out" in result.summary()
    return folder / "out"


def test_given__are_measured_as_those_that_were_detected_there(given, catalog):
    rows, detected = rows_of(catalog), given.detected
    assert rows["input_id"].tolist() == given.table["name"][:OUTSIDE].tolist()
    np.testing.assert_array_equal(rows["ra"], given.table["RA"][:OUTSIDE])
    rows = rows[:HOLE]
    np.testing.assert_allclose(rows["x"], detected["x"], atol=2e-4)
    np.testing.assert_allclose(rows["y"], detected["y"], atol=2e-4)
    for band in "griz":
        error = detected[f"flux_err_{band}"]
        np.testing.assert_array_less(np.abs(rows[f"flux_{band}"] - detected[f"flux_{band}"]), 1e-2 * error)
    np.testing.assert_allclose(rows["lens_score"], detected["lens_score"], atol=1e-3)
    for name in ("masked", "edge", "blended", "missing_band", "truncated"):
        np.testing.assert_array_equal(has_flag(rows["flags"], name), has_flag(detected["flags"], name), err_msg=name)


def test_given__are_in_the_provenance(catalog):
    path = catalog.parent / "sources.fits"
    record = json.loads((catalog / "provenance.json").read_text())["sources"]
    assert record == {"path": str(path), "sha256": file_sha256(str(path)), "n_rows": 32, "id_column": "name"}


def test_given__without_data_are_kept(catalog):
    row = rows_of(catalog)[HOLE]
    for band in "griz":  # the Kron-like aperture may reach beyond the hole
        assert row[f"flux_aper_{band}"] is np.ma.masked, "NaN, as astropy reads FITS"
        assert row[f"flux_aper_err_{band}"] is np.ma.masked
    assert has_flag(row["flags"], "missing_band")


def test_given__do_not_depend_on_the_tiles_or_the_file(given, catalog, sky, tmp_path):
    Table(given.table, names=["lon", "lat", "ID"]).write(tmp_path / "s.vot", format="votable")
    changes = {"tiling.core_px": 128, "detection.ra": "lon", "detection.dec": "lat"}
    config = survey(sky, tmp_path / "out", tmp_path / "s.vot", **changes)
    run_ingest(config)
    run_infer(config)
    run_publish(config)
    first, second = rows_of(catalog), rows_of(tmp_path / "out")
    assert first.colnames == second.colnames
    for name in first.colnames:
        if name.startswith("lens_"):
            np.testing.assert_allclose(first[name], second[name], rtol=1e-4, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert recompute_tiles(tmp_path / "out", 1) == []
    check_origins(given, tmp_path)


def check_origins(given: Given, folder: Path) -> None:
    """Each row comes from the tile whose file has it, and from its row of the table."""
    catalog = open_catalog(folder / "out")
    for number in catalog["source_id"]:
        found = catalog.origin(number)
        tile = pq.read_table(folder / "out" / "work" / "tiles" / found.mosaic / f"{found.tile.name}.parquet", partitioning=None)
        assert number in tile["source_id"].to_pylist() and found.peak is None
        row = found.given
        assert row.input_id == given.table["name"][row.row] and row.sha256 == file_sha256(str(folder / "s.vot"))
    assert repr(found).splitlines()[1].startswith(f"  source {row.input_id}, row {row.row} of {folder / 's.vot'}, sha256 ")


def test_given__of_another_table_do_not_go_on(given, catalog, sky):
    path = catalog.parent / "sources.fits"
    before = path.read_bytes()
    config = survey(sky, catalog, path, **{"detection.id": "name", "tiling.core_px": 512})
    given.table[::-1].write(path, overwrite=True)
    with pytest.raises(ResumeError, match=r"holds a run with other settings or inputs \(catalog_sha256: '.* -> '.*\)"):
        run_infer(config)
    path.write_bytes(before)
    assert run_infer(config) == {}


def test_given__are_one_object_each_where_mosaics_overlap(given, sky, tmp_path):
    cut = {"west": slice(0, 320), "east": slice(192, 512)}
    for name, columns in cut.items():
        for band in "gri":
            pixels, header = fits.getdata(sky / f"{band}.fits", header=True)
            header["CRPIX1"] -= columns.start
            fits.writeto(tmp_path / f"{name}_{band}.fits", pixels[:, columns], header)
    images = [{"band": band, "path": f"{{part}}_{band}.fits"} for band in "gri"]
    tree = {"name": "cut", "mosaics": [{"id": "{part}", "images": images}], "cluster": "serial", "tiling": {"core_px": 512}}
    (tmp_path / "survey.yaml").write_text(yaml.safe_dump(tree))
    given.table[:HOLE].write(tmp_path / "s.csv")
    config = survey(tmp_path, tmp_path / "out", tmp_path / "s.csv")
    plan = make_plan(config)
    run_survey(config)
    rows = rows_of(tmp_path / "out")
    on = {name: (given.detected["x"] > c.start - 0.5) & (given.detected["x"] < c.stop - 0.5) for name, c in cut.items()}
    assert plan.n_given == (on["east"].sum(), on["west"].sum()) and sum(plan.n_given) == len(rows) > HOLE
    for name, mine in on.items():
        np.testing.assert_array_equal(rows["row"][rows["mosaic"] == name], np.flatnonzero(mine))
    np.testing.assert_array_equal(np.sort(rows["row"][rows["is_primary"]]), np.arange(HOLE))
    np.testing.assert_array_equal(rows["input_id"], rows["row"])


def test_given__that_cannot_be_used_are_refused_by_the_plan(sky, tmp_path):
    Table({"ra": [10.0], "dec": [-5.0]}).write(tmp_path / "far.ecsv")
    with pytest.raises(InputError, match="none of the 1 sources of .* lies on a mosaic: they are at ra 10.0000"):
        make_plan(survey(sky, tmp_path / "out", tmp_path / "far.ecsv"))
    with pytest.raises(InputError, match=r"no column 'lon' \(key detection.ra\)"):
        make_plan(survey(sky, tmp_path / "out", tmp_path / "far.ecsv", **{"detection.ra": "lon"}))
    with pytest.raises(ConfigError, match=r"unknown key 'detection.name'"):
        survey(sky, tmp_path / "out", tmp_path / "far.ecsv", **{"detection.name": "x"})
