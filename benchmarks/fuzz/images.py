"""What the kinds of FITS images share: tiny valid files, and the way that a survey takes them."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from astropy.wcs import WCS

from surveycnn.config import load_config
from surveycnn.run.inputs import inspect_mosaic
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import ingest_band

NY, NX, CORE_PX, HALO_PX = 96, 128, 128, 96


def header() -> fits.Header:
    """A TAN projection of 0.2 arcsec pixels, with a zero point."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [NX / 2, NY / 2]
    wcs.wcs.cd = np.array([[-0.2, 0.01], [0.01, 0.2]]) / 3600
    found = wcs.to_header()
    found["MAGZP"] = 27.0
    return found


def pixels() -> np.ndarray:
    """(NY, NX) float32 of noise and two blobs."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:NY, :NX]
    blobs = sum(500 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 8) for y0, x0 in ((30, 40), (60, 100)))
    return (rng.normal(50, 1, (NY, NX)) + blobs).astype("f4")


def distorted() -> fits.Header:
    """As :func:`header`, with SIP terms."""
    found = header()
    found["CTYPE1"], found["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    for key, value in {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": -1e-6, "AP_ORDER": 1, "BP_ORDER": 1}.items():
        found[key] = value
    return found


def write_images(folder: Path) -> None:
    """Valid images of many sorts, and maps of the first, into `folder`."""
    image, cards = pixels(), header()
    whole = np.clip(image, 0, 30000).astype("i2")
    hdus: dict[str, Any] = {
        "plain.fits": fits.PrimaryHDU(image, cards),
        "plain.fits.gz": fits.PrimaryHDU(image, cards),
        "plain.fits.bz2": fits.PrimaryHDU(image, cards),
        "sip.fits": fits.PrimaryHDU(image, distorted()),
        "cube.fits": fits.PrimaryHDU(np.stack([image, image]), cards),
        "rice.fits.fz": fits.CompImageHDU(image, cards, compression_type="RICE_1", quantize_level=16),
        "gzip.fits.fz": fits.CompImageHDU(image, cards, compression_type="GZIP_2", quantize_level=0),
        "hcompress.fits.fz": fits.CompImageHDU(
            image, cards, compression_type="HCOMPRESS_1", quantize_level=16, tile_shape=(32, 32)
        ),
        "plio.fits.fz": fits.CompImageHDU(whole, cards, compression_type="PLIO_1"),
        "weight.fits": fits.PrimaryHDU(np.ones_like(image), cards),
        "mask.fits": fits.PrimaryHDU((image > 400).astype("u1"), cards),
    }
    scaled = fits.PrimaryHDU(whole, cards)
    scaled.header["BSCALE"], scaled.header["BZERO"], scaled.header["BLANK"] = 0.5, 32768.0, -32768
    hdus["scaled.fits"] = scaled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, hdu in hdus.items():
            first = [fits.PrimaryHDU()] if isinstance(hdu, fits.CompImageHDU) else []
            fits.HDUList([*first, hdu]).writeto(folder / name)
        many = [fits.PrimaryHDU(), fits.ImageHDU(image, cards, name="SCI"), fits.ImageHDU(np.ones_like(image), name="WHT")]
        fits.HDUList([*many, fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])]).writeto(folder / "many.fits")
    (folder / "wcs.hdr").write_text(cards.tostring(sep="\n"))
    (folder / "cards.hdr").write_text(distorted().tostring())


SINGLE = tuple(
    f"{name}.fits{suffix}" for name, suffix in (("plain", ""), ("plain", ".gz"), ("plain", ".bz2"), ("sip", ""), ("cube", ""))
) + ("rice.fits.fz", "gzip.fits.fz", "hcompress.fits.fz", "plio.fits.fz", "scaled.fits", "many.fits")
"""Files that can be the image of a band."""
MAPS = {"weight": "weight.fits", "mask": "mask.fits", "wcs": "wcs.hdr", "variance": "weight.fits", "rms": "many.fits[WHT]"}


def survey(rng: Random | None, image: str, seeds: Path, changed: dict[str, Path]) -> dict[str, Any]:
    """Survey of one mosaic whose first band is `image`; files of `changed` stand for those of the seeds."""

    def place(name: str) -> str:
        file, bracket, hdu = name.partition("[")
        return str(changed.get(file, seeds / file)) + bracket + hdu

    first: dict[str, Any] = {"band": "r", "path": place(image)}
    if image == "cube.fits":
        first["plane"] = 1
    if rng is not None:
        for kind in rng.sample(sorted(MAPS), rng.choice((0, 0, 1, 2))):
            if MAPS[kind].partition("[")[0] in changed or rng.random() < 0.3:
                first[kind] = place(MAPS[kind])
        for kind in ("variance", "rms"):
            if "weight" in first:
                first.pop(kind, None)
        if "variance" in first:
            first.pop("rms", None)
    other = {"band": "i", "path": place("plain.fits" if rng is None or rng.random() < 0.7 else image)}
    if other["path"].endswith("cube.fits"):
        other["plane"] = 0
    images = [first, other] if rng is None or rng.random() < 0.15 else [first]
    return {
        "name": "fuzz",
        "mosaics": [{"id": "m", "images": images}],
        "tiling": {"core_px": CORE_PX, "halo_px": HALO_PX},
    }


def write_survey(folder: Path, tree: dict[str, Any]) -> Path:
    """survey.yaml of a case."""
    path = folder / "survey.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def take_in(path: Path) -> str:
    """Plan the mosaic, ingest all bands, read every tile, as ``run-flow ingest`` and the tiles do."""
    config = load_config(path)
    found = inspect_mosaic(config.mosaics[0])
    store = ChunkStore.create(
        path.parent / "m.zarr",
        mosaic=found.id,
        bands=found.bands,
        ny=found.ny,
        nx=found.nx,
        core_px=config.tiling.core_px,
        wcs_header=found.wcs_header,
        pixel_scale=found.pixel_scale,
        has_weight=found.has_weight,
    )
    for number, (image, grid) in enumerate(zip(found.images, found.grids, strict=True)):
        ingest_band(store.path, image, number, config.tiling.core_px, grid, may_be_empty=False)
    tiles = list(store.grid(config.tiling.halo_px))
    for tile in tiles[:1]:
        store.read_window(tile)
    return "ingested"
