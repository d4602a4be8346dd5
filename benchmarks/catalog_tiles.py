"""Finished tiles of a survey that was never observed: files of real shape, as many rows as wanted, for benchmarks of catalogs.

    python -m benchmarks.catalog_tiles 10000000 FOLDER [--seed 0]

The columns are those of the shipped models on four bands. Tiles are 2048 pixels of 0.2 arcsec wide, as crowded as those of KiDS.
Mosaics of 5 x 5 tiles stand in rows of equal declination and overlap by a twentieth of their width, where sources are in both.
Numbers are drawn at random over all bits of their mantissas, so that they compress as measured ones do.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.wcs import WCS

from surveycnn.catalogs.columns import source_schema
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.publishing.encodings import encodings
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.models.package import find_card
from surveycnn.schema import Schema, Variable
from surveycnn.sources.identity import source_ids

BANDS = ("g", "r", "i", "z")
MODELS = ("lens", "morphology", "merger", "photoz")
TILE_PX = 2048
TILES_PER_SIDE = 5
PIXEL_SCALE_DEG = 0.2 / 3600
SOURCES_PER_TILE = 3500
OVERLAP = 0.05
"""Share of a mosaic's width that its neighbour has too."""
FIRST_DEC = -35.0
MOSAICS_PER_ROW = 20


def survey_schema() -> Schema:
    """Columns of a survey of four bands with all shipped models."""
    schema = source_schema(BANDS)
    for model in MODELS:
        schema += find_card(model).schema
    return schema


@dataclass(frozen=True)
class Field:
    """A mosaic of the survey."""

    number: int

    @property
    def name(self) -> str:
        return f"field{self.number:05d}"

    @property
    def size_px(self) -> int:
        return TILE_PX * TILES_PER_SIDE

    @property
    def footprint(self) -> Footprint:
        step = self.size_px * PIXEL_SCALE_DEG * (1 - OVERLAP)
        row, column = divmod(self.number, MOSAICS_PER_ROW)
        dec = FIRST_DEC + row * step
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval = column * step / math.cos(math.radians(dec)) % 360, dec
        wcs.wcs.crpix = (self.size_px + 1) / 2, (self.size_px + 1) / 2
        wcs.wcs.cdelt = -PIXEL_SCALE_DEG, PIXEL_SCALE_DEG
        wcs.wcs.set()
        return Footprint(self.name, wcs, self.size_px, self.size_px)

    def write_tile(self, row: int, column: int, n_rows: int, schema: Schema, folder: Path, seed: int) -> Path:
        """Write the file of one tile."""
        rng = np.random.default_rng([seed, self.number, row, column])
        # no pixel is the peak of two sources
        peak = np.sort(rng.choice(TILE_PX * TILE_PX, n_rows, replace=False))
        y, x = row * TILE_PX + peak // TILE_PX, column * TILE_PX + peak % TILE_PX
        values = {name: _values(variable, n_rows, rng) for name, variable in schema.items()}
        values |= {"y": y + rng.uniform(-0.5, 0.5, n_rows), "x": x + rng.uniform(-0.5, 0.5, n_rows)}
        values["ra"], values["dec"] = self.footprint.wcs.all_pix2world(values["x"], values["y"], 0)
        values["source_id"] = source_ids(self.name, y, x, self.size_px, self.size_px)
        values["mosaic"] = np.full(n_rows, self.name, dtype=object)
        path = folder / self.name / f"{row:03d}_{column:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = dataset_to_arrow(schema.dataset(values))
        pq.write_table(table, path, compression="zstd", write_page_checksum=True, **encodings(table.schema))
        return path


def _values(variable: Variable, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of a column: probabilities in [0, 1], others positive with a long tail, or near one."""
    values = variable.empty(n_rows)
    if values.dtype.kind == "f":
        draws = rng.random(values.shape) ** 4 if "probability" in variable.ucd else rng.lognormal(0.0, 0.5, values.shape)
        return draws.astype(values.dtype)
    return np.ones_like(values) if values.dtype.kind == "b" else rng.integers(0, 4, n_rows).astype(values.dtype)


def make_tiles(folder: Path, n_rows: int, seed: int = 0) -> tuple[list[Path], list[Footprint]]:
    """Tile files with `n_rows` rows in all, and the mosaics that they come from; those that are there are taken as they are."""
    schema = survey_schema()
    paths, footprints = [], []
    for field, row, column, n_sources in _tiles(n_rows):
        path = folder / field.name / f"{row:03d}_{column:03d}.parquet"
        paths.append(path if path.exists() else field.write_tile(row, column, n_sources, schema, folder, seed))
        if row == column == 0:
            footprints.append(field.footprint)
    return paths, footprints


def _tiles(n_rows: int) -> Iterator[tuple[Field, int, int, int]]:
    """Mosaic, row, column and number of sources of each tile."""
    n_tiles = math.ceil(n_rows / SOURCES_PER_TILE)
    for number in range(n_tiles):
        mosaic, tile = divmod(number, TILES_PER_SIDE**2)
        n_sources = min(SOURCES_PER_TILE, n_rows - number * SOURCES_PER_TILE)
        yield Field(mosaic), *divmod(tile, TILES_PER_SIDE), n_sources


def main() -> None:
    """Make tiles, print what was made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    paths, footprints = make_tiles(arguments.folder, arguments.rows, arguments.seed)
    n_bytes = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} tiles of {len(footprints)} mosaics, {arguments.rows} rows, {n_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
