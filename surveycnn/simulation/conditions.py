"""Observing conditions: what the atmosphere, the depth and the detector do to a stamp, drawn anew for every stamp and band.

Medians and depths: LSST from the OpSim values in PhotErr and the requirements (delivered seeing 0.7-1.1 arcsec), KiDS
from Kuijken et al. (2019, A&A 625, A2), DES from Abbott et al. (2021, ApJS 255, 20), HSC Wide from Aihara et al. (2019,
PASJ 71, 114). PSFs are elliptical Moffat profiles, noise is correlated as on a resampled coadd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from surveycnn.errors import ConfigError

AB_ZEROPOINT_NJY = 31.4
PIXEL_SCALE_ARCSEC = 0.2
STAMP_PX = 64


@dataclass(frozen=True)
class BandConditions:
    """Typical conditions of one survey in one band."""

    fwhm: float
    """Median seeing, arcsec."""
    depth: tuple[float, float]
    """Shallowest and deepest 5 sigma magnitude of a point source."""
    sky: float
    """Sky brightness, mag/arcsec2, which sets how much photon noise a bright source adds."""


SURVEYS: dict[str, dict[str, BandConditions]] = {
    # One to ten years of LSST: 1.25 mag between them.
    "lsst": {
        "g": BandConditions(0.95, (25.6, 26.9), 22.26),
        "r": BandConditions(0.88, (25.7, 27.0), 21.20),
        "i": BandConditions(0.84, (25.1, 26.5), 20.48),
        "z": BandConditions(0.82, (24.4, 25.8), 19.60),
    },
    "kids": {
        "g": BandConditions(0.88, (24.9, 25.4), 22.3),
        "r": BandConditions(0.70, (24.8, 25.3), 21.2),
        "i": BandConditions(0.82, (23.5, 24.2), 19.8),
        "z": BandConditions(0.95, (22.9, 23.5), 18.9),
    },
    "des": {
        "g": BandConditions(1.11, (25.1, 25.6), 22.01),
        "r": BandConditions(0.95, (24.8, 25.3), 21.15),
        "i": BandConditions(0.88, (24.2, 24.7), 19.89),
        "z": BandConditions(0.83, (23.4, 23.9), 18.72),
    },
    "hsc": {
        "g": BandConditions(0.79, (26.3, 26.8), 22.2),
        "r": BandConditions(0.75, (25.9, 26.4), 21.2),
        "i": BandConditions(0.61, (25.9, 26.3), 20.5),
        "z": BandConditions(0.68, (25.0, 25.5), 19.5),
    },
}


@dataclass(frozen=True)
class Conditions:
    """A mixture of surveys, as they are or made worse."""

    surveys: dict[str, float]
    """Probability of each survey."""
    seeing_factor: float = 1.0
    """On the seeing of every band."""
    shallower: float = 0.0
    """Magnitudes by which the depths are brighter."""
    pixel_scale: float = PIXEL_SCALE_ARCSEC
    """arcsec per pixel of the detector; other than 0.2, the stamps are resampled to 0.2."""
    crowding: float = 1.0
    """Factor on the counts of neighbours."""


_WIDE = {"lsst": 0.4, "kids": 0.25, "des": 0.2, "hsc": 0.15}
CONDITIONS: dict[str, Conditions] = {
    **{name: Conditions({name: 1.0}) for name in SURVEYS},
    "lsst-kids": Conditions({"lsst": 0.7, "kids": 0.3}),
    "wide": Conditions(_WIDE),
    "shifted": Conditions(_WIDE, seeing_factor=1.25, shallower=0.4, pixel_scale=0.26, crowding=1.6),
}
"""Names that ``conditions=`` takes: ``wide`` spans LSST, KiDS, DES and HSC; ``shifted`` is worse than any training set in seeing,
depth, sampling and crowding, to see how a model bears it."""


@dataclass(frozen=True)
class Exposure:
    """Conditions of one stamp in one band."""

    band: str
    fwhm: float
    """Seeing, arcsec."""
    beta: float
    """Moffat exponent."""
    e1: float
    """PSF shear along the x axis."""
    e2: float
    """PSF shear along the diagonal."""
    sigma: float
    """Sky noise, nJy per pixel, 1 sigma."""
    source_variance: float
    """Variance per unit of source flux, nJy: photon noise of the objects."""
    correlated: float
    """Share of the noise variance that is smoothed over neighbouring pixels."""
    shift_y: float
    """Astrometric shift against the other bands, arcsec."""
    shift_x: float
    gain: float
    """Multiplicative error of the zero point."""
    sky_residual: float
    """Sky level left after subtraction, nJy per pixel."""
    pixel_scale: float = PIXEL_SCALE_ARCSEC
    """arcsec per pixel of the detector."""
    crowding: float = 1.0
    """Factor on the counts of neighbours."""


def find_conditions(name: str) -> Conditions:
    """The conditions that `name` stands for.

    Raises
    ------
    ConfigError
        For an unknown name.
    """
    if name not in CONDITIONS:
        raise ConfigError(f"unknown observing conditions {name!r}: choose one of {sorted(CONDITIONS)}")
    return CONDITIONS[name]


def pixel_noise(depth: float, fwhm: float, pixel_scale: float = PIXEL_SCALE_ARCSEC) -> float:
    """Noise per pixel in nJy that gives a point source of magnitude `depth` 5 sigma in matched Gaussian photometry."""
    psf_sigma_px = fwhm / 2.3548 / pixel_scale
    return 10 ** (-0.4 * (depth - AB_ZEROPOINT_NJY)) / (5.0 * np.sqrt(4.0 * np.pi) * psf_sigma_px)


def draw_exposures(rng: np.random.Generator, conditions: str, bands: Sequence[str]) -> tuple[Exposure, ...]:
    """One draw of the conditions in each band; season and depth are shared by the bands, the rest is not."""
    setup = find_conditions(conditions)
    survey = SURVEYS[str(rng.choice(list(setup.surveys), p=list(setup.surveys.values())))]
    season, progress = rng.normal(0.0, 0.08), rng.uniform()
    return tuple(_draw_exposure(rng, band, survey[band], season, progress, setup) for band in bands)


def _draw_exposure(
    rng: np.random.Generator, band: str, typical: BandConditions, season: float, progress: float, setup: Conditions
) -> Exposure:
    fwhm = setup.seeing_factor * float(np.clip(typical.fwhm * np.exp(season + rng.normal(0.0, 0.09)), 0.5, 1.6))
    shallow, deep = typical.depth
    depth = shallow + progress * (deep - shallow) + rng.normal(0.0, 0.15) - setup.shallower
    sigma = pixel_noise(depth, fwhm, setup.pixel_scale)
    sky_njy = 10 ** (-0.4 * (typical.sky - AB_ZEROPOINT_NJY)) * setup.pixel_scale**2
    ellipticity, angle = abs(rng.normal(0.0, 0.03)), rng.uniform(0.0, 2.0 * np.pi)
    return Exposure(
        band=band,
        fwhm=fwhm,
        beta=float(rng.uniform(2.5, 4.5)),
        e1=min(ellipticity, 0.1) * np.cos(angle),
        e2=min(ellipticity, 0.1) * np.sin(angle),
        sigma=float(sigma),
        source_variance=float(sigma**2 / sky_njy),
        correlated=float(rng.uniform(0.2, 0.6)),
        shift_y=float(rng.normal(0.0, 0.02)),
        shift_x=float(rng.normal(0.0, 0.02)),
        gain=float(10 ** (0.4 * rng.normal(0.0, 0.02))),
        sky_residual=float(rng.normal(0.0, 0.07) * sigma),
        pixel_scale=setup.pixel_scale,
        crowding=setup.crowding,
    )


_KERNEL = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])


def draw_noise(rng: np.random.Generator, model: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Noise (y, x) in nJy of an image without noise `model` (y, x) in nJy: sky and photon noise, correlated between neighbours.

    The white and the smoothed parts are scaled to keep the variance per pixel that `exposure` asks for.
    """
    white = rng.standard_normal(model.shape, dtype=np.float32)
    smooth = ndimage.convolve(rng.standard_normal(model.shape, dtype=np.float32), _KERNEL.astype(np.float32), mode="wrap")
    smooth /= np.float32(np.sqrt((_KERNEL**2).sum()))
    unit = np.sqrt(1.0 - exposure.correlated) * white + np.sqrt(exposure.correlated) * smooth
    return unit * np.sqrt(exposure.sigma**2 + exposure.source_variance * np.maximum(model, 0.0))
