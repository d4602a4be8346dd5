"""A catalog that is published again takes over the partitions that would come out the same, and is as one made from nothing."""

import json

import pytest
from overlapping_survey import files_of, write_survey

from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.publishing.merge import TileRows
from surveycnn.catalogs.publishing.publish import publish_rows
from surveycnn.catalogs.verify import verify_catalog


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Tiles of four mosaics in a row, of which two neighbours share their sources."""
    return write_survey(tmp_path_factory.mktemp("tiles"), 10.0, 0.0, seed=6, n_mosaics=4, n_sources=1600)


def publish_some(survey, mosaics, folder):
    paths, footprints, schema = survey
    some = [footprint for footprint in footprints if footprint.mosaic in mosaics]
    rows = TileRows([path for path in paths if path.name.partition("_")[0] in mosaics], some, schema)
    return publish_rows(rows, folder, partition_rows=200, formats=["hats"], name="survey").path


def partitions(folder):
    return {path.relative_to(folder): path.stat().st_ino for path in folder.glob("hats/sources/dataset/Norder*/*/*.parquet")}


def test_publish_rows__of_one_mosaic_more(survey, tmp_path):
    out = publish_some(survey, ("m0", "m1", "m2"), tmp_path / "grown")
    before = partitions(out)
    publish_some(survey, ("m0", "m1", "m2", "m3"), out)
    after = partitions(out)
    kept = {path for path, inode in after.items() if before.get(path) == inode}
    assert 5 < len(kept) < len(after) - 5
    fresh = publish_some(survey, ("m0", "m1", "m2", "m3"), tmp_path / "fresh")
    assert files_of(out) == files_of(fresh) and verify_catalog(out) == []
    assert json.loads((out / "provenance.json").read_text()) == json.loads((fresh / "provenance.json").read_text())
    again = publish_some(survey, ("m0", "m1", "m2", "m3"), out)
    assert partitions(again) == after


def test_publish_rows__takes_over_nothing_that_has_changed_since(survey, tmp_path):
    """A partition that was damaged, or whose record is not to be believed, is written anew."""
    out = publish_some(survey, ("m0", "m1"), tmp_path / "out")
    good, inodes = files_of(out), partitions(out)
    victim = out / sorted(inodes)[0]
    victim.write_bytes(victim.read_bytes()[:-40] + bytes(40))
    (out / sorted(inodes)[1]).unlink()
    (out / sorted(inodes)[1]).mkdir()
    record = json.loads((out / "provenance.json").read_text())
    record["catalog"]["made_from"]["hats/" + "/".join(sorted(inodes)[2].parts[1:])] = "of other tiles"
    for name in ("../victim", "work", "coverage_mine.fits"):
        record["catalog"]["files"][name] = "x"
    (out / "provenance.json").write_text(json.dumps(record))
    (out / "work").mkdir()
    (out / "coverage_mine.fits").mkdir()
    (tmp_path / "victim").touch()
    publish_some(survey, ("m0", "m1"), out)
    assert (tmp_path / "victim").exists()
    (out / "work").rmdir()
    (out / "coverage_mine.fits").rmdir()
    assert files_of(out) == good and verify_catalog(out) == []
    assert sum(inode == inodes[path] for path, inode in partitions(out).items()) == len(inodes) - 3


def test_publish_rows__where_a_mosaic_was_searched_elsewhere(survey, tmp_path):
    """Which rows are primary depends on the parts that were not searched: they are part of what a partition is made from."""
    paths, footprints, schema = survey
    out = publish_some(survey, ("m0", "m1"), tmp_path / "out")
    changed = [Footprint(one.mosaic, one.wcs, one.ny, one.nx, ((0, 2000, 0, 2000),)) for one in footprints[:2]]
    rows = TileRows(paths[:8], changed, schema)
    publish_rows(rows, out, partition_rows=200, formats=["hats"], name="survey")
    assert files_of(out) == files_of(
        publish_rows(rows, tmp_path / "fresh", partition_rows=200, formats=["hats"], name="survey").path
    )


@pytest.mark.parametrize("text", ["[" * 100_000, '{"catalog": {"files": 3, "made_from": [1]}}'])
def test_publish_rows__over_a_broken_record(survey, tmp_path, text):
    out = publish_some(survey, ("m0",), tmp_path / "out")
    good = files_of(out)
    (out / "provenance.json").write_text(text)
    assert files_of(publish_some(survey, ("m0",), out)) == good
