"""The catalog as one FITS binary table and as one Zarr store: writers and readers with the same rows and metadata.

The writers are given a whole table by `publish`, the readers serve queries where no HATS collection was published.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.reading import check_zarr
from surveycnn.catalogs.tables import arrow_to_dataset, arrow_to_numpy, dataset_to_arrow, field_attrs, numpy_to_arrow
from surveycnn.schema import SOURCE_DIM

ZARR_CHUNK_ROWS = 1 << 18
"""Rows of a Zarr chunk: about 1 MB for a float column, few files for a large catalog."""

_FITS_FORMATS = {"b": "L", "i1": "I", "i2": "I", "i4": "J", "i8": "K", "u1": "B", "f4": "E", "f8": "D"}
_COLUMNS_ATTR = "columns"


def write_fits(table: pa.Table, path: Path, name: str = "CATALOG") -> None:
    """Write `table` as the binary table of a FITS file: TUNITn, TUCDn, TCOMMn; the same bytes for the same table."""
    from astropy.io import fits

    columns = [_fits_column(field, arrow_to_numpy(table.column(field.name))) for field in table.schema]
    hdu = fits.BinTableHDU.from_columns(columns, nrows=table.num_rows, name=name)
    for number, field in enumerate(table.schema, start=1):
        attrs = field_attrs(field)
        if "ucd" in attrs:
            hdu.header[f"TUCD{number}"] = attrs["ucd"]
        if "description" in attrs:
            hdu.header[f"TCOMM{number}"] = attrs["description"]
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)


def read_fits(path: Path, columns: Sequence[str] | None = None, rows: slice = slice(None)) -> pa.Table:
    """Arrow table of the first binary table of a FITS file; only `columns` are read from disk where given."""
    from astropy.io import fits

    fields, arrays = [], []
    with fits.open(path, memmap=True) as hdus:
        hdu = next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        for number, column in enumerate(hdu.columns, start=1):
            if columns is not None and column.name not in columns:
                continue
            header = {"description": f"TCOMM{number}", "units": f"TUNIT{number}", "ucd": f"TUCD{number}"}
            metadata = {key: hdu.header[card] for key, card in header.items() if card in hdu.header}
            arrays.append(numpy_to_arrow(np.asarray(hdu.data[column.name][rows])))
            fields.append(pa.field(column.name, arrays[-1].type, metadata=metadata))
    table = pa.table(arrays, schema=pa.schema(fields))
    return table if columns is None else table.select(list(columns))


def _fits_column(field: pa.Field, values: np.ndarray):
    from astropy.io import fits

    if values.dtype == object:
        texts = np.array([value.encode("ascii", "backslashreplace") for value in values], dtype=bytes)
        return fits.Column(field.name, f"{max(texts.dtype.itemsize, 1)}A", array=texts)
    kind = "b" if values.dtype.kind == "b" else values.dtype.str[1:]
    repeat = str(values.shape[1]) if values.ndim == 2 else ""
    return fits.Column(field.name, repeat + _FITS_FORMATS[kind], unit=field_attrs(field).get("units"), array=values)


def write_zarr(table: pa.Table, path: Path, attrs: dict[str, str] | None = None) -> None:
    """Write `table` as a Zarr v3 store for ``xarray.open_zarr``; the order of the columns is an attribute of the group.

    Metadata are consolidated: xarray warns on opening a local store without. Zarr warns on writing them, as its
    specification of version 3 does not mention them yet.
    """
    dataset = arrow_to_dataset(table)
    dataset.attrs = dict(attrs or {}) | {_COLUMNS_ATTR: table.column_names}
    for name, variable in dataset.data_vars.items():
        if variable.dtype == object:  # without rows nothing would tell text from numbers
            dataset[name] = variable.astype(np.dtypes.StringDType())
    rows = max(1, min(ZARR_CHUNK_ROWS, table.num_rows))
    encoding = {name: {"chunks": (rows, *dataset[name].shape[1:])} for name in dataset.data_vars}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part", category=UserWarning)
        dataset.to_zarr(path, mode="w", zarr_format=3, consolidated=True, encoding=encoding)


def read_zarr(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Arrow table of a store of :func:`write_zarr`; only `columns` are read from disk where given."""
    with _open_zarr(path) as dataset:
        names = columns if columns is not None else dataset.attrs.get(_COLUMNS_ATTR, list(dataset.data_vars))
        return dataset_to_arrow(dataset[list(names)].drop_attrs(deep=False).load())


def _open_zarr(path: Path) -> xr.Dataset:
    check_zarr(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that are not as they were written, which fail or do no harm
        return xr.open_zarr(path, zarr_format=3, chunks=None)  # without Dask, which would gain nothing


def schema_of(path: Path) -> pa.Schema:
    """Arrow schema, with metadata, of a Zarr store or FITS table of ours, without reading its rows."""
    if path.suffix == ".zarr":
        with _open_zarr(path) as dataset:
            names = dataset.attrs.get(_COLUMNS_ATTR, list(dataset.data_vars))
            return dataset_to_arrow(dataset[names].isel(source=slice(0, 0)).load()).schema
    return read_fits(path, rows=slice(0, 0)).schema


def count(path: Path) -> int:
    """Number of rows of a Zarr store or FITS table of ours, without reading them."""
    if path.suffix == ".zarr":
        with _open_zarr(path) as dataset:
            return dataset.sizes[SOURCE_DIM]
    from astropy.io import fits

    with fits.open(path, memmap=True) as hdus:
        return next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)).header["NAXIS2"]
