"""Origins of rows of a real run in tiles of 256 px: what they say is what the run's files say."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from surveycnn import __version__
from surveycnn.catalogs.query import open_catalog
from surveycnn.errors import CatalogError
from surveycnn.models.package import find_card
from surveycnn.sky.files import file_sha256
from surveycnn.sources.identity import source_ids

CORE = 256


@pytest.fixture(scope="module")
def catalog(small_run):
    return open_catalog(small_run)


def test_origin__tile_is_the_one_whose_file_has_the_row(catalog, small_run):
    """For sources near the borders of the tiles, and some others."""
    x, y, ids = (catalog[name] for name in ("x", "y", "source_id"))
    distance = np.minimum(np.abs(x - CORE + 0.5), np.abs(y - CORE + 0.5))
    for number in ids[np.argsort(distance)][[*range(12), -1, -2, -3]]:
        tile = catalog.origin(number).tile
        rows = pq.read_table(small_run / "work" / "tiles" / "m1" / f"{tile.name}.parquet", partitioning=None)
        assert number in rows["source_id"].to_pylist()
        assert (tile.y0, tile.x0) == (tile.row * CORE, tile.col * CORE) and (tile.y1, tile.x1) <= (448, 512)


def test_origin__peak_is_the_brightest_pixel_near_the_centroid(catalog, sky):
    images = sum(fits.getdata(sky / f"{band}.fits") for band in "gri")
    bright = catalog.where("flags == 0").top(5, by="flux_r")
    for number, x, y in zip(bright["source_id"], bright["x"], bright["y"], strict=True):
        found = catalog.origin(int(number))
        assert (found.x, found.y) == (x, y)
        peak_y, peak_x = found.peak
        assert images[peak_y, peak_x] == images[peak_y - 1 : peak_y + 2, peak_x - 1 : peak_x + 2].max()
        assert np.hypot(peak_y - y, peak_x - x) < 2
        assert source_ids("m1", np.array([peak_y]), np.array([peak_x]), 448, 512)[0] == number


def test_origin__images_models_and_run(catalog, sky, small_run):
    found = catalog.top(1, by="flux_r").origin(catalog["source_id"][0])
    assert list(found.images) == ["g", "r", "i", "z"]
    for band, image in found.images.items():
        assert image.zeropoint == 27
        assert [(file.kind, file.sha256) for file in image.files][:1] == [("image", file_sha256(str(sky / f"{band}.fits")))]
        assert all(file_sha256(file.path.split("[")[0]) == file.sha256 for file in image.files)
    assert {model.name: model.digest for model in found.models} == {
        name: find_card(name).digest for name in ("lens", "morphology", "merger", "photoz")
    }
    assert found.run_digest == json.loads((small_run / "work" / "plan.json").read_text())["digest"]
    assert found.versions["surveycnn"] == __version__ and found.given is None
    assert json.loads(json.dumps(found.as_dict()))["tile"]["name"] == found.tile.name


def test_origin__is_shown(catalog, sky):
    found = catalog.origin(catalog["source_id"][0])
    lines = repr(found).splitlines()
    assert lines[0] == f"<origin of source {found.source_id} in 'run'>"
    assert lines[1] == f"  mosaic m1, y {found.y:.2f}, x {found.x:.2f}, peak pixel y {found.peak[0]}, x {found.peak[1]}"
    assert (
        lines[2]
        == f"  tile {found.tile.name}, y {found.tile.y0} to {found.tile.y1 - 1}, x {found.tile.x0} to {found.tile.x1 - 1}"
    )
    assert lines[3] == f"  band g: {sky / 'g.fits'}, zero point 27, sha256 {file_sha256(str(sky / 'g.fits'))[:12]}"
    run = next(line for line in lines if line.startswith("  run "))
    assert run.startswith(f"  run {found.run_digest[:12]}, surveycnn {__version__}, python 3.") and len(run) <= 100


@pytest.mark.parametrize(
    ("number", "message"), [(5, "has no source 5"), (1.5, "expected a whole number"), ("5", "source_id is '5'")]
)
def test_origin__of_an_unknown_source(catalog, number, message):
    with pytest.raises(CatalogError, match=message):
        catalog.origin(number)


def test_origin__of_a_damaged_or_missing_record(small_run, catalog, tmp_path):
    number = int(catalog["source_id"][0])
    shutil.copyfile(small_run / "catalog.fits", tmp_path / "catalog.fits")
    copy = open_catalog(tmp_path)
    with pytest.raises(CatalogError, match=r"has no provenance.json: it is not the output of a run"):
        copy.origin(number)
    record = json.loads((small_run / "provenance.json").read_text())
    for change, message in (
        ({"mosaics": None}, "cannot be read"),
        ({"mosaics": {"m1": record["mosaics"]["m1"] | {"nx": "512"}}}, "cannot be read"),
        ({"mosaics": {"m1": record["mosaics"]["m1"] | {"ny": 10}}}, "cannot be read"),
        ({"inputs": {"m1": {"g": {}}}}, "cannot be read"),
        ({"models": {"lens": 3}}, "cannot be read"),
    ):
        (tmp_path / "provenance.json").write_text(json.dumps(record | change))
        with pytest.raises(CatalogError, match=message):
            copy.origin(number)
    del record["mosaics"]
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(
        CatalogError, match="says nothing about tiles, as that of an older version of surveycnn: publish it again"
    ):
        copy.origin(number)


def test_origin__of_a_row_whose_number_is_another_mosaics(small_run, tmp_path):
    rows = Table.read(small_run / "catalog.fits")
    rows["mosaic"] = "m2"
    rows.write(tmp_path / "catalog.fits")
    shutil.copyfile(small_run / "provenance.json", tmp_path / "provenance.json")
    number = int(rows["source_id"][0])
    with pytest.raises(CatalogError, match=f"source {number} is not one of mosaic 'm2', which its row says"):
        open_catalog(tmp_path).origin(number)


def test_origin__of_a_crossmatch(catalog):
    match = catalog.crossmatch(Table({"ra": catalog["ra"][:1], "dec": catalog["dec"][:1]}))
    with pytest.raises(CatalogError, match="has no provenance.json"):
        match.origin(match["source_id"][0])
