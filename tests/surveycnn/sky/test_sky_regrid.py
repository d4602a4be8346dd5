"""Bands on other pixel grids: the same sky after they are brought to the mosaic's, flux and noise conserved."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.regrid import Grid, grid_offset_px
from surveycnn.sky.wcs import wcs_text

NY, NX = 300, 280
SEEING_ARCSEC = 0.4
"""Sigma of the sources."""
FLUX = 3000.0


def make_wcs(ny, nx, scale, angle=0.0, parity=-1, ra=10.0, dec=-40.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [(nx + 1) / 2, (ny + 1) / 2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = scale / 3600 * np.array([[parity * cos, sin], [-parity * sin, cos]])
    return wcs


@pytest.fixture(scope="module")
def positions():
    """ra, dec of sources that all grids hold."""
    rng = np.random.default_rng(11)
    dx, dy = rng.uniform(-18, 18, (2, 12)) / 3600
    return 10.0 + dx / np.cos(np.radians(40)), -40.0 + dy


def draw(wcs, shape, scale, positions):
    y, x = np.mgrid[: shape[0], : shape[1]]
    sigma = SEEING_ARCSEC / scale
    image = np.zeros(shape)
    for x0, y0 in zip(*wcs.all_world2pix(*positions, 0), strict=True):
        image += FLUX / (2 * np.pi * sigma**2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
    return image


@pytest.fixture
def ingest(tmp_path):
    """Function that brings an image on its own grid into a store of NY x NX pixels of 0.2 arcsec; gives its window and record."""

    def ingest_image(pixels, own, core_px=128, **maps):
        wcs = make_wcs(NY, NX, 0.2)
        store = tmp_path / f"m{core_px}.zarr"
        arguments = {"ny": NY, "nx": NX, "core_px": core_px, "wcs_header": wcs_text(wcs), "pixel_scale": 0.2, "has_weight": True}
        ChunkStore.create(store, mosaic="m", bands=["g"], overwrite=True, **arguments)
        paths = {}
        for name, values in {"path": pixels, **maps}.items():
            paths[name] = str(tmp_path / f"{name}.fits")
            fits.writeto(paths[name], values, overwrite=True)
        config = ImageConfig(band="g", zeropoint=31.4, **paths)
        record = ingest_band(str(store), config, 0, core_px, Grid(*pixels.shape, wcs_text(own)))
        opened = ChunkStore.open(store)
        return opened.read_window(opened.grid(1000, 1024).tile(0, 0)), record

    yield ingest_image
    # the temporary files have no name, so they take space for as long as one is open
    opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [str(file) for file in opened if tmp_path in file.parents and file.name.endswith("(deleted)")] == []


GRIDS = {
    "finer": ((700, 720), 0.11, 0, -1),
    "a little finer and rotated": ((420, 440), 0.17, 30, -1),
    "coarser": ((240, 230), 0.3, 0, -1),
    "coarser, rotated and mirrored": ((260, 250), 0.3, 120, 1),
    "finer, rotated and mirrored": ((700, 700), 0.12, 20, 1),
    "south up": ((320, 300), 0.2, 180, -1),
}


@pytest.mark.parametrize("name", GRIDS)
def test_regrid__gives_the_same_sky(ingest, positions, name):
    shape, scale, angle, parity = GRIDS[name]
    own, wcs = make_wcs(*shape, scale, angle, parity), make_wcs(NY, NX, 0.2)
    noise = np.random.default_rng(5).normal(0, 1e-3, shape)
    window, record = ingest((draw(own, shape, scale, positions) + noise).astype(np.float32), own)
    truth = draw(wcs, (NY, NX), 0.2, positions)
    found = window.image[0]
    bright = truth > 1e-3 * truth.max()
    assert np.isfinite(found[bright]).all() and record["has_weight"]
    tolerance = 0.05 if scale < 0.16 else 0.03 if scale == 0.3 else 0.01  # averaging widens, coarse pixels sample sigma 1.3 px
    assert np.abs(found - truth)[bright].max() < tolerance * truth.max()
    for x, y in zip(*wcs.all_world2pix(*positions, 0), strict=True):
        near = np.hypot(np.arange(NY)[:, None] - y, np.arange(NX) - x) < 9
        assert found[near].sum() == pytest.approx(truth[near].sum(), rel=5e-3)


@pytest.mark.parametrize(("name", "with_map"), [*((name, False) for name in GRIDS), ("coarser", True)])
def test_regrid__errors_of_sums_are_right(ingest, name, with_map):
    """The scatter of the pixels is not that of independent ones, the scatter of sums over 15 x 15 px is."""
    shape, scale, angle, parity = GRIDS[name]
    own = make_wcs(*shape, scale, angle, parity)
    noise = np.random.default_rng(6).normal(0, 2.0, shape).astype(np.float32)
    maps = {"rms": np.full(shape, 2.0, np.float32)} if with_map else {}
    window, _ = ingest(noise, own, **maps)
    inner = (slice(60, 240), slice(50, 230))
    image, variance = window.image[0][inner], window.rms[0][inner].astype(np.float64) ** 2
    sums = image.reshape(12, 15, 12, 15).sum((1, 3))
    expected = np.sqrt(variance.reshape(12, 15, 12, 15).sum((1, 3)))
    assert np.median(np.sqrt(variance)) == pytest.approx(2.0 * 0.2 / scale, rel=0.05)
    assert np.std(sums / expected) == pytest.approx(1, abs=0.15)  # 144 sums, whose sky is subtracted


def test_regrid__holes_masks_and_saturation_stay_where_they_are(ingest):
    shape, scale = (420, 440), 0.17
    own, wcs = make_wcs(*shape, scale, 30), make_wcs(NY, NX, 0.2)
    pixels = np.random.default_rng(7).normal(100, 1, shape).astype(np.float32)
    pixels[200:205, 210:215] = np.nan
    mask = np.zeros(shape, np.uint8)
    mask[150:155, 260:265] = 1
    window, _ = ingest(pixels, own, mask=mask)
    for y, x, is_masked in ((202, 212, False), (152, 262, True)):
        x0, y0 = wcs.all_world2pix(*own.all_pix2world(x, y, 0), 0)
        y0, x0 = round(float(y0)), round(float(x0))
        assert np.isnan(window.image[0, y0 - 1 : y0 + 2, x0 - 1 : x0 + 2]).all()
        assert window.masked[0, y0, x0] == is_masked
        assert np.isfinite(window.image[0, y0 - 9 : y0 + 10, x0 + 9]).all()
    assert np.isnan(window.image[0, 60:240, 50:230]).sum() < 250
    assert np.abs(window.image[0][np.isfinite(window.image[0])]).max() < 8, "splines ring around holes"


def test_regrid__does_not_depend_on_the_shards(ingest, positions):
    shape, scale, angle, parity = GRIDS["a little finer and rotated"]
    own = make_wcs(*shape, scale, angle, parity)
    pixels = (draw(own, shape, scale, positions) + np.random.default_rng(5).normal(50, 1, shape)).astype(np.float32)
    first, second = (ingest(pixels, own, core_px=core_px)[0] for core_px in (64, 320))
    for name in ("image", "rms", "masked"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_regrid__image_that_covers_a_part(ingest):
    own = make_wcs(200, 200, 0.2, 30, ra=10.0 + 30 / 3600 / np.cos(np.radians(40)))
    window, record = ingest(np.random.default_rng(5).normal(5, 1, (200, 200)).astype(np.float32), own)
    assert 0.1 < np.isfinite(window.image[0]).mean() < 0.9 and record["n_bad"] == np.isnan(window.image[0]).sum()


def test_regrid__image_beside_the_mosaic(ingest):
    with pytest.raises(InputError, match=r"image '.*' and its mosaic share no pixel of the sky: correct its WCS"):
        ingest(np.random.default_rng(5).normal(5, 1, (200, 200)).astype(np.float32), make_wcs(200, 200, 0.2, ra=11.0))


def test_regrid__without_noise(ingest):
    with pytest.raises(InputError, match="gives no noise level"):
        ingest(np.ones((200, 200), np.float32), make_wcs(200, 200, 0.3))


def test_grid_offset_px__of_shifted_and_of_scaled_grids():
    wcs = make_wcs(NY, NX, 0.2)
    assert grid_offset_px(wcs, wcs, NY, NX) < 1e-6
    shifted = wcs.deepcopy()
    shifted.wcs.crpix += [3, 4]
    assert grid_offset_px(shifted, wcs, NY, NX) == pytest.approx(5, abs=1e-3)
    assert grid_offset_px(make_wcs(NY, NX, 0.2 * 1.01), wcs, NY, NX) == pytest.approx(np.hypot(NY, NX) / 2 * 0.01, rel=0.05)
