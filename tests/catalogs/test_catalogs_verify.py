import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from surveycnn.catalogs.formats.fits_table import write_fits
from surveycnn.catalogs.publishing import publish as publish_module
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.source import hats_partitions
from surveycnn.catalogs.verify import verify_catalog
from surveycnn.errors import CatalogError


@pytest.fixture
def copy(published, tmp_path):
    """Copy of a catalog, to be broken."""
    return shutil.copytree(published, tmp_path / "copy")


def digest_again(folder):
    """Make the record fit the files, so that what is wrong has to be seen in the rows."""
    record = json.loads((folder / "provenance.json").read_text())
    record["catalog"]["files"] = publish_module.file_digests(folder)
    (folder / "provenance.json").write_text(json.dumps(record))


def test_verify_catalog__nothing_wrong(published, sky_published, table_maker, tmp_path):
    assert verify_catalog(published) == verify_catalog(sky_published[1]) == []
    assert verify_catalog(publish(table_maker(0), tmp_path / "empty")) == []


def test_verify_catalog__changed_byte(copy):
    path = copy / "catalog.zarr" / "ra" / "c" / "0"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert "catalog.zarr/ra/c/0 has other contents than provenance.json says" in verify_catalog(copy)


def test_verify_catalog__partition_is_gone(copy):
    hats_partitions(copy / "hats")[1].path.unlink()
    findings = verify_catalog(copy)
    assert any("Npix" in finding and finding.endswith("is missing") for finding in findings)
    assert any(finding.startswith("hats: cannot be read") and "FileNotFoundError" in finding for finding in findings)


def test_verify_catalog__unreadable_and_unexpected_files(copy):
    (copy / "catalog.fits").write_bytes(b"not a table")
    (copy / "hats" / "extra").touch()
    findings = verify_catalog(copy)
    assert any(finding.startswith("fits: cannot be read") for finding in findings)
    assert "hats/extra is not in provenance.json" in findings


def test_verify_catalog__values_differ(copy, table):
    flux = table["flux_g"].to_numpy().copy()
    flux[7] += 1
    place = table.column_names.index("flux_g")
    write_fits(table.set_column(place, table.schema.field("flux_g"), pa.array(flux)), copy / "catalog.fits")
    digest_again(copy)
    assert verify_catalog(copy) == ["fits and hats: column 'flux_g' has other values"]


def test_verify_catalog__order_and_ids(copy, table):
    write_fits(pa.concat_tables([table.slice(1), table.slice(1, 1)]), copy / "catalog.fits")
    digest_again(copy)
    findings = verify_catalog(copy)
    assert "fits: 1 rows have the source_id of another row" in findings
    assert any(
        finding.startswith("fits: rows are not sorted by HEALPix index and source_id, first at row 1499") for finding in findings
    )


def test_verify_catalog__columns(copy, table):
    changed = table.drop_columns(["flags"]).set_column(1, pa.field("ra", pa.float64()), table["ra"])
    changed = changed.set_column(0, table.schema.field("source_id").with_type(pa.int32()), table["source_id"].cast(pa.int32()))
    write_fits(changed, copy / "catalog.fits")
    digest_again(copy)
    findings = verify_catalog(copy)
    for expected in (
        "fits: column 'source_id' is of type int32, expected int64",
        "fits: column 'ra' has unit '', expected 'deg'",
        "fits: column 'ra' has no description",
        "fits: column 'flags' is missing",
        "fits and hats: columns differ: ['flags']",
    ):
        assert expected in findings


def test_verify_catalog__position_off_the_sky(copy, table):
    ra = np.where(np.arange(1500) == 3, np.nan, table["ra"].to_numpy())
    write_fits(table.set_column(1, table.schema.field("ra"), pa.array(ra)), copy / "catalog.fits")
    assert any("1 rows have no position" in finding for finding in verify_catalog(copy))


@pytest.mark.parametrize("text", ["{", "{}", '{"catalog": 3}', "[" * 100_000])
def test_verify_catalog__broken_record(copy, text):
    (copy / "provenance.json").write_text(text)
    assert verify_catalog(copy) == ["provenance.json cannot be read as the record of a catalog"]


def test_verify_catalog__no_record(copy):
    (copy / "provenance.json").unlink()
    assert verify_catalog(copy) == ["provenance.json is missing"]


def test_verify_catalog__no_catalog(tmp_path):
    with pytest.raises(CatalogError, match="holds no catalog"):
        verify_catalog(tmp_path)
