"""HATS catalogs as others write them."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surveycnn.catalogs.formats.hats_source import HatsSource, open_hats
from surveycnn.catalogs.formats.reading import read_properties
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.regions import Cone
from surveycnn.errors import CatalogError


def write_survey(folder, *, index_order=None, in_folders=False, common=True):
    """A survey of 400 positions RAJ2000, DEJ2000 in pixels of order 1, with or without an index, in one file a pixel or two."""
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 400), np.degrees(np.arcsin(rng.uniform(-1, 1, 400)))
    index = healpix_index(ra, dec)
    order = np.argsort(index)
    table = pa.table({"objID": np.arange(400), "RAJ2000": ra[order], "DEJ2000": dec[order]})
    properties = ["obs_collection=other", "hats_col_ra=RAJ2000", "hats_col_dec = DEJ2000", "# hats_nrows=3"]
    stored = table
    if index_order is not None:
        stored = table.append_column("place", pa.array(index[order] >> (2 * (29 - index_order))))
        properties += ["hats_col_healpix=place", f"hats_col_healpix_order={index_order}"]
    pixels = index[order] >> 56
    for pixel in np.unique(pixels):
        part = stored.filter(pa.array(pixels == pixel))
        place = folder / f"dataset/Norder=1/Dir=0/Npix={pixel}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if in_folders:
            place.mkdir()
            pq.write_table(part.slice(0, 3), place / "a.snappy.parquet")
            pq.write_table(part.slice(3), place / "b.snappy.parquet")
        else:
            pq.write_table(part, place.with_suffix(".parquet"), row_group_size=4)
    if common:
        pq.write_metadata(stored.schema, folder / "dataset/_common_metadata")
    (folder / "properties").write_text("\n".join(properties))
    return table


@pytest.mark.parametrize("index_order", [None, 29, 12])
@pytest.mark.parametrize("in_folders", [False, True])
def test_open_hats__catalogs_of_others(tmp_path, index_order, in_folders):
    table = write_survey(tmp_path, index_order=index_order, in_folders=in_folders, common=not in_folders)
    source = open_hats(tmp_path)
    assert (source.ra_column, source.dec_column) == ("RAJ2000", "DEJ2000") and source.schema.names == table.column_names
    assert source.count() == source.count_stored() == 400
    found = pa.concat_tables(source.scan(["objID", "DEJ2000"]))
    assert found["objID"].to_pylist() == table["objID"].to_pylist()
    cone = Cone(100, -40, 20)
    inside = cone.contains(table["RAJ2000"].to_numpy(), table["DEJ2000"].to_numpy())
    near = [number for part in source.scan(["objID"], cone) for number in part["objID"].to_pylist()]
    assert set(np.flatnonzero(inside)) <= set(near) and len(near) < 300
    catalog = open_catalog(tmp_path)
    assert catalog.cone(100, -40, 72_000)["objID"].tolist() == np.flatnonzero(inside).tolist()
    assert len(catalog.to_table()) == 400


def test_open_hats__folders_that_are_understood(published, tmp_path):
    for folder in (published, published / "hats", published / "hats" / "sources"):
        assert open_hats(folder).count_stored() == 1500
    assert open_hats(published / "hats" / "sources_5arcs").count_stored() > 0
    with pytest.raises(CatalogError, match=r"is no HATS catalog: expected collection.properties or hats.properties, found \[\]"):
        open_hats(tmp_path)
    with pytest.raises(CatalogError, match="found no folder"):
        open_hats(tmp_path / "none")


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "a/../../b"])
def test_hats_source__is_not_led_out_of_the_collection(tmp_path, name):
    (tmp_path / "collection.properties").write_text(f"hats_primary_table_url={name}\n")
    with pytest.raises(CatalogError, match="which is not inside of it"):
        open_hats(tmp_path)


def test_hats_source__orders_that_cannot_be(tmp_path):
    write_survey(tmp_path)
    (tmp_path / "dataset/Norder=1").rename(tmp_path / "dataset/Norder=99")
    with pytest.raises(CatalogError, match="is in Norder=99, expected 0 to 29"):
        open_hats(tmp_path)


def test_hats_source__lost_file_is_missed_where_it_is_read(published, tmp_path):
    shutil.copytree(published / "hats", tmp_path / "hats")
    source = open_hats(tmp_path / "hats")
    lost = source.partitions[2]
    lost.path.unlink()
    again = open_catalog(tmp_path)
    with pytest.raises(CatalogError, match=rf"{lost.path.name}' cannot be read \(FileNotFoundError"):
        again.to_arrow()
    first = next(open_hats(published).scan(["ra", "dec"])).to_pylist()[0]
    assert len(again.cone(first["ra"], first["dec"], 1)) == 1  # it lies elsewhere
    (tmp_path / "hats/sources/partition_info.csv").write_text("Norder\n1\n")
    with pytest.raises(CatalogError, match=r"columns are \['Norder'\], expected Norder and Npix"):
        open_catalog(tmp_path)


def test_hats_source__catalog_that_is_gone(published, tmp_path):
    shutil.copytree(published / "hats", tmp_path / "hats")
    source = open_hats(tmp_path / "hats")
    shutil.rmtree(tmp_path / "hats")
    with pytest.raises(CatalogError, match="is not there any more, or not seen by .*: open it again, or let all workers see"):
        next(source.scan(["ra"]))


def test_catalog__regions_need_positions(published):
    match = open_catalog(published).select(["source_id"]).crossmatch(pa.table({"ra": [1.0], "dec": [1.0]}), suffix="_b")
    with pytest.raises(CatalogError, match="no column 'ra': did you mean"):
        match.cone(1, 1, 1)


def test_hats_source__column_that_a_file_has_not_or_in_another_type(tmp_path):
    table = write_survey(tmp_path)
    path = sorted(tmp_path.rglob("Npix=*.parquet"))[0]
    part = pq.read_table(path, partitioning=None)
    pq.write_table(part.drop(["objID"]).set_column(0, "RAJ2000", part["RAJ2000"].cast(pa.float32())), path)
    source = HatsSource(tmp_path)
    found = pa.concat_tables(source.scan(table.column_names))
    assert found["objID"].null_count == part.num_rows and found.schema.field("RAJ2000").type == pa.float64()
    assert len(open_catalog(tmp_path).where("objID == 0")) == part.num_rows + (0 not in part["objID"].to_pylist())
    pq.write_table(part.set_column(0, "objID", pa.array(["x"] * part.num_rows)), path)
    with pytest.raises(CatalogError, match="cannot be read"):
        list(source.scan(["objID"]))


def test_hats_source__count_is_what_the_files_hold_where_nothing_states_it(published):
    source = open_hats(published)
    assert source.count() == 1500
    source._properties = {"hats_nrows": "many"}
    assert source.count() == 1500


def test_read_properties__java_syntax(tmp_path):
    (tmp_path / "p").write_text("! no\n# no\na=1\n b : two words \nc\\ d=x\\=y\nlong=1,\\\n   2\nempty=\nnothing\n")
    assert read_properties(tmp_path / "p") == {"a": "1", "b": "two words", "c d": "x=y", "long": "1,2", "empty": ""}
    (tmp_path / "p").write_bytes(b"a=\xff")
    with pytest.raises(CatalogError, match="cannot be read"):
        read_properties(tmp_path / "p")
    (tmp_path / "p").write_bytes(b"a" * (1 << 21))
    with pytest.raises(CatalogError, match="more than 1048576 bytes"):
        read_properties(tmp_path / "p")
