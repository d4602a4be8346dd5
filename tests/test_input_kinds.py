"""The files that surveys publish: one small sky in every container, unit and place gives the same pixels in the chunk store."""

from __future__ import annotations

import bz2
import gzip
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml
from astropy.io import fits
from small_sky import small_wcs

from surveycnn.config import load_config
from surveycnn.errors import InputError
from surveycnn.run.survey import run_ingest
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import band_notes
from surveycnn.sky.window import Window

NY, NX = 160, 192
NJY = np.random.default_rng(4).normal(3000, 40, (NY, NX)).astype(np.float32)
PIXEL_SR = (0.2 / 206264.80624709636) ** 2


def header(**cards: object) -> fits.Header:
    found = small_wcs(NY, NX).to_header()
    found.update(cards)
    return found


def image(pixels: np.ndarray = NJY, **cards: object) -> fits.ImageHDU:
    return fits.ImageHDU(pixels, header(**{"BUNIT": "nJy", **cards}), name="SCI")


def write(path: Path, *hdus: fits.ImageHDU) -> Path:
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def ingested(folder: Path, entry: dict[str, object], **mosaic: object) -> Window:
    """Window of the whole mosaic after the ingest of an image in r that `entry` describes, beside plain ones in g and i."""
    for band in "gi":
        image().writeto(folder / f"{band}.fits", overwrite=True)
    images = [{"band": band, "path": f"{band}.fits"} for band in "gi"]
    survey = {
        "name": "kinds",
        "mosaics": [{"id": "m", "images": [images[0], {"band": "r", **entry}, images[1]], **mosaic}],
        "models": "lens",
        "tiling": {"core_px": 64, "halo_px": 96},
        "cluster": "serial",
    }
    (folder / "survey.yaml").write_text(yaml.safe_dump(survey))
    run_ingest(load_config(folder / "survey.yaml", [f"output={folder / 'out'}"]))
    store = ChunkStore.open(folder / "out" / "work" / "mosaics" / "m.zarr")
    return store.read_window(store.grid(96, 256).tile(0, 0))


def assert_same_pixels(window: Window, rtol: float = 3e-6, atol: float = 2e-3) -> None:
    """The image in r is that in g: float32 of thousands of nJy, and astropy's Jy beside our zero point."""
    np.testing.assert_allclose(window.image[1], window.image[0], rtol=rtol, atol=atol)


def extension_by_number(folder: Path) -> str:
    return f"{write(folder / 'r.fits', image(NJY * 0), image())}[2]"


def extension_by_name(folder: Path) -> str:
    other = image(NJY * 0)
    other.name = "ERR"
    return f"{write(folder / 'r.fits', other, image())}[SCI]"


def first_image(folder: Path) -> str:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    return str(write(folder / "r.fits", table, image()))


def tile_compressed(folder: Path) -> str:
    compressed = fits.CompImageHDU(NJY, image().header, compression_type="GZIP_2", quantize_level=0)
    return str(write(folder / "r.fits.fz", compressed))


def gzipped(folder: Path) -> str:
    plain = write(folder / "plain.fits", image())
    (folder / "r.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    return str(folder / "r.fits.gz")


def bzipped(folder: Path) -> str:
    plain = write(folder / "plain.fits", image())
    (folder / "r.fits.bz2").write_bytes(bz2.compress(plain.read_bytes()))
    return str(folder / "r.fits.bz2") + "[SCI]"


def double_precision(folder: Path) -> str:
    return str(write(folder / "r.fits", image(NJY.astype(np.float64))))


def four_axes(folder: Path) -> str:
    return str(write(folder / "r.fits", image(NJY[None, None])))


def in_memory(folder: Path) -> str:
    """An fsspec URL: what s3:// and https:// go through."""
    plain = write(folder / "plain.fits", image())
    with fsspec.open("memory://kinds/r.fits", "wb") as stream:
        stream.write(plain.read_bytes())
    return "memory://kinds/r.fits[1]"


CONTAINERS = (
    extension_by_number,
    extension_by_name,
    first_image,
    tile_compressed,
    gzipped,
    bzipped,
    double_precision,
    four_axes,
    in_memory,
)


@pytest.mark.parametrize("container", CONTAINERS)
def test_ingest__container(tmp_path, container):
    assert_same_pixels(ingested(tmp_path, {"path": container(tmp_path)}))


def test_ingest__plane_of_a_cube(tmp_path):
    path = write(tmp_path / "cube.fits", image(np.stack([0 * NJY, NJY, 2 * NJY])))
    assert_same_pixels(ingested(tmp_path, {"path": f"{path}[SCI]", "plane": 1}))


def test_ingest__scaled_integers(tmp_path):
    hdu = fits.PrimaryHDU(np.round((NJY - 3000) * 50).astype(np.int16), header(BUNIT="nJy"))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.02, 3000.0
    fits.HDUList([hdu]).writeto(tmp_path / "r.fits")
    assert_same_pixels(ingested(tmp_path, {"path": "r.fits"}), atol=0.05)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path):
    """Address of a web server on the folder, which like many gives whole files only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_ingest__from_the_web(tmp_path, web):
    write(tmp_path / "r.fits", image())
    assert_same_pixels(ingested(tmp_path, {"path": f"{web}/r.fits[SCI]"}))
    with pytest.raises(InputError, match=r"file 'http://.*/none.fits' does not exist or cannot be reached"):
        ingested(tmp_path, {"path": f"{web}/none.fits"})


def test_ingest__unknown_protocol(tmp_path):
    with pytest.raises(InputError, match=r"file 'nobody://r.fits' cannot be opened \(.*\): install what its protocol needs"):
        ingested(tmp_path, {"path": "nobody://r.fits"})


@pytest.mark.parametrize(
    ("factor", "cards", "keys"),
    [
        (1.0, {"BUNIT": "nJy"}, {}),
        (1e-9, {"BUNIT": "Jy"}, {}),
        (1e-3, {"BUNIT": "uJy"}, {}),
        (1e-15 / PIXEL_SR, {"BUNIT": "MJy/sr"}, {}),
        (10 ** (0.4 * (22.5 - 31.4)), {"BUNIT": "nanomaggies"}, {}),
        (10 ** (0.4 * (22.5 - 31.4)), {"BUNIT": "nanomaggy"}, {}),
        (10 ** (0.4 * (0.0 - 31.4)), {"BUNIT": "maggies"}, {}),
        (10 ** (0.4 * (30.0 - 31.4)), {"BUNIT": "adu", "MAGZP": 30.0}, {}),
        (10 ** (0.4 * (27.0 - 31.4)), {"BUNIT": "electron", "MAGZERO": 27.0}, {}),
        (10 ** (0.4 * (25.0 - 31.4)), {"BUNIT": "nJy", "MAGZP": 30.0}, {"zeropoint": 25.0}),
    ],
)
def test_ingest__units(tmp_path, factor, cards, keys):
    write(tmp_path / "r.fits", image((NJY * factor).astype(np.float64), **cards))
    assert_same_pixels(ingested(tmp_path, {"path": "r.fits", **keys}), rtol=1e-5, atol=0.05)


@pytest.mark.parametrize("kind", ["weight", "variance", "rms"])
def test_ingest__noise_maps_are_in_data_units_and_of_the_image(tmp_path, kind):
    """In nanomaggies, with holes in the three ways that surveys write them."""
    unit = 10 ** (0.4 * (22.5 - 31.4))
    rms = np.full((NY, NX), 40 * unit)
    values = {"weight": rms**-2, "variance": rms**2, "rms": rms}[kind]
    values[0, :3] = [0, np.nan, np.nan if kind == "weight" else 1e16]
    path = write(tmp_path / "r.fits", image(NJY * np.float32(unit), BUNIT="nanomaggies"), fits.ImageHDU(values, name="MAP"))
    window = ingested(tmp_path, {"path": f"{path}[SCI]", kind: f"{path}[MAP]"})
    assert np.isnan(window.image[1, 0, :3]).all() and np.isnan(window.image[1]).sum() == 3
    np.testing.assert_allclose(window.rms[1, 1:], 40, rtol=1e-5)


def test_ingest__band_on_another_grid(tmp_path):
    """The band i of the mosaic in coarser pixels: the same surface brightness in the mosaic's pixels."""
    coarse = small_wcs(NY, NX)
    coarse.wcs.cd *= 1.5
    write(tmp_path / "r.fits", fits.ImageHDU(np.full((NY, NX), 6750, "f4") + NJY - 3000, coarse.to_header()))
    window = ingested(tmp_path, {"path": "r.fits", "zeropoint": 31.4})
    store = ChunkStore.open(tmp_path / "out" / "work" / "mosaics" / "m.zarr")
    assert store.band_record("r")["sky"] == pytest.approx(3000, rel=1e-3)
    assert np.median(window.rms[1]) == pytest.approx(40 / 1.5, rel=0.1)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"MAGZP": 27.0, "PHOTZP": 25.0}, r"r.fits' has several zero points \(MAGZP 27, PHOTZP 25\): give `zeropoint`"),
        ({"MAGZP": 27.0, "MAGSYS": "Vega"}, r"r.fits' has MAGSYS 'Vega': give `zeropoint`, the AB magnitude"),
        ({"MAGZP": 27.0, "BSOFTEN": 100.0}, r"r.fits' has asinh-scaled pixels \(BSOFTEN\): make them linear"),
        ({"BUNIT": "electron"}, r"r.fits' has no zero point: .* BUNIT is 'electron': give `zeropoint`"),
    ],
)
def test_ingest__refuses_doubtful_zero_points(tmp_path, cards, message):
    write(tmp_path / "r.fits", image(NJY, **cards))
    with pytest.raises(InputError, match=message):
        ingested(tmp_path, {"path": "r.fits"})


@pytest.mark.parametrize("bunit", ["uJy/pixel", "uJy/pix", "uJy pixel-1"])
def test_ingest__zero_point_in_the_primary_header_and_units_per_pixel(tmp_path, bunit):
    hdu = image((NJY * 1e-3).astype(np.float64))
    del hdu.header["BUNIT"]
    primary = fits.PrimaryHDU(header=fits.Header({"BUNIT": bunit}))
    fits.HDUList([primary, hdu]).writeto(tmp_path / "r.fits")
    assert_same_pixels(ingested(tmp_path, {"path": "r.fits[SCI]"}), rtol=1e-5, atol=0.05)


def test_ingest__notes_a_weight_that_is_no_inverse_variance(tmp_path):
    write(tmp_path / "r.fits", image(), fits.ImageHDU(np.full((NY, NX), 1200.0), name="EXP"))
    ingested(tmp_path, {"path": "r.fits[SCI]", "weight": "r.fits[EXP]"})
    record = ChunkStore.open(tmp_path / "out" / "work" / "mosaics" / "m.zarr").band_record("r")
    assert record is not None and record["noise_ratio"] == pytest.approx(1200**-0.5 / 40, rel=0.1)
    notes = list(band_notes(record, "m"))
    assert len(notes) == 1 and "band 'r' of mosaic 'm': its noise map gives 0.0007" in notes[0]
    assert list(band_notes(record | {"noise_ratio": 1.9}, "m")) == []
