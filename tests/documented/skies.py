"""Small files under the names that pages have: images of a few sources, lists of sources, tables with redshifts."""

from __future__ import annotations

import bz2
import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from documented.running import Place
from small_sky import COLOURS, ZEROPOINT, draw_sources, small_wcs, write_survey

from surveycnn.catalogs.query import open_catalog

NY, NX = 320, 384
LONG_AGO = 1.6e9
"""Seconds: a file of this age is no longer on its way."""


def write_images(
    folder: Path, names: dict[str, str], *, ra: float = 150.0, dec: float = 2.0, zeropoint: float = ZEROPOINT
) -> None:
    """Write ``{band: file}`` images of two dozen sources into `folder`; ``file[1]`` into an extension, ``.bz2`` compressed."""
    rng = np.random.default_rng(11)
    sources = draw_sources(NY, NX, rng, 24) * 10 ** (0.4 * (zeropoint - ZEROPOINT))
    noise = 10 ** (0.4 * (zeropoint - ZEROPOINT))
    header = small_wcs(NY, NX, ra, dec).to_header()
    header["MAGZP"] = zeropoint
    for band, name in names.items():
        colour = COLOURS.get(band.lower(), 0.5)
        image = (colour * sources + noise * (50 + rng.normal(0, 1, (NY, NX)))).astype("f4")
        path = folder / name.removesuffix("[1]")
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = path.with_suffix("") if path.suffix == ".bz2" else path
        hdu = fits.PrimaryHDU() if name.endswith("[1]") else fits.PrimaryHDU(image, header)
        more = [fits.ImageHDU(image, header)] if name.endswith("[1]") else []
        fits.HDUList([hdu, *more]).writeto(plain)
        if path.suffix == ".bz2":
            path.write_bytes(bz2.compress(plain.read_bytes()))
            plain.unlink()
        os.utime(path, (LONG_AGO, LONG_AGO))


def kids_images(place: Place) -> None:
    """The files of the README's kids.yaml: extensions, zero points of 0 and 30, a header file."""
    at = {"ra": 352.29, "dec": -31.82}
    write_images(place.folder, {band: f"{band}.fits[1]" for band in "ugri"}, zeropoint=0.0, **at)
    write_images(place.folder, {"Z": "Z.fits[1]"}, zeropoint=30.0, **at)
    small_wcs(NY, NX, *at.values()).to_header().totextfile(place.folder / "wcs_estimated.hdr")


def kids_survey(place: Place, model: str = "merger") -> None:
    """kids.yaml with the images beside it, for pages that do not say what is in it; one model, for speed."""
    write_images(place.folder, {band: f"{band}.fits" for band in "gri"})
    write_survey(place.folder, ("g", "r", "i"), name="kids", models=[model]).rename(place.folder / "kids.yaml")


def lens_list(place: Place) -> Path:
    """lenscat.csv: three lenses near sources of the small run, by a minute of arc at most."""
    rows = open_catalog(place.small_run).to_table()[:3]
    shift = [0.0, 0.2 / 3600, 0.01]
    table = Table({"name": ["A", "B", "C"], "grading": ["confirmed", "probable", "probable"]})
    table["RA [deg]"], table["DEC [deg]"] = rows["ra"].value, rows["dec"].value + shift
    table.write(place.folder / "lenscat.csv")
    return place.folder / "lenscat.csv"


def truth_of_demo(place: Place) -> None:
    """runs/demo with the list of what was drawn beside it, here of what was found."""
    folder = place.link_run("runs/demo") / "simulated"
    folder.mkdir()
    rows = open_catalog(place.small_run).to_table()
    truth = Table({"ra": rows["ra"], "dec": rows["dec"], "z": np.full(len(rows), 0.3)})
    truth["kind"] = np.where(np.arange(len(rows)) < 6, "lens", "galaxy")
    truth["mag_i"], truth["theta_e"] = np.full(len(rows), 19.0), np.full(len(rows), 1.2)
    truth.write(folder / "truth.fits")


def spectra(place: Place) -> None:
    """spectra.fits: redshifts of the sources of the small run."""
    rows = open_catalog(place.small_run).to_table()["ra", "dec"]
    rows["z_spec"] = np.linspace(0.1, 0.9, len(rows))
    rows.write(place.folder / "spectra.fits")


def redshift_tables(place: Place, bands: str = "ugrizy") -> None:
    """train.parquet and objects.parquet: magnitudes that go with the redshift."""
    rng = np.random.default_rng(5)
    for name, n in (("train", 400), ("objects", 20)):
        z = rng.uniform(0.05, 1.0, n)
        table = Table({"source_id": np.arange(n), "z_spec": z})
        for number, band in enumerate(bands):
            table[f"mag_{band}"] = 22 + (2 - number) * z + rng.normal(0, 0.05, n)
            table[f"mag_err_{band}"] = np.full(n, 0.05)
        table.write(place.folder / f"{name}.parquet")
