"""Two overlapping mosaics of one simulated sky, from pixels to rows: every true source above 10 sigma is primary exactly once.

The second mosaic is rotated by 30 degrees, has larger pixels, wider seeing, more noise and another zero point. The line where
both are equally deep runs through the overlap, each has a hole, and galaxies are cut by the edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.wcs import WCS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from surveycnn.config import load_config
from surveycnn.run.publish import publish_survey
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session

ISOLATED_ARCSEC = 2.5
"""True sources without another one within this are matched one by one."""
MIN_SIGNAL_TO_NOISE = 10.0
CENTRE = (359.995, -31.0)
NJY_AB = 31.4


@dataclass(frozen=True)
class Mosaic:
    """How one of the mosaics sees the sky."""

    id: str
    size_px: int
    scale: float
    """Arcsec per pixel."""
    angle_deg: float
    offset: tuple[float, float]
    """Of the centre, arcsec east and north."""
    seeing: float
    """Sigma, arcsec."""
    noise: float
    """Per pixel, nJy."""
    zeropoint: float
    hole: tuple[int, int, int, int]
    """y0, y1, x0, x1 without data."""

    @property
    def wcs(self) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        east, north = self.offset
        wcs.wcs.crval = [CENTRE[0] + east / 3600 / np.cos(np.radians(CENTRE[1])), CENTRE[1] + north / 3600]
        wcs.wcs.crpix = [self.size_px / 2 + 0.5] * 2
        angle = np.radians(self.angle_deg)
        turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wcs.wcs.cd = self.scale / 3600 * turn
        return wcs


MOSAICS = (
    Mosaic("sharp", 700, 0.2, 0.0, (0.0, 0.0), 0.3, 1.0, 27.0, (300, 350, 470, 520)),
    Mosaic("wide", 640, 0.27, 30.0, (60.0, 15.0), 0.45, 1.6, 25.5, (250, 390, 150, 290)),
)


@dataclass(frozen=True)
class Truth:
    """Elliptical Gaussians; arrays of shape (source,)."""

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    """nJy."""
    covariance: np.ndarray
    """(source, 2, 2), arcsec^2, east and north."""

    def signal_to_noise(self, mosaic: Mosaic) -> np.ndarray:
        """In an aperture of twice the half-light radius, which holds 94 % of the light."""
        size = np.linalg.det(self.covariance + mosaic.seeing**2 * np.eye(2)) ** 0.25
        radius_px = 2 * 1.1774 * size / mosaic.scale
        return 0.9375 * self.flux / (mosaic.noise * np.sqrt(np.pi) * radius_px)

    def wing_arcsec(self, mosaic: Mosaic) -> np.ndarray:
        """Radius within which a source is brighter than 0.3 sigma per pixel: fainter ones are lost in its light."""
        covariance = self.covariance + mosaic.seeing**2 * np.eye(2)
        peak = self.flux * mosaic.scale**2 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
        sigmas = np.sqrt(2 * np.log(np.maximum(peak / (0.3 * mosaic.noise), 1)))
        return sigmas * np.sqrt(np.linalg.eigvalsh(covariance)[:, 1])

    def is_whole_in(self, mosaic: Mosaic) -> np.ndarray:
        """True where that aperture lies in the mosaic and touches no hole."""
        x, y = mosaic.wcs.all_world2pix(self.ra, self.dec, 0)
        size = np.sqrt(np.linalg.eigvalsh(self.covariance)[:, 1] + mosaic.seeing**2)
        reach = 2 * 1.1774 * size / mosaic.scale
        y0, y1, x0, x1 = mosaic.hole
        in_hole = (y > y0 - reach) & (y < y1 + reach) & (x > x0 - reach) & (x < x1 + reach)
        return (np.minimum(x, y) > reach) & (np.maximum(x, y) < mosaic.size_px - 1 - reach) & ~in_hole


def draw_truth(rng: np.random.Generator, n_sources: int = 540) -> Truth:
    """Sources around both mosaics: most are small and faint, one in eight has a companion, one in twenty is large."""
    east, north = rng.uniform(-80, 170, n_sources), rng.uniform(-110, 130, n_sources)
    flux = 60 * rng.uniform(0.01, 1, n_sources) ** -1.2
    n_close = n_sources // 8
    distance, angle = rng.uniform(0.8, 3.0, n_close), rng.uniform(0, 2 * np.pi, n_close)
    east[:n_close] = east[n_close : 2 * n_close] + distance * np.cos(angle)
    north[:n_close] = north[n_close : 2 * n_close] + distance * np.sin(angle)
    size, ratio = rng.uniform(0.05, 0.7, n_sources), rng.uniform(0.4, 1, n_sources)
    large = rng.random(n_sources) < 0.05
    size[large] = rng.uniform(1.0, 2.5, large.sum())
    flux[large] *= 10 * size[large] ** 2
    angle = rng.uniform(0, np.pi, n_sources)
    turn = np.moveaxis(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), -1, 0)
    axes = np.zeros((n_sources, 2, 2))
    axes[:, 0, 0], axes[:, 1, 1] = size**2, (ratio * size) ** 2
    plane = WCS(naxis=2)
    plane.wcs.ctype, plane.wcs.crval, plane.wcs.cdelt = ["RA---TAN", "DEC--TAN"], CENTRE, [1 / 3600, 1 / 3600]
    ra, dec = plane.all_pix2world(east, north, 1)
    return Truth(ra, dec, flux, turn @ axes @ turn.transpose(0, 2, 1))


def draw_mosaic(truth: Truth, mosaic: Mosaic, rng: np.random.Generator) -> np.ndarray:
    """Image (y, x) in units of the zero point, sky and noise added, NaN in the hole."""
    size = mosaic.size_px
    x, y = mosaic.wcs.all_world2pix(truth.ra, truth.dec, 0)
    to_sky = mosaic.wcs.wcs.cd * 3600
    image = rng.normal(0, mosaic.noise, (size, size))
    for number in range(len(x)):
        covariance = truth.covariance[number] + mosaic.seeing**2 * np.eye(2)
        reach = int(6 * np.sqrt(np.linalg.eigvalsh(covariance)[1]) / mosaic.scale) + 2
        rows = np.arange(max(int(y[number]) - reach, 0), min(int(y[number]) + reach + 1, size))
        cols = np.arange(max(int(x[number]) - reach, 0), min(int(x[number]) + reach + 1, size))
        dx, dy = np.meshgrid(cols - x[number], rows - y[number])
        offset = np.stack([dx, dy], axis=-1) @ to_sky.T
        exponent = np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset)
        peak = truth.flux[number] * mosaic.scale**2 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
        image[rows[:, None], cols] += peak * np.exp(-exponent / 2)
    y0, y1, x0, x1 = mosaic.hole
    image[y0:y1, x0:x1] = np.nan
    return 100 + image * 10 ** (0.4 * (mosaic.zeropoint - NJY_AB))


def run_overlap(folder: Path, seed: int) -> tuple[Truth, dict[str, np.ndarray]]:
    """The true sky of a seed, and the rows of the catalog of both mosaics."""
    rng = np.random.default_rng(seed)
    truth = draw_truth(rng)
    for mosaic in MOSAICS:
        image = draw_mosaic(truth, mosaic, rng)
        fits.writeto(folder / f"{mosaic.id}.fits", image.astype("f4"), mosaic.wcs.to_header())
    survey = {
        "name": "overlap",
        "mosaics": [{"id": m.id, "images": [{"band": "r", "path": f"{m.id}.fits", "zeropoint": m.zeropoint}]} for m in MOSAICS],
        "detection": {"bands": ["r"], "threshold_sigma": 1.2},
        "tiling": {"core_px": 1024, "halo_px": 128},
        "bands": {"g": "r", "i": "r"},
        "models": ["lens"],
        "cluster": "serial",
        "formats": ["fits"],
    }
    (folder / "survey.yaml").write_text(yaml.safe_dump(survey))
    with open_session(load_config(folder / "survey.yaml", [f"output={folder / 'run'}"])) as session:
        # sources only: what the model says of them costs seconds and is no matter here
        session.plan = replace(session.plan, mosaics=tuple(replace(m, models=()) for m in session.plan.mosaics))
        for mosaic in session.plan.mosaics:
            ingest_mosaic(session, mosaic)
            infer_mosaic(session, mosaic)
        result = publish_survey(session)
    rows = fits.getdata(result.output / "catalog.fits")
    return truth, {name: np.asarray(rows[name]) for name in rows.names}


def group_of(truth: Truth) -> np.ndarray:
    """(source,) number of the group: sources within 2.5 arcsec of one another, or in the wing of a brighter one."""
    places = plane_arcsec(truth.ra, truth.dec)
    wing = np.max([truth.wing_arcsec(mosaic) for mosaic in MOSAICS], axis=0)
    reach = np.maximum(ISOLATED_ARCSEC, wing)
    first, second = np.nonzero(np.linalg.norm(places[:, None] - places, axis=-1) < np.maximum(reach[:, None], reach))
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(places), len(places)))
    return connected_components(links, directed=False)[1]


def count_primary(truth: Truth, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each group of true sources that has one above 10 sigma, whole in a mosaic: its sources, and the primary rows there.

    A row belongs to the nearest source, if it is within 1.5 arcsec or twice its half-light radius.
    """
    group = group_of(truth)
    n_groups = group.max() + 1
    bright = np.any([(truth.signal_to_noise(m) > MIN_SIGNAL_TO_NOISE) & truth.is_whole_in(m) for m in MOSAICS], axis=0)
    size = 1.1774 * np.linalg.det(truth.covariance + MOSAICS[1].seeing ** 2 * np.eye(2)) ** 0.25
    primary = rows["is_primary"]
    distance, nearest = cKDTree(plane_arcsec(truth.ra, truth.dec)).query(plane_arcsec(rows["ra"][primary], rows["dec"][primary]))
    near = distance < np.maximum(1.5, 2 * size[nearest])
    n_rows = np.bincount(group[nearest[near]], minlength=n_groups)
    wanted = np.bincount(group[bright], minlength=n_groups) > 0
    return {"group": np.flatnonzero(wanted), "sources": np.bincount(group)[wanted], "rows": n_rows[wanted]}


def plane_arcsec(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Offsets (n, 2) from the centre, east and north; right ascension wraps."""
    east = (ra - CENTRE[0] + 180) % 360 - 180
    return 3600 * np.stack([east * np.cos(np.radians(CENTRE[1])), dec - CENTRE[1]], axis=1)


@pytest.mark.parametrize("seed", [3, 10])
def test_overlap__every_source_above_10_sigma_is_primary_once(tmp_path, seed):
    truth, rows = run_overlap(tmp_path, seed)
    found = count_primary(truth, rows)
    is_alone = found["sources"] == 1
    assert is_alone.sum() > 80 and (~rows["is_primary"]).sum() > 40  # a sky that puts it to the test
    assert np.array_equal(found["rows"][is_alone], np.ones(is_alone.sum()))
    assert np.all((found["rows"] >= 1) & (found["rows"] <= found["sources"]))
