"""The promise on a real sky: KiDS, where the files are at hand."""

from pathlib import Path

import numpy as np
import pytest

from surveycnn.catalogs.flags import has_flag
from surveycnn.config import ImageConfig
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.images import open_image
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_text
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.photometry import DetectionImage, measure_sources

KIDS = Path(__file__).parents[4] / "shared" / "data" / "kids_viking"

pytestmark = pytest.mark.skipif(not KIDS.is_dir(), reason=f"the real images of {KIDS.name} are not in {KIDS.parent}")


@pytest.fixture(scope="module")
def kids(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("kids") / "kids.zarr")
    wcs = read_wcs(KIDS / "wcs_estimated.hdr")
    with open_image(str(KIDS / "r.fits[1]")) as image:
        ny, nx = image.ny, image.nx
    scale = pixel_scale_arcsec(wcs, ny, nx)
    shape = {"ny": ny, "nx": nx, "core_px": 1024, "wcs_header": wcs_text(wcs), "pixel_scale": scale, "has_weight": False}
    ChunkStore.create(path, mosaic="kids352", bands=["g", "r", "i"], **shape)
    for index, band in enumerate("gri"):
        ingest_band(path, ImageConfig(band=band, path=str(KIDS / f"{band}.fits[1]"), zeropoint=0.0), index, 1024)
    return ChunkStore.open(path)


def owned_sources(store, grid):
    rows = {}
    for tile in grid:
        window = store.read_window(tile)
        significance, mask = detection_image(window.image, window.rms, [0, 1, 2])
        found = detect_sources(significance, mask, threshold_sigma=3.0, min_area_px=5, open_edges=window.open_edges)
        own = tile.owns(found.peak_y + window.y0, found.peak_x + window.x0)
        y, x = found.peak_y[own], found.peak_x[own]
        got = measure_sources(window, DetectionImage(significance, mask, found), y, x, found.flags[own])
        for k in range(y.size):
            numbers = [got.y[k] + window.y0, got.x[k] + window.x0, got.flux_radius_px[k], got.kron_radius_px[k]]
            numbers += [*got.flux[:, k], *got.flux_err[:, k], *got.flux_aper[:, k], *got.flux_aper_err[:, k]]
            rows[int(y[k]) + window.y0, int(x[k]) + window.x0] = (np.array(numbers).tobytes(), int(got.flags[k]))
    return rows


def test_real_sky__same_sources_bit_for_bit_however_it_is_cut(kids):
    whole = owned_sources(kids, TileGrid("kids352", kids.ny, kids.nx, 4096, 256))
    assert len(whole) > 1500
    for core_px, halo_px in ((1024, 256), (1300, 128)):
        tiled = owned_sources(kids, kids.grid(halo_px, core_px))
        unsure = {peak for peak, (_, flags) in tiled.items() if has_flag(flags, "truncated")}
        assert {peak: row for peak, row in tiled.items() if peak not in unsure} == {
            peak: row for peak, row in whole.items() if peak not in unsure
        }
        assert len(unsure) <= (0 if halo_px >= 256 else 20)


def test_real_sky__noise_is_that_of_the_blank_sky(kids):
    window = kids.read_window(kids.grid(256).tile(1, 1))
    for image, rms in zip(window.image, window.rms, strict=True):
        deviation = image / rms
        assert abs(np.median(deviation)) < 0.1
        assert 1.4826 * np.median(np.abs(deviation)) == pytest.approx(1, abs=0.1)
