"""Where a row comes from: mosaic, tile and pixel, images, models and run, as its source_id and the provenance of the catalog say.

A source_id holds the number of the mosaic and the peak pixel, or the row of the user's table; provenance.json holds the rest.
"""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.source import PROVENANCE
from surveycnn.errors import CatalogError, printable
from surveycnn.sky.strips import MAP_KINDS
from surveycnn.sky.tiling import TileGrid
from surveycnn.sources.identity import PIXEL_BITS, mosaic_key

if TYPE_CHECKING:
    from surveycnn.catalogs.query import Catalog

WIDTH = 100
"""Characters of a line, but where a path is longer."""
_DIGITS = 12
"""Of a digest, for people."""


@dataclass(frozen=True)
class TileOfRow:
    """The tile that has found or measured a source."""

    name: str
    """As in the work directory: ``tiles/<mosaic>/<name>.parquet``."""
    row: int
    col: int
    y0: int
    """First row of the core in pixels of the mosaic; the ends are half-open."""
    y1: int
    x0: int
    x1: int


@dataclass(frozen=True)
class RowOfTable:
    """The row of the user's table that a source was measured for."""

    path: str
    sha256: str
    row: int
    """0-based."""
    input_id: int | str


@dataclass(frozen=True)
class ImageFile:
    """A file that pixels come from."""

    kind: str
    """image, or the kind of its map: weight, variance, rms or mask."""
    path: str
    sha256: str


@dataclass(frozen=True)
class ImageOfBand:
    """What a band of the mosaic comes from."""

    zeropoint: float
    """AB magnitude of one data unit."""
    plane: int | None
    """Of a cube."""
    files: tuple[ImageFile, ...]


@dataclass(frozen=True)
class ModelOfRow:
    """A model that ran on the mosaic."""

    name: str
    task: str
    version: str
    digest: str
    """sha256 of the weights, and of what of the card a result depends on."""
    reference: str
    """Name of a shipped model, or path of a package."""


@dataclass(frozen=True, repr=False)
class Origin:
    """Where one row of a catalog comes from."""

    source_id: int
    catalog: str
    mosaic: str
    y: float
    """0-based pixel centres of the mosaic."""
    x: float
    peak: tuple[int, int] | None
    """y and x of the brightest pixel of a source that was detected."""
    given: RowOfTable | None
    """Where the source comes from the user's table."""
    tile: TileOfRow
    images: dict[str, ImageOfBand]
    """By band."""
    models: tuple[ModelOfRow, ...]
    run_digest: str
    """sha256 of everything that the run's result depends on: settings, inputs, models."""
    versions: dict[str, str]
    """Of surveycnn, Python and libraries."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, which JSON takes."""
        return asdict(self)

    def __repr__(self) -> str:
        return printable("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        tile = self.tile
        yield f"<origin of source {self.source_id} in {self.catalog!r}>"
        if self.given is not None:
            yield f"  source {self.given.input_id}, row {self.given.row} of {self.given.path}, sha256 {_short(self.given.sha256)}"
        peak = f", peak pixel y {self.peak[0]}, x {self.peak[1]}" if self.peak else ""
        yield f"  mosaic {self.mosaic}, y {self.y:.2f}, x {self.x:.2f}{peak}"
        yield f"  tile {tile.name}, y {tile.y0} to {tile.y1 - 1}, x {tile.x0} to {tile.x1 - 1}"
        for band, image in self.images.items():
            for file in image.files:
                path = file.path if image.plane is None else f"{file.path} plane {image.plane}"
                what = f"zero point {image.zeropoint:.6g}" if file.kind == "image" else file.kind
                yield f"  band {band}: {path}, {what}, sha256 {_short(file.sha256)}"
        for model in self.models:
            yield f"  model {model.name} {model.version}, digest {_short(model.digest)}"
        versions = ", ".join(f"{name}\N{NO-BREAK SPACE}{version}" for name, version in self.versions.items())
        text = textwrap.fill(f"run {_short(self.run_digest)}, {versions}", WIDTH, initial_indent="  ", subsequent_indent="    ")
        yield text.replace("\N{NO-BREAK SPACE}", " ")


def origin(catalog: Catalog, source_id: int) -> Origin:
    """Origin of a row of a catalog, whether it is selected or not.

    Raises
    ------
    CatalogError
        Where there is no such row, or no record of the run.
    """
    row = _row(catalog, source_id)
    record = catalog.provenance
    if catalog.path is None or not record:
        raise CatalogError(f"catalog {catalog.name!r} has no {PROVENANCE}: it is not the output of a run, or part of it is gone")
    with reading(catalog.path / PROVENANCE):
        return _origin(catalog.name, row, record)


def _row(catalog: Catalog, source_id: int) -> dict[str, Any]:
    """Values of a row that place it."""
    try:
        number = operator.index(source_id)
    except TypeError:
        raise CatalogError(f"source_id is {source_id!r}, expected a whole number") from None
    names = ["source_id", "mosaic", "y", "x", "input_id"]
    names = [name for name in names if name in catalog.published_columns]
    whole = replace(catalog, steps=(), _selected=None)
    rows = whole.ids([number]).select(names).to_arrow().to_pylist()
    if not rows:
        raise CatalogError(f"catalog {catalog.name!r} has no source {number}: source_id is the number in the column of that name")
    return rows[0]


def _origin(name: str, row: dict[str, Any], record: dict[str, Any]) -> Origin:
    number, mosaic = int(row["source_id"]), str(row["mosaic"])
    if "mosaics" not in record:
        raise CatalogError(
            f"{PROVENANCE} of catalog {name!r} says nothing about tiles, as that of an older version of surveycnn: publish it "
            "again with `surveycnn run-flow publish`"
        )
    if number >> PIXEL_BITS != mosaic_key(mosaic):
        raise CatalogError(f"source {number} is not one of mosaic {mosaic!r}, which its row says: the catalog is damaged")
    place = record["mosaics"][mosaic]
    grid = TileGrid(mosaic, place["ny"], place["nx"], place["core_px"], place["halo_px"])
    pixel = number & ((1 << PIXEL_BITS) - 1)
    given, peak = _given(record, row, pixel), None
    y, x = (int(row[axis] + 0.5) for axis in "yx")
    if given is None:
        peak = y, x = divmod(pixel, grid.nx)
    tile = grid.tile(y // grid.core_px, x // grid.core_px)
    if not tile.owns(np.array(y), np.array(x)):
        raise ValueError(f"pixel y {y}, x {x} is not on mosaic {mosaic!r} of {grid.ny} x {grid.nx} pixels")
    return Origin(
        source_id=number,
        catalog=name,
        mosaic=mosaic,
        y=float(row["y"]),
        x=float(row["x"]),
        peak=peak,
        given=given,
        tile=TileOfRow(tile.name, tile.row, tile.col, tile.y0, tile.y1, tile.x0, tile.x1),
        images=dict(_images(record, mosaic)),
        models=tuple(_models(record, mosaic)),
        run_digest=str(record["run_digest"]),
        versions={key: str(record["versions"][key]) for key in sorted(record["versions"], key=_prominence)},
    )


def _given(record: dict[str, Any], row: dict[str, Any], number: int) -> RowOfTable | None:
    if "sources" not in record:
        return None
    table = record["sources"]
    return RowOfTable(str(table["path"]), str(table["sha256"]), number, row["input_id"])


def _images(record: dict[str, Any], mosaic: str) -> Iterator[tuple[str, ImageOfBand]]:
    """Bands of a mosaic and what they come from, in the order of the configuration."""
    planned = next(entry["images"] for entry in record["config"]["mosaics"] if entry["id"] == mosaic)
    for image in planned:
        found = record["inputs"][mosaic].get(image["band"])
        if found is None:
            continue
        paths = {"image": image["path"]} | {kind: image.get(kind) for kind in MAP_KINDS}
        files = tuple(
            ImageFile(kind, str(path), str(found["digests"][kind])) for kind, path in paths.items() if kind in found["digests"]
        )
        yield str(image["band"]), ImageOfBand(float(found["zeropoint"]), image.get("plane"), files)


def _models(record: dict[str, Any], mosaic: str) -> Iterator[ModelOfRow]:
    """Models that ran on a mosaic."""
    skipped = record["skipped_models"].get(mosaic, {})
    for name, model in record["models"].items():
        if name not in skipped:
            yield ModelOfRow(name, *(str(model[key]) for key in ("task", "version", "digest", "reference")))


def _prominence(library: str) -> tuple[bool, bool, str]:
    """Key that sorts surveycnn and Python before the libraries."""
    return library != "surveycnn", library != "python", library


def _short(digest: str) -> str:
    return digest[:_DIGITS]
