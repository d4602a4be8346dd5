"""The catalog as a HATS collection: Parquet partitions on the HEALPix grid with a margin cache, for lsdb and for our queries.

    hats/collection.properties
    hats/sources/           the rows; dataset/Norder=k/Dir=d/Npix=n.parquet, each sorted as the catalog is
    hats/sources_5arcs/     rows within 5 arcsec outside of each partition, so that cross-matches lose nothing at borders

Written with the hats library's own classes, but not through lsdb, which would start a Dask graph, and whose output holds dates.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import cdshealpix
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog import CatalogType, PartitionInfo, TableProperties
from hats.catalog.dataset.collection_properties import CollectionProperties
from hats.io import file_io, paths
from hats.io.parquet_metadata import write_parquet_metadata
from hats.io.skymap import write_skymap
from hats.pixel_math import HealpixPixel
from hats.pixel_math.healpix_shim import margin2order

from surveycnn.catalogs import healpix
from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.source import HATS_MAIN as MAIN

MARGIN = "sources_5arcs"
"""Folder of the margin cache inside the collection."""
MARGIN_ARCSEC = 5.0
MAX_ORDER = 12
"""Partitions are not cut finer than this (0.86 arcmin), below which the margin would rival them."""
ROW_GROUP_ROWS = 1 << 14
"""Rows of a Parquet row group, the least that a query reads."""
SKYMAP_ORDER = 8

Partition = tuple[int, int, np.ndarray]
"""Order, pixel and the indices of its rows."""


def write_hats(table: pa.Table, out_dir: Path, *, name: str, partition_rows: int) -> None:
    """Write a HATS collection of `table`.

    Parameters
    ----------
    table
        Rows sorted by HEALPix order-29 index, with the columns ra and dec.
    out_dir
        Folder of the collection, made here.
    name
        Name of the catalog, which lsdb shows and uses for suffixes.
    partition_rows
        Largest number of rows of a partition.
    """
    index = healpix.healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy())
    table = table.add_column(0, HEALPIX_COLUMN, pa.array(index)).replace_schema_metadata(None)
    sky = healpix.partition(index, partition_rows, MAX_ORDER)
    main = [(order, pixel, np.arange(start, stop)) for order, pixel, start, stop in sky if stop > start]
    margin = _margin_rows(index, [(order, pixel) for order, pixel, *_ in sky]) if main else []
    common = {"catalog_name": name, "hats_max_rows": partition_rows, "skymap_order": SKYMAP_ORDER}
    _write_catalog(table, main, out_dir / MAIN, CatalogType.OBJECT, **common)
    write_skymap(_counts(index), out_dir / MAIN)
    # lsdb reads the sky that is covered from a map under this name
    file_io.write_fits_image(_counts(index), paths.get_point_map_file_pointer(out_dir / MAIN))
    limits = {"primary_catalog": MAIN, "margin_threshold": MARGIN_ARCSEC}
    _write_catalog(table, margin, out_dir / MARGIN, CatalogType.MARGIN, catalog_name=f"{name}_5arcs", **limits)
    collection = {"name": name, "hats_primary_table_url": MAIN, "all_margins": [MARGIN], "default_margin": MARGIN}
    CollectionProperties.model_validate(collection | {"hats_builder": _builder()}).to_properties_file(out_dir)


def _builder() -> str:
    from surveycnn import __version__

    return f"surveycnn v{__version__}, hats v{version('hats')}"


def _counts(index: np.ndarray) -> np.ndarray:
    shift = 2 * (healpix.ORDER - SKYMAP_ORDER)
    return np.bincount(index >> shift, minlength=12 << (2 * SKYMAP_ORDER)).astype(np.int64)


def _margin_rows(index: np.ndarray, pixels: list[tuple[int, int]]) -> list[Partition]:
    """Rows in the cells, wider than the margin, that surround each pixel (order, pixel), those of the empty sky included.

    lsdb needs them for a partner catalog that has rows where we have none. The rows are sorted, so a cell is a range of them.
    """
    depth = int(margin2order(np.array(MARGIN_ARCSEC / 60)))
    shift = 2 * (healpix.ORDER - depth)
    partitions = []
    for order, pixel in pixels:
        edges, corners = cdshealpix.external_neighbours(pixel, order, depth - order)
        cells = np.concatenate([np.ravel(edges), np.ravel(corners)]).astype(np.int64)
        cells = np.unique(cells[cells >= 0])
        starts = np.searchsorted(index, cells << shift)
        stops = np.searchsorted(index, (cells + 1) << shift)
        rows = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True) if stop > start]
        if rows:
            partitions.append((order, pixel, np.concatenate(rows)))
    return partitions


def _write_catalog(table: pa.Table, partitions: list[Partition], out_dir: Path, kind: CatalogType, **properties: Any) -> None:
    """Write one catalog of the collection: its Parquet files, their common metadata and the properties."""
    (out_dir / "dataset").mkdir(parents=True)
    # the compression level of hats, 15, takes ten times as long for 3 % less
    options = file_io.get_parquet_write_table_kwargs(table.schema) | {"row_group_size": ROW_GROUP_ROWS, "compression_level": 3}
    for order, pixel, rows in partitions:
        path = paths.new_pixel_catalog_file(out_dir, HealpixPixel(order, pixel), create_dirs=True)
        contiguous = len(rows) and rows[-1] - rows[0] == len(rows) - 1
        part = table.slice(rows[0], len(rows)) if contiguous else table.take(rows)
        pq.write_table(part, str(path), **options)
    _write_metadata(table.schema, partitions, out_dir)
    info = PartitionInfo([HealpixPixel(order, pixel) for order, pixel, _ in partitions])
    info.write_to_file(out_dir / "partition_info.csv")
    values = {
        "catalog_type": kind,
        "ra_column": "ra",
        "dec_column": "dec",
        "total_rows": sum(len(rows) for *_, rows in partitions),
        "healpix_column": HEALPIX_COLUMN,
        "healpix_order": healpix.ORDER,
        "hats_order": info.get_highest_order() if partitions else 0,
        "moc_sky_fraction": float(f"{info.calculate_fractional_coverage() if partitions else 0.0:.5g}"),
        "hats_builder": _builder(),
        "hats_version": "v1.0",
    }
    TableProperties.model_validate(values | properties).to_properties_file(out_dir)


def _write_metadata(schema: pa.Schema, partitions: list[Partition], out_dir: Path) -> None:
    """Write ``_metadata`` and ``_common_metadata``; hats cannot where there is no Parquet file to read the schema from."""
    if partitions:
        write_parquet_metadata(out_dir)
        return
    for name in ("_metadata", "_common_metadata"):
        pq.write_metadata(schema, str(out_dir / "dataset" / name))
