"""Rows come back the same whether statistics leave groups out or not, in whatever way they are read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.formats.parquet_piece import ParquetPiece
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.catalogs.selection.limits import Limits
from surveycnn.catalogs.source import TableSource
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError

N_ROWS, GROUP = 600, 25


def make_rows() -> pa.Table:
    """Columns of many kinds, most of them rising with the row, so that groups differ; some values are NaN or missing."""
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, N_ROWS), np.degrees(np.arcsin(rng.uniform(-1, 1, N_ROWS)))
    order = np.argsort(healpix_index(ra, dec), kind="stable")
    rising = np.arange(N_ROWS) // 10

    def with_gaps(values, share=0.1):
        return pa.array(values, mask=rng.random(N_ROWS) < share)

    f4 = (rising / 60 + rng.normal(0, 0.05, N_ROWS)).astype("f4")
    f4[rng.random(N_ROWS) < 0.1], f4[100:150] = np.nan, np.nan
    f4[200:204] = [0.9, -0.0, 0.0, 0.9]
    columns = {
        "source_id": pa.array(rng.permutation(10 * N_ROWS)[:N_ROWS]),
        "ra": pa.array(ra[order]),
        "dec": pa.array(dec[order]),
        "f4": pa.array(f4),
        "f8": with_gaps(rising / 7.0 - 3),
        "i2": with_gaps((rising - 20).astype("i2")),
        "u8": pa.array((rising.astype("u8") << np.uint64(58)) + np.uint64(1)),
        "yes": with_gaps(rising > 30),
        "text": with_gaps(np.char.mod("m%02d", rising).astype(object)),
        "whole": pa.array(rng.integers(-3, 3, N_ROWS)),
        "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.stack([f4, -f4], axis=1).ravel()), 2),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return make_rows()


@pytest.fixture(scope="module")
def catalog(rows, tmp_path_factory) -> Catalog:
    """The rows as HATS files of many small row groups."""
    folder = tmp_path_factory.mktemp("groups")
    index = healpix_index(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    stored = rows.add_column(0, "_healpix_29", pa.array(index))
    edges = np.searchsorted(index, np.arange(13) << 58)
    for pixel in range(12):
        path = folder / f"dataset/Norder=0/Dir=0/Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(stored.slice(edges[pixel], edges[pixel + 1] - edges[pixel]), path, row_group_size=GROUP)
    pq.write_metadata(stored.schema, folder / "dataset/_common_metadata")
    (folder / "hats.properties").write_text(f"obs_collection=groups\nhats_nrows={N_ROWS}\n")
    return open_catalog(folder)


def expected(rows, select) -> list[int]:
    """Ids of the rows that come from a table in memory, of which nothing is known before."""
    return select(Catalog(TableSource(rows), "memory"))["source_id"].tolist()


def check(catalog, rows, select) -> list[int]:
    wanted = expected(rows, select)
    found = select(catalog)
    assert found["source_id"].tolist() == wanted and len(select(catalog)) == len(wanted)
    return wanted


NUMBERS = st.sampled_from(["0", "0.9", "-0.9", "0.5", "3", "-20", "19", "1e300", "1e999", "0.1 + 0.2", "1 / 3", "-(2.5)", "39.5"])
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
COLUMNS = st.sampled_from(["f4", "f8", "i2", "u8", "whole", "pair[0]", "pair[-1]"])
SIMPLE = st.one_of(
    st.builds("{} {} {}".format, COLUMNS, SIGNS, NUMBERS),
    st.builds("{} {} {}".format, NUMBERS, SIGNS, COLUMNS),
    st.builds("{} {} {} {} {}".format, NUMBERS, SIGNS, COLUMNS, SIGNS, NUMBERS),
    st.builds("text {} '{}'".format, SIGNS, st.sampled_from(["", "m07", "m5", "z"])),
    st.builds("{} {} ({}, {})".format, COLUMNS, st.sampled_from(["in", "not in"]), NUMBERS, NUMBERS),
    st.sampled_from(["yes", "not yes", "yes == False", "text in ('m03', '', 'x')", "i2 in (0, 7, 99)", "f4 == f4", "isnan(f8)"]),
)
CONDITIONS = st.recursive(
    SIMPLE,
    lambda part: st.one_of(
        st.builds("({}) {} ({})".format, part, st.sampled_from(["and", "or", "&", "|", "^"]), part),
        st.builds("{}({})".format, st.sampled_from(["not ", "~"]), part),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=60)
@given(CONDITIONS)
def test_where__statistics_change_nothing(catalog, rows, condition):
    check(catalog, rows, lambda given: given.where(condition))


@settings(deadline=None, max_examples=20)
@given(SIMPLE, st.integers(0, 700), st.sampled_from(["f4", "i2", "whole", "u8"]), SIMPLE, st.integers(0, 20))
def test_top__of_a_selection_and_further_steps(catalog, rows, first, n, by, second, m):
    check(catalog, rows, lambda given: given.where(first).top(n, by).where(second).top(m, "source_id").box(0, 360, -60, 60))


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 60), SIMPLE)
def test_region__with_a_condition(catalog, rows, ra, dec, radius, condition):
    check(catalog, rows, lambda given: given.cone(ra, dec, radius * 3600).where(condition).box(0, 360, -90, 45))


def test_where__groups_that_cannot_hold_a_row_are_not_read(catalog, rows, monkeypatch):
    read = []
    real = ParquetPiece.read
    monkeypatch.setattr(ParquetPiece, "read", lambda *args: read.append((tuple(args[1]), len(args[2]))) or real(*args))
    assert len(check(catalog, rows, lambda given: given.where("25 <= i2 + 20 and 30 <= i2 < 32"))) > 0
    assert sum(n_groups for _, n_groups in read) <= 16 and {columns for columns, _ in read} <= {("i2",), ("source_id",)}
    read.clear()
    assert len(catalog.where("text == 'm59' and f4 > 0.5")) > 0
    assert 0 < sum(n_groups for _, n_groups in read) <= 2


def test_where__however_much_is_read_at_once(catalog, rows, monkeypatch):
    for n_values, n_rows in ((1, 1), (200, 60), (1 << 20, 60)):
        monkeypatch.setattr("surveycnn.catalogs.selection.scanning.MAX_VALUES", n_values)
        monkeypatch.setattr("surveycnn.catalogs.formats.parquet_piece.BATCH_ROWS", n_rows)
        check(catalog, rows, lambda given: given.where("whole > 0 and f4 > 0.1"))
        check(catalog, rows, lambda given: given.where("whole > 0").top(50, "f4"))


def test_where__constants_have_the_precision_of_the_column(catalog, rows):
    f4 = rows["f4"].to_numpy()
    for condition in ("f4 == 0.9", "f4 in (0.9, 7)", "f4 >= 0.9 and f4 <= 0.9", "-0.9 == -f4", "f4 == 1.8 / 2"):
        assert len(catalog.where(condition)) == (f4 == np.float32(0.9)).sum() >= 2


def test_scan__tables_in_order(catalog, rows):
    parts = list(catalog.where("f4 > 0.2").scan())
    assert len(parts) > 3 and all(part.column_names == rows.column_names for part in parts)
    mask = rows["f4"].to_numpy() > np.float32(0.2)
    assert pa.concat_tables(parts)["source_id"].to_pylist() == rows["source_id"].to_numpy()[mask].tolist()
    assert next(catalog.scan(["f4", "pair"])).column_names == ["f4", "pair"]  # the rest is never read
    with pytest.raises(CatalogError, match="no column 'f5': did you mean"):
        catalog.scan(["f5"])


def test_catalog__missing_values_as_in_the_table(catalog, rows):
    found = catalog.where("i2 > -99").to_arrow()
    known = arrow_to_numpy(rows["i2"]) > -99
    assert found["text"].to_pylist() == rows["text"].filter(pa.array(known)).to_pylist()


def test_ids__with_and_without_an_index(catalog, rows, published, table):
    few = rows["source_id"].to_numpy()[[500, 3, 77]]
    assert catalog.ids(few)["source_id"].tolist() == rows["source_id"].to_numpy()[[3, 77, 500]].tolist()
    assert len(catalog.ids([])) == len(catalog.ids([-1])) == 0 and len(catalog.ids([*few, *few, -5]).where("f4 > 9")) == 0
    source, ids = open_catalog(published), table["source_id"].to_numpy()[[1, 900]]
    assert source.ids(ids)["ra"].tolist() == table["ra"].to_numpy()[[1, 900]].tolist()
    step = source.ids(ids).steps[0][1]
    assert len(list(source._source.pieces(Limits(conditions=(step,))))) == 2 < len(source._source.partitions)
    assert repr(source.ids(ids)).endswith("  2 ids")


@pytest.mark.parametrize("ids", [[1.5], ["a"], 3, [[1, 2]], np.array([2**63], dtype="u8"), [2**70]])
def test_ids__wrong_arguments(catalog, ids):
    with pytest.raises(CatalogError, match="expected a list of whole numbers"):
        catalog.ids(ids)


def test_moc__rows_in_its_cells(catalog, rows, tmp_path):
    from mocpy import MOC

    moc = MOC.from_string("1/3 17 40")
    index = healpix_index(rows["ra"].to_numpy(), rows["dec"].to_numpy()) >> (2 * 28)
    moc.save(tmp_path / "moc.fits", format="fits")
    for given_ in (moc, tmp_path / "moc.fits"):
        assert catalog.moc(given_)["source_id"].tolist() == rows["source_id"].to_numpy()[np.isin(index, [3, 17, 40])].tolist()


# -- Dask --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


def test_on__same_rows_from_the_workers(catalog, rows, client):
    for select in (
        lambda given: given.where("f4 > 0.3 or text == 'm02'"),
        lambda given: given.cone(20, 10, 200_000).where("i2 > 0").top(7, "f4").where("whole > -2"),
        lambda given: given.ids(rows["source_id"].to_numpy()[:5]),
    ):
        check(catalog.on(client), rows, select)
    assert catalog.on(client).to_pandas().equals(catalog.to_pandas())


def test_on__same_errors(published, client, tmp_path):
    import shutil

    shutil.copytree(published, tmp_path / "copy")
    broken = open_catalog(tmp_path / "copy").on(client)
    broken._source.partitions[2].path.write_bytes(b"PAR1 no longer")
    with pytest.raises(CatalogError, match="cannot be read.*publish the catalog again"):
        broken.to_arrow()
    with pytest.raises(CatalogError, match="on: found int, expected a distributed.Client"):
        broken.on(3)


def test_on_workers__an_error_that_is_none_of_ours(client):
    from surveycnn.catalogs.selection.on_workers import on_workers

    with pytest.raises(CatalogError, match=r"a Dask worker could not read the catalog \(ZeroDivisionError"):
        list(on_workers(client, lambda n: 1 / n, [("a", (1,)), ("b", (0,))]))
