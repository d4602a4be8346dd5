import shutil

import numpy as np
import pyarrow as pa
import pytest

from surveycnn.catalogs.formats import file_source as module
from surveycnn.catalogs.formats import zarr_store
from surveycnn.catalogs.formats.file_source import file_kinds, file_source
from surveycnn.catalogs.formats.fits_table import create_fits_parts, text_widths, write_fits, write_fits_parts
from surveycnn.catalogs.formats.row_index import even_slices, row_slices
from surveycnn.catalogs.formats.zarr_store import write_zarr
from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.catalogs.selection.regions import Box, Cone
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError

COLUMNS = ["source_id", "ra", "dec", "mosaic", "flux_g", "flux_r", "pz_mean"]


@pytest.fixture(scope="module")
def sky(table_maker) -> pa.Table:
    """Rows all over the sky, of a few columns."""
    return table_maker(3000, seed=1, whole_sky=True).select(COLUMNS)


@pytest.fixture(scope="module")
def folder(sky, tmp_path_factory):
    """The sky as a Zarr store and as a FITS table in several files, with small chunks."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        for place in (module, zarr_store):
            patch.setattr(place, "CHUNK_ROWS", 50)
            patch.setattr(place, "SHARD_ROWS", 500)
        write_zarr(sky, folder / "catalog.zarr")
        paths = create_fits_parts(folder, sky.schema, sky.num_rows, text_widths(sky), is_sorted=True, max_bytes=50_000)
        write_fits_parts(paths, 0, sky)
        yield folder


@pytest.mark.parametrize("kind", ["zarr", "fits"])
@pytest.mark.parametrize("region", [Cone(0, 0, 2), Cone(10, 90, 5), Cone(359.9, -45, 1), Box(350, 20, -90, -60), Cone(77, 30, 0)])
def test_file_source__reads_the_chunks_of_a_region(kind, region, sky, folder):
    source = file_source(folder, kind)
    parts = list(source.scan(["ra", "dec", "source_id"], region))
    found = pa.concat_tables(parts) if parts else sky.select(["ra", "dec", "source_id"]).slice(0, 0)
    inside = [ids[region.contains(ra, dec)] for ra, dec, ids in map(positions, (found, sky))]
    assert inside[0].tolist() == inside[1].tolist()
    assert found.num_rows < sky.num_rows / 2 and all(part.num_rows <= 500 for part in parts)


def positions(table):
    return [arrow_to_numpy(table[name]) for name in ("ra", "dec", "source_id")]


@pytest.mark.parametrize("kind", ["zarr", "fits"])
def test_file_source__all_rows_in_order(kind, sky, folder):
    source = file_source(folder, kind)
    parts = list(source.scan(["source_id", "mosaic"], None))
    assert len(parts) >= 6 and source.count() == sky.num_rows == len(Catalog(source, "sky"))
    assert pa.concat_tables(parts).combine_chunks().equals(sky.select(["source_id", "mosaic"]).combine_chunks())
    assert source.schema.equals(sky.schema, check_metadata=True)
    assert sum(part.num_rows for part in source.scan([], None)) == sky.num_rows


def test_file_source__rows_that_are_not_sorted(sky, tmp_path):
    write_fits(sky.take(pa.array(np.arange(3000)[::-1])), tmp_path / "catalog.fits")
    assert sum(part.num_rows for part in file_source(tmp_path, "fits").scan(["ra"], Cone(0, 0, 1))) == 3000


def test_file_source__a_file_of_the_table_is_missing(folder, tmp_path):
    for path in sorted(folder.glob("*.fits"))[1:]:
        shutil.copy(path, tmp_path)
    assert file_kinds(tmp_path) == ["fits"]
    with pytest.raises(CatalogError, match="catalog_002.fits' is file 2 of .*; expected file 1 of .*fetch the files"):
        open_catalog(tmp_path)


@pytest.mark.parametrize("kind", ["zarr", "fits"])
def test_file_source__published_anew_in_between(kind, sky, tmp_path):
    write = {"zarr": write_zarr, "fits": write_fits}[kind]
    write(sky, tmp_path / f"catalog.{kind}")
    source = file_source(tmp_path, kind)
    write(sky.slice(5), tmp_path / f"new.{kind}")
    shutil.move(tmp_path / f"catalog.{kind}", tmp_path / f"old.{kind}")
    shutil.move(tmp_path / f"new.{kind}", tmp_path / f"catalog.{kind}")
    with pytest.raises(CatalogError, match="has been published anew: open it again"):
        list(source.scan(["ra"], None))


def test_row_slices__chunks_that_may_have_an_index():
    starts = np.array([0, 10, 10, 30])
    assert row_slices(starts, 5, 18, [(10, 11)], 100) == [slice(0, 15)]  # index 10 may begin before the chunk that begins with it
    assert row_slices(starts, 5, 18, [(31, 40)], 100) == [slice(15, 18)]
    assert row_slices(starts, 5, 18, [(0, 1), (31, 40)], 100) == [slice(0, 5), slice(15, 18)]
    assert row_slices(starts, 5, 18, [(0, 100)], 10) == [slice(0, 10), slice(10, 18)]
    assert row_slices(starts[:0], 5, 0, [(0, 100)], 10) == [] == even_slices(0, 0, 10)
