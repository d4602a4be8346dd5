"""What makes a HATS collection of partitions that have been written: its metadata, for lsdb and for our queries.

    hats/collection.properties
    hats/sources/ hats/sources_5arcs/ hats/sources_id_index/     as :mod:`surveycnn.catalogs.publishing.pieces` says

Written with the hats library's own classes, but not through lsdb, which would start a Dask graph, and whose output holds dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog import CatalogType, PartitionInfo, TableProperties
from hats.catalog.dataset.collection_properties import CollectionProperties
from hats.io import file_io, paths
from hats.io.parquet_metadata import write_parquet_metadata
from hats.io.skymap import write_skymap
from hats.pixel_math import HealpixPixel

from surveycnn.catalogs import healpix
from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.publishing.pieces import MARGIN, MARGIN_ARCSEC, ROW_GROUP_ROWS
from surveycnn.catalogs.source import HATS_ID_INDEX as INDEX
from surveycnn.catalogs.source import HATS_MAIN as MAIN

SKYMAP_ORDER = 8
MAX_FOOTERS = 1024
"""Row groups whose footers, 120 kB each while they are written, are gathered in ``_metadata``; readers can do without."""


def write_main(folder: Path, schema: pa.Schema, pixels: Sequence[tuple[int, int]], n_rows: int, **properties: Any) -> None:
    """Write the metadata of the rows' catalog.

    Parameters
    ----------
    folder
        Collection.
    pixels
        Order and pixel of each partition that holds rows.
    """
    _write_metadata(
        folder / MAIN, schema, pixels, n_rows, catalog_type=CatalogType.OBJECT, skymap_order=SKYMAP_ORDER, **properties
    )


def write_maps(folder: Path, cells: np.ndarray, counts: np.ndarray) -> None:
    """Write the maps of the number of rows on the sky, from those of cells."""
    shift = 2 * (healpix.CELL_ORDER - SKYMAP_ORDER)
    skymap = np.bincount(cells >> shift, weights=counts, minlength=12 << (2 * SKYMAP_ORDER)).astype(np.int64)
    write_skymap(skymap, folder / MAIN)
    # lsdb reads the sky that is covered from a map under this name
    file_io.write_fits_image(skymap, paths.get_point_map_file_pointer(folder / MAIN))


def write_margin(folder: Path, schema: pa.Schema, pixels: Sequence[tuple[int, int]], n_rows: int, name: str) -> None:
    """Write the metadata of the margins' catalog."""
    limits = {"primary_catalog": MAIN, "margin_threshold": MARGIN_ARCSEC}
    _write_metadata(
        folder / MARGIN, schema, pixels, n_rows, catalog_type=CatalogType.MARGIN, catalog_name=f"{name}_5arcs", **limits
    )


def write_index(folder: Path, n_rows: int, name: str) -> None:
    """Write the metadata of the id index."""
    write_parquet_metadata(folder / INDEX, order_by_healpix=False)
    values = {
        "catalog_name": f"{name}_id",
        "catalog_type": CatalogType.INDEX,
        "total_rows": n_rows,
        "primary_catalog": MAIN,
        "indexing_column": "source_id",
        "hats_builder": _builder(),
        "hats_version": "v1.0",
    }
    TableProperties.model_validate(values).to_properties_file(folder / INDEX)


def write_collection(folder: Path, name: str, has_index: bool) -> None:
    """Write what ties the catalogs of the collection together."""
    values: dict[str, Any] = {"name": name, "hats_primary_table_url": MAIN, "all_margins": [MARGIN], "default_margin": MARGIN}
    if has_index:
        values |= {"all_indexes": {"source_id": INDEX}, "default_index": "source_id"}
    CollectionProperties.model_validate(values | {"hats_builder": _builder()}).to_properties_file(folder)


def _builder() -> str:
    from surveycnn import __version__

    return f"surveycnn v{__version__}, hats v{version('hats')}"


def _write_metadata(folder: Path, schema: pa.Schema, pixels: Sequence[tuple[int, int]], n_rows: int, **properties: Any) -> None:
    """Write the common metadata of the Parquet files of a catalog, the list of its partitions and its properties."""
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    if pixels:
        n_groups = len(pixels) + n_rows // ROW_GROUP_ROWS
        write_parquet_metadata(folder, create_metadata=n_groups <= MAX_FOOTERS)
    else:  # hats needs a Parquet file to read the schema from
        for name in ("_metadata", "_common_metadata"):
            pq.write_metadata(schema, str(folder / "dataset" / name))
    info = PartitionInfo([HealpixPixel(order, pixel) for order, pixel in pixels])
    info.write_to_file(folder / "partition_info.csv")
    values = {
        "ra_column": "ra",
        "dec_column": "dec",
        "total_rows": n_rows,
        "healpix_column": HEALPIX_COLUMN,
        "healpix_order": healpix.ORDER,
        "hats_order": info.get_highest_order() if pixels else 0,
        "moc_sky_fraction": float(f"{info.calculate_fractional_coverage() if pixels else 0.0:.5g}"),
        "hats_builder": _builder(),
        "hats_version": "v1.0",
    }
    TableProperties.model_validate(values | properties).to_properties_file(folder)
