from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
from astropy.table import MaskedColumn, Table

from surveycnn.catalogs import columns
from surveycnn.catalogs.tables import (
    arrow_to_astropy,
    arrow_to_dataset,
    arrow_to_numpy,
    astropy_to_arrow,
    dataset_to_arrow,
    numpy_to_arrow,
)
from surveycnn.errors import SchemaError
from surveycnn.schema import Schema

SCHEMA = columns.source_schema(["g"]) + Schema(columns.photoz_columns(4))


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_dataset_to_arrow__round_trip_is_exact(n_rows):
    dataset = SCHEMA.empty(n_rows)
    dataset["pz_mean"].values[:] = np.arange(4 * n_rows).reshape(n_rows, 4)
    dataset.attrs = {"tile": "r0001_c0002", "shape": [1, 2]}
    back = arrow_to_dataset(dataset_to_arrow(dataset))
    xr.testing.assert_identical(back, dataset)
    SCHEMA.validate(back)


def test_dataset_to_arrow__keeps_units_ucds_and_descriptions():
    field = dataset_to_arrow(SCHEMA.empty(1)).schema.field("ra")
    told = {b"units": b"deg", b"ucd": b"pos.eq.ra;meta.main", b"description": b"right ascension, ICRS"}
    assert field.metadata == told | {b"filled_by": b"detection"}


def test_dataset_to_arrow__survives_a_file(tmp_path):
    import pyarrow.parquet as pq

    dataset = SCHEMA.empty(3)
    pq.write_table(dataset_to_arrow(dataset), tmp_path / "tile.parquet")
    xr.testing.assert_identical(arrow_to_dataset(pq.read_table(tmp_path / "tile.parquet")), dataset)


def test_dataset_to_arrow__other_dims():
    with pytest.raises(SchemaError, match=r"column 'a' has dims \('y',\)"):
        dataset_to_arrow(xr.Dataset({"a": ("y", [1.0])}))


def test_arrow_to_astropy__keeps_units_ucds_and_descriptions():
    table = arrow_to_astropy(dataset_to_arrow(SCHEMA.empty(2)))
    assert (str(table["flux_g"].unit), table["flux_g"].meta["ucd"]) == ("nJy", "phot.flux.density;em.opt.B")
    assert table["flux_g"].description == "flux in g in the Kron-like aperture, NaN without data"
    assert table["pz_mean"].shape == (2, 4) and table["mosaic"].dtype.kind == "U"


def test_astropy_to_arrow__round_trip(table):
    back = astropy_to_arrow(arrow_to_astropy(table))
    for name in table.column_names:
        np.testing.assert_array_equal(arrow_to_numpy(back[name]), arrow_to_numpy(table[name]))
        assert back.schema.field(name).metadata[b"description"] == table.schema.field(name).metadata[b"description"]


def test_astropy_to_arrow__masked_values():
    table = Table(
        {"a": MaskedColumn([1.0, 2.0], mask=[True, False]), "s": MaskedColumn(["x", "y"], mask=[False, True], fill_value="")}
    )
    arrow = astropy_to_arrow(table)
    assert np.isnan(arrow["a"][0].as_py()) and arrow["s"].to_pylist() == ["x", ""]


def test_numpy_to_arrow__too_many_dimensions():
    with pytest.raises(SchemaError, match="expected one number or one row of numbers"):
        numpy_to_arrow(np.zeros((2, 2, 2)))


def test_numpy_to_arrow__big_endian_as_in_fits():
    assert numpy_to_arrow(np.array([1.5, 2.5], dtype=">f4")).to_pylist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1.0, None]), [1.0, np.nan]),
        (pa.array(["a", None]), ["a", ""]),
        (pa.array([True, None]), [True, False]),
        (pa.array([1, None], pa.int32()), [1, 0]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    ],
)
def test_arrow_to_numpy__nulls_and_dictionaries(array, expected):
    np.testing.assert_array_equal(
        arrow_to_numpy(pa.chunked_array([array])), np.array(expected, dtype=object if array.type in (pa.string(),) else None)
    )


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([{"a": 1}, None]), ["{'a': 1}", ""]),
        (pa.array([b"a\xad", None]), ["a\\xad", ""]),
        (pa.array([Decimal("1.5"), None]), [1.5, np.nan]),
        (pa.nulls(2), [np.nan, np.nan]),
        (pa.array([[1.0, None], None], pa.list_(pa.float64(), 2)), [[1, np.nan], [np.nan, np.nan]]),
    ],
)
def test_arrow_to_numpy__types_of_other_catalogs(array, expected):
    found = arrow_to_numpy(pa.chunked_array([array]))
    np.testing.assert_array_equal(found, np.array(expected, dtype=found.dtype))


def test_arrow_to_numpy__lists_of_any_length():
    found = arrow_to_numpy(pa.chunked_array([pa.array([[1.0], [1.0, 2.0], None])]))
    assert [None if one is None else list(one) for one in found] == [[1], [1, 2], None]
