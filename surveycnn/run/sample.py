"""A few windows of a mosaic as a survey of their own, in files that are cut from the mosaic's: what a forecast runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from surveycnn.config import CORE_STEP_PX, ImageConfig, MosaicConfig, SurveyConfig
from surveycnn.errors import ConfigError
from surveycnn.run.inputs import MosaicInputs
from surveycnn.run.plan import MosaicPlan, Plan
from surveycnn.sky.files import is_remote
from surveycnn.sky.images import FitsImage
from surveycnn.sky.regrid import Grid
from surveycnn.sky.strips import MAP_KINDS, STRIP_PX, open_maps
from surveycnn.sky.wcs import pixel_positions, sky_positions, wcs_from_text, wcs_text

WINDOW_PX = 1024
_PLACES = (0.3, 0.7)
_MARGIN_PX = 8


@dataclass(frozen=True)
class SampleWindow:
    """Half-open bounds in pixels of an image."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def n_pixels(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)


def sample_windows(ny: int, nx: int, side: int) -> list[SampleWindow]:
    """Two windows of `side` px on the diagonal of a mosaic, or one in its middle where two have no room.

    >>> sample_windows(500, 900, 1024)
    [SampleWindow(y0=0, y1=500, x0=200, x1=700)]
    """
    side = min(side, ny, nx)
    places = _PLACES if min(ny, nx) >= 2.5 * side else (0.5,)
    starts = [(int(place * (ny - side)), int(place * (nx - side))) for place in places]
    return [SampleWindow(y0, y0 + side, x0, x0 + side) for y0, x0 in starts]


def sample_config(plan: Plan, mosaic: MosaicPlan, windows: list[SampleWindow], folder: Path) -> SurveyConfig:
    """Configuration of a survey of the windows, each a mosaic of one tile, in this process; their files are written to `folder`.

    Raises
    ------
    ConfigError
        Where the files are remote: they would be fetched as a whole.
    """
    for image in mosaic.inputs.images:
        for path in (image.path, *(getattr(image, kind) for kind in MAP_KINDS)):
            if path is not None and is_remote(path):
                raise ConfigError(
                    f"time cannot be forecast from {path!r}: it is remote, and a sample of it would fetch the whole file; "
                    "run on a local copy, or leave out --time"
                )
    described = next(entry for entry in plan.config.mosaics if entry.id == mosaic.id)
    mosaics = tuple(_cut(described, mosaic.inputs, window, f"sample{i}", folder) for i, window in enumerate(windows))
    core = -(-(windows[0].y1 - windows[0].y0) // CORE_STEP_PX) * CORE_STEP_PX
    changes = {
        "mosaics": mosaics,
        "tiling": plan.config.tiling.model_copy(update={"core_px": core}),
        "cluster": "serial",
        "output": str(folder / "out"),
        "work_dir": "",
    }
    return plan.config.model_copy(update=changes)


def _cut(described: MosaicConfig, inputs: MosaicInputs, window: SampleWindow, name: str, folder: Path) -> MosaicConfig:
    """A window of a mosaic as a mosaic."""
    images = []
    for image, grid in zip(inputs.images, inputs.grids, strict=True):
        own = _window_on(grid, inputs, window) if grid else window
        wcs = wcs_from_text(grid.wcs_header if grid else inputs.wcs_header)
        changes: dict[str, str | int | None] = {"plane": None, "wcs": None}
        with open_maps(image) as maps:
            for kind, opened in maps.items():
                path = folder / f"{name}_{image.band}_{kind}.fits"
                _write(opened, wcs, own, path)
                changes["path" if kind == "image" else kind] = str(path)
        images.append(image.model_copy(update=changes))
    return described.model_copy(update={"id": name, "images": tuple(images), "wcs": None})


def _window_on(grid: Grid, inputs: MosaicInputs, window: SampleWindow) -> SampleWindow:
    """What `window` of the mosaic covers on the pixel grid of an image, and a margin."""
    y, x = (axis.ravel() for axis in np.meshgrid([window.y0, window.y1], [window.x0, window.x1], indexing="ij"))
    there = pixel_positions(wcs_from_text(grid.wcs_header), *sky_positions(wcs_from_text(inputs.wcs_header), x, y))
    bounds = []
    for values, length in zip(there[::-1], (grid.ny, grid.nx), strict=True):
        low, high = np.nan_to_num([values.min() - _MARGIN_PX, values.max() + _MARGIN_PX])
        start = int(np.clip(low, 0, length - 1))
        bounds += [start, int(np.clip(high, start + 1, length))]
    return SampleWindow(*bounds)


def _write(opened: FitsImage, wcs: WCS, window: SampleWindow, path: Path) -> None:
    pixels = opened.read(window.y0, window.y1, window.x0, window.x1)
    cut = wcs.slice((slice(window.y0, window.y1), slice(window.x0, window.x1)))
    header = fits.Header.fromstring(wcs_text(cut))
    header.update({key: value for key, value in opened.photometry.items() if value is not None})
    fits.writeto(path, pixels, header)


def native_read_seconds(images: tuple[ImageConfig, ...]) -> float:
    """Seconds to read a pixel of a band and its maps from the files as they are, averaged over bands: decompression counts."""
    total = 0.0
    for image in images:
        with open_maps(image) as maps:
            for opened in maps.values():
                n_rows = min(max(STRIP_PX, opened.tile_rows), opened.ny)
                started = time.perf_counter()
                opened.read(0, n_rows, 0, opened.nx)
                total += (time.perf_counter() - started) / (n_rows * opened.nx)
    return total / len(images)
