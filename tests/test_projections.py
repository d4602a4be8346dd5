"""From pixels to the published catalog over projections, frames and orientations: true positions, found again by cones."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from small_sky import ZEROPOINT, write_survey
from wcs_headers import SIP, TPV, ZPN, header

import surveycnn
from surveycnn.config import load_config
from surveycnn.run.survey import run_survey

SIZE, STEP = 224, 0.2 / 3600
CENTRE = {"CRPIX1": 110.7, "CRPIX2": 115.2}
BESIDE = {"CRPIX1": -3900.0, "CRPIX2": 4100.0}
"""In a corner of the camera, where the distortion is large."""

EDGE_X = 150.0
"""Where the sky of an all-sky projection ends, pixels."""


def steps(degrees: float = 0.0, parity: int = -1) -> dict[str, float]:
    """CD matrix of pixels of 0.2 arcsec, north `degrees` from up; parity 1 has east to the right."""
    cos, sin = STEP * np.cos(np.radians(degrees)), STEP * np.sin(np.radians(degrees))
    return {"CD1_1": parity * cos, "CD1_2": -parity * sin, "CD2_1": sin, "CD2_2": cos}


SKIES = {
    "ra0": header(CRVAL1=0.0, CRVAL2=10.0, **CENTRE, **steps()),
    "northpole": header(CRVAL1=30.0, CRVAL2=90.0, **CENTRE, **steps(20)),
    "besidepole": header(CRVAL1=200.0, CRVAL2=-89.99, **CENTRE, **steps()),
    "southup": header(CRVAL1=40.0, CRVAL2=-20.0, **CENTRE, **steps(180)),
    "mirrored": header(CRVAL1=50.0, CRVAL2=-20.0, **CENTRE, **steps(30, parity=1)),
    "decfirst": header("TAN", ("DEC-", "RA--"), **(CENTRE | steps() | {"CRVAL1": 25.0, "CRVAL2": 60.0})),
    "galactic": header("TAN", ("GLON", "GLAT"), CRVAL1=0.0, CRVAL2=60.0, **CENTRE, **steps()),
    "fk4": header(CRVAL1=70.0, CRVAL2=20.0, RADESYS="FK4", EQUINOX=1950.0, **CENTRE, **steps()),
    "tpv": header("TPV", CRVAL1=80.0, CRVAL2=-30.0, **BESIDE, **steps(), **TPV),
    "zpn": header("ZPN", CRVAL1=90.0, CRVAL2=-30.0, **BESIDE, **steps(), **ZPN),
    "skyedge": header(
        "AIT", CRVAL1=110.0, CRVAL2=0.0, CRPIX1=EDGE_X + 1 - np.degrees(np.sqrt(8)) / STEP, CRPIX2=115.2, **steps()
    ),
    "sip": header("TAN-SIP", CRVAL1=100.0, CRVAL2=-30.0, **BESIDE, **steps(), **SIP),
}
every_sky = pytest.mark.parametrize("name", SKIES)


@pytest.fixture(scope="module")
def truth() -> dict[str, SkyCoord]:
    """Positions of the stars of each sky: a jittered grid of 4 x 4, the pixels being the same everywhere."""
    x, y = star_pixels()
    stars = {name: WCS(cards).pixel_to_world(x, y).icrs for name, cards in SKIES.items()}
    return {name: places[np.isfinite(places.ra)] for name, places in stars.items()}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> surveycnn.Catalog:
    """The catalog of all skies, each a mosaic of its own; the first has the bands of a model, without which there is no run."""
    folder = tmp_path_factory.mktemp("projections")
    image = star_image(np.random.default_rng(11))
    for name, cards in SKIES.items():
        fits.writeto(folder / f"{name}.fits", image, fits.Header([*cards.items(), ("MAGZP", ZEROPOINT)]))
    bands_of = ["gri", *"r" * (len(SKIES) - 1)]
    mosaics = [
        {"id": name, "images": [{"band": band, "path": f"{name}.fits"} for band in bands]}
        for name, bands in zip(SKIES, bands_of, strict=True)
    ]
    write_survey(folder, mosaics=mosaics, models="lens", detection={"bands": ["r"]}, output=str(folder / "run"))
    run_survey(load_config(folder / "survey.yaml"))
    return surveycnn.open_catalog(folder / "run")


def star_pixels() -> tuple[np.ndarray, np.ndarray]:
    jitter = np.random.default_rng(4).uniform(-6, 6, (2, 16))
    y, x = np.mgrid[:4, :4].reshape(2, 16) * 50.0 + 35 + jitter
    return x, y


def star_image(rng: np.random.Generator) -> np.ndarray:
    """Stars of 1000 times the noise at :func:`star_pixels`."""
    image, (y, x) = rng.normal(10, 1, (SIZE, SIZE)), np.mgrid[:SIZE, :SIZE]
    for x0, y0 in zip(*star_pixels(), strict=True):
        image += 1000 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 2.0**2))
    return image.astype("f4")


@every_sky
def test_catalog__positions_of_the_truth(catalog, truth, name):
    rows = catalog.where(f"mosaic == '{name}'").to_table()
    found = SkyCoord(rows["ra"], rows["dec"], unit="deg")
    _, separation, _ = truth[name].match_to_catalog_sky(found)
    assert len(rows) == len(truth[name])
    assert separation.arcsec.max() < 0.05


@every_sky
def test_catalog__cones_find_the_truth(catalog, truth, name):
    for star in truth[name]:
        rows = catalog.cone(star.ra.deg, star.dec.deg, 0.1).to_table()
        assert list(rows["mosaic"]) == [name]
    centre = WCS(SKIES[name]).pixel_to_world(SIZE / 2, SIZE / 2).icrs
    assert len(catalog.cone(centre.ra.deg, centre.dec.deg, 60)) == len(truth[name])


def test_catalog__ends_with_the_sky(catalog, truth):
    x, _ = star_pixels()
    assert len(truth["skyedge"]) == np.count_nonzero(x < EDGE_X) == 12
    assert catalog.where("mosaic == 'skyedge'")["x"].max() < EDGE_X


def test_catalog__cone_on_the_pole(catalog, truth):
    assert len(catalog.cone(0.0, 90.0, 60)) == len(catalog.cone(270.0, 90.0, 60)) == 16
    assert np.ptp(truth["northpole"].ra.deg) > 180


def test_catalog__box_over_ra_0(catalog, truth):
    assert np.ptp(truth["ra0"].ra.deg) > 359
    assert len(catalog.box(359.9, 0.1, 9.9, 10.1)) == 16


def test_catalog__covers_its_stars(catalog, truth):
    for name, stars in truth.items():
        assert catalog.coverage.contains_skycoords(stars).all(), name
