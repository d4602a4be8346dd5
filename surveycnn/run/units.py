"""Ids of work units: hashes of all that a tile's rows come from, and of nothing else.

A tile's result is valid as long as its id is the one that the plan gives it now. So a new model, a mosaic that is delivered again
or another setting makes those tiles invalid that depend on it, in those parts that depend on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surveycnn import __version__
from surveycnn.config import SurveyConfig
from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.run.inputs import MosaicInputs
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.strips import MAP_KINDS
from surveycnn.sky.tiling import Tile

if TYPE_CHECKING:
    from surveycnn.sources.catalog import SourceTable


@dataclass(frozen=True)
class WorkUnit:
    """One tile to process, with the ids that its result must carry."""

    tile: Tile
    unit_id: str
    """Of all that is in the tile's file."""
    rows_id: str
    """Of its rows without the columns of models."""


@dataclass(frozen=True)
class ModelUse:
    """A model that runs on a mosaic, and the mosaic's bands that it is given."""

    reference: str
    """Name of a shipped model or path of a package."""
    name: str
    task: str
    bands: tuple[str, ...]
    """Bands of the mosaic in the order of the card's bands."""
    digest: str
    """Of the card and the weights."""
    ebv: float = 0.0
    """E(B-V) of the Milky Way in front of the mosaic, magnitudes; 0 where the model does not ask for it."""

    def part_id(self, precision: str) -> str:
        """Id of what the model says of given rows, wherever its package lies; `precision` is a word of the configuration."""
        arithmetic = "float32" if precision == "auto" else precision
        return _digest([__version__, self.task, self.digest, self.bands, self.ebv, arithmetic])


def work_unit(tile: Tile, rows: str, parts: Mapping[str, str]) -> WorkUnit:
    """The unit of a tile.

    Parameters
    ----------
    rows
        From :func:`rows_digest`.
    parts
        Part id of each model, by task.
    """
    rows_id = _digest([rows, tile.y0, tile.y1, tile.x0, tile.x1, tile.halo])
    return WorkUnit(tile, _digest([rows_id, sorted(parts.items())]), rows_id)


def rows_digest(
    config: SurveyConfig,
    inputs: MosaicInputs,
    detection_bands: Iterable[str],
    sources: SourceTable | None,
    pixels: list[dict[str, Any] | None],
) -> str:
    """Digest of what all rows of a mosaic come from but for where a tile lies: pixels, their calibration, settings, version.

    Parameters
    ----------
    pixels
        From :func:`stored_pixels`: files count by their bytes, not by their names.
    """
    found = config.detection
    given = sources and [sources.sha256, found.ra, found.dec, found.id]
    grids = [grid and [grid.ny, grid.nx, grid.wcs_header] for grid in inputs.grids]
    bands = [[image.band, image.zeropoint, image.plane, image.nodata, image.saturation, *_hdus(image)] for image in inputs.images]
    return _digest(
        [__version__, inputs.id, inputs.ny, inputs.nx, inputs.wcs_header, bands, grids, pixels]
        + [list(detection_bands), found.threshold_sigma, found.min_area_px, found.combine, given]
        + [config.photometry.model_dump(mode="json")]
    )


def _hdus(image: Any) -> list[Any]:
    """HDU of the image and of each of its maps; None of a map that it has not."""
    paths = [image.path, *(getattr(image, kind) for kind in MAP_KINDS)]
    return [path and [split_path(path)[1]] for path in paths]


def stored_pixels(store: WorkStore, inputs: MosaicInputs) -> list[dict[str, Any] | None]:
    """What is in a mosaic's chunk store, band by band: digests of the files, zero point, saturation; None where it is not."""
    try:
        chunks = ChunkStore.open(store.chunk_path(inputs.id))
        records = [chunks.band_record(band) if band in chunks.bands else None for band in inputs.bands]
    except InputError:
        return [None] * len(inputs.images)
    return [record and {key: record.get(key) for key in ("digests", "zeropoint", "saturation")} for record in records]


def _digest(values: Any) -> str:
    """128 bits of the sha256 of plain values, hexadecimal."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
