"""Query results as files and as objects of other libraries."""

from __future__ import annotations

import html
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.formats.fits_table import write_fits
from surveycnn.catalogs.formats.parquet_metadata import with_file_metadata
from surveycnn.catalogs.formats.votable import write_votable
from surveycnn.catalogs.formats.zarr_store import write_zarr
from surveycnn.catalogs.selection.lsdb_view import lazy_selection
from surveycnn.catalogs.selection.steps import Top, columns_of
from surveycnn.catalogs.source import sky_of
from surveycnn.catalogs.tables import arrow_to_astropy, arrow_to_numpy, numpy_to_arrow
from surveycnn.errors import CatalogError

if TYPE_CHECKING:
    import lsdb

    from surveycnn.catalogs.query import Catalog


def write(table: pa.Table, path: Path) -> Path:
    """Write a table in the format of the suffix; the file appears whole or not at all, and replaces an older one.

    Raises
    ------
    CatalogError
        For a suffix that is not known or a folder that does not exist.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise CatalogError(f"cannot write {str(path)!r}: the suffix is {path.suffix!r}, known are {', '.join(_WRITERS)}")
    if not path.absolute().parent.is_dir():
        raise CatalogError(f"cannot write {str(path)!r}: there is no folder {str(path.absolute().parent)!r}")
    if path.is_dir() != (path.suffix == ".zarr") and path.exists():
        raise CatalogError(f"cannot write {str(path)!r}: something else is there under that name: remove it first")
    # astropy and others look at the suffix
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        writer(table, temporary)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)
    return path


def split_components(table: pa.Table) -> pa.Table:
    """The table with one column per component, name_0, name_1, ..., where a column has several values per row."""
    arrays, fields = [], []
    for field in table.schema:
        values = arrow_to_numpy(table[field.name])
        for place, part in enumerate(values.T if values.ndim == 2 else [values]):
            arrays.append(numpy_to_arrow(part))
            name = f"{field.name}_{place}" if values.ndim == 2 else field.name
            fields.append(pa.field(name, arrays[-1].type, metadata=field.metadata))
    return pa.table(arrays, schema=pa.schema(fields))


def _write_csv(table: pa.Table, path: Path) -> None:
    arrow_to_astropy(split_components(table)).write(path, format="ascii.csv")


def _write_ecsv(table: pa.Table, path: Path) -> None:
    # astropy cannot read a file without rows whose columns have several values per row
    arrow_to_astropy(table if table.num_rows else split_components(table)).write(path, format="ascii.ecsv")


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".fits": write_fits,
    ".parquet": lambda table, path: pq.write_table(with_file_metadata(table), path, compression="zstd"),
    ".csv": _write_csv,
    ".ecsv": _write_ecsv,
    ".vot": write_votable,
    ".zarr": write_zarr,
}


def to_lsdb(catalog: Catalog) -> lsdb.Catalog:
    """lsdb catalog: lazy where each row is selected for itself, of the rows in memory after a top or a cross-match."""
    lsdb = import_lsdb()
    steps, sky = [step for _, step in catalog.steps], sky_of(catalog._source)
    if catalog.hats_path is not None and not any(isinstance(step, Top) for step in steps):
        needed = columns_of(steps, sky)
        opened = lsdb.open_catalog(catalog.hats_path, columns=list(dict.fromkeys([*catalog.columns, *needed])))
        schema = pa.schema([catalog._source.schema.field(name) for name in needed])
        return lazy_selection(opened, steps, schema, sky, catalog.columns) if steps else opened
    table = catalog.to_arrow()
    if not table.num_rows:
        raise CatalogError("no row is selected: lsdb has no catalog without rows; widen the selection")
    import pandas as pd

    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return lsdb.from_dataframe(frame, ra_column=sky.ra, dec_column=sky.dec, catalog_name=catalog.name)


def import_lsdb() -> ModuleType:
    """The lsdb module; its import sets an option that pandas 3.1 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The 'mode.chained_assignment' option", category=DeprecationWarning)
        import lsdb
    return lsdb


def to_html(catalog: Catalog) -> str:
    """HTML for notebooks: rows, selections and the columns with units and meanings."""
    from surveycnn.catalogs.query import field_summary

    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in field_summary(field)) + "</tr>"
        for field in catalog.schema
    )
    steps = "".join(f"<li>{html.escape(text)}</li>" for text, _ in catalog.steps)
    head = f"<p><b>Catalog {html.escape(catalog.name)}</b>: {catalog.n_published:,} rows, {len(catalog.columns)} columns</p>"
    body = "<tr><th>column</th><th>type</th><th>unit</th><th>meaning</th></tr>" + rows
    return f"{head}<ul>{steps}</ul><details><summary>columns</summary><table>{body}</table></details>"
