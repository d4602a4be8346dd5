"""Galaxy-scale strong lenses: a population of deflectors and sources, ray-traced with the profiles of lenstronomy.

The deflectors and sources follow the discoverable population of LensPop (Collett 2015, ApJ 811, 20): velocity
dispersions, redshifts, fundamental-plane sizes (Hyde & Bernardi 2009), source sizes and colours.
:mod:`surveycnn.simulation.arcs` says which of them can be seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from lenstronomy.LensModel.Profiles.epl import EPL
from lenstronomy.LensModel.Profiles.sie import SIE

from surveycnn.simulation.cosmology import distance_modulus, kpc_per_arcsec
from surveycnn.simulation.population import njy
from surveycnn.simulation.render import Component, sersic
from surveycnn.simulation.spectra import colours, k_correction

_RAY_CELL = 0.05
"""Ray-tracing grid, arcsec."""
MAP_CELL = 2.0 * _RAY_CELL
"""Grid of the lensed image, on which four rays are averaged, arcsec."""


@dataclass(frozen=True)
class Deflector:
    """A massive early-type galaxy."""

    sigma_v: float
    """Velocity dispersion, km/s."""
    redshift: float
    mag_i: float
    radius: float
    """Half-light radius, arcsec."""
    axis_ratio: float
    angle: float
    """Radian from x to y."""
    sersic_index: float
    spectral_type: float


@dataclass(frozen=True)
class Source:
    """A background galaxy, unlensed."""

    redshift: float
    radius: float
    """Half-light radius, arcsec."""
    axis_ratio: float
    angle: float
    sersic_index: float
    spectral_type: float
    a_v: float
    y: float
    """Position behind the deflector, arcsec."""
    x: float
    clumps: np.ndarray
    """(clump, 4): y, x in half-light radii, size in half-light radii, share of the flux."""


def draw_deflector(rng: np.random.Generator) -> Deflector:
    """A deflector with the velocity dispersions and redshifts of lenses that LSST can discover."""
    sigma_v = float(np.clip(rng.normal(255.0, 40.0), 150.0, 380.0))
    redshift = float(np.clip(np.exp(rng.normal(np.log(0.47), 0.5)), 0.08, 1.1))
    spectral_type = float(np.clip(rng.normal(0.08, 0.1), 0.0, 0.4))
    # Faber-Jackson with passive evolution of 0.8 mag per unit redshift.
    m_abs = -22.75 - 8.0 * np.log10(sigma_v / 250.0) - 0.8 * redshift + rng.normal(0.0, 0.3)
    log_sigma = np.log10(sigma_v)
    radius_kpc = 10 ** (2.46 - 2.79 * log_sigma + 0.84 * log_sigma**2 + rng.normal(0.0, 0.11))
    return Deflector(
        sigma_v=sigma_v,
        redshift=redshift,
        mag_i=float(m_abs + distance_modulus(redshift) + k_correction(spectral_type, redshift)),
        radius=float(radius_kpc / kpc_per_arcsec(redshift)),
        axis_ratio=float(np.clip(1.0 - rng.rayleigh(max(0.378 - 0.000572 * sigma_v, 0.05)), 0.3, 1.0)),
        angle=float(rng.uniform(0.0, np.pi)),
        sersic_index=float(rng.uniform(3.0, 6.0)),
        spectral_type=spectral_type,
    )


def draw_source(rng: np.random.Generator, theta_e: float, redshift: float) -> Source:
    """A source at `redshift` behind a deflector of Einstein radius `theta_e` arcsec, close enough for multiple images."""
    offset, direction = theta_e * np.sqrt(rng.uniform(0.0, 0.6)), rng.uniform(0.0, 2.0 * np.pi)
    n_clumps = int(rng.integers(0, 5))
    clumps = np.column_stack(
        [
            rng.normal(0.0, 0.8, (n_clumps, 2)),
            rng.uniform(0.08, 0.3, n_clumps),
            rng.dirichlet(np.ones(n_clumps)) * rng.uniform(0.1, 0.45) if n_clumps else np.zeros(0),
        ]
    )
    is_red = rng.uniform() < 0.1
    return Source(
        redshift=redshift,
        radius=float(np.clip(np.exp(rng.normal(np.log(0.20), 0.5)), 0.06, 0.6)),
        axis_ratio=float(np.clip(1.0 - rng.rayleigh(0.3), 0.25, 1.0)),
        angle=float(rng.uniform(0.0, np.pi)),
        sersic_index=float(rng.uniform(0.7, 1.8)),
        spectral_type=float(rng.uniform(0.5, 1.5) if is_red else rng.uniform(2.4, 3.0)),
        a_v=float(rng.normal(-0.15, 0.2)),
        y=float(offset * np.sin(direction)),
        x=float(offset * np.cos(direction)),
        clumps=clumps,
    )


def source_brightness(source: Source, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Surface brightness per arcsec2 of a source of unlensed flux 1 at the source-plane positions (y, x), arcsec."""
    dy, dx = y - source.y, x - source.x
    cosine, sine = math.cos(source.angle), math.sin(source.angle)  # floats of Python leave single precision as it is
    round_radius = source.radius * math.sqrt(source.axis_ratio)
    along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
    elliptic = np.sqrt(along**2 * source.axis_ratio + across**2 / source.axis_ratio + 1e-4) / round_radius
    n = source.sersic_index
    b = 2.0 * n - 1.0 / 3.0 + 0.009876 / n
    norm = 2.0 * math.pi * n * b ** (-2.0 * n) * math.exp(b) * math.gamma(2.0 * n)
    share_of_disk = float(1.0 - source.clumps[:, 3].sum())
    smooth = share_of_disk / (norm * round_radius**2) * np.exp(b - b * elliptic ** (1.0 / n))
    for clump_y, clump_x, size, share in source.clumps.tolist():
        width = max(size * source.radius, 0.02)
        squared = (dy - clump_y * source.radius) ** 2 + (dx - clump_x * source.radius) ** 2
        smooth += share / (2.0 * math.pi * width**2) * np.exp(squared * (-0.5 / width**2))
    return smooth


def ray_trace(
    y: np.ndarray,
    x: np.ndarray,
    theta_e: float,
    axis_ratio: float,
    angle: float,
    slope: float = 2.0,
    shear: tuple[float, float] = (0, 0),
) -> tuple[np.ndarray, np.ndarray]:
    """Source-plane positions (y, x) in arcsec of image-plane positions: elliptical power law (isothermal at `slope` 2) and shear.

    Parameters
    ----------
    theta_e
        Einstein radius, arcsec, of the circle that encloses the same mass.
    """
    e = (1.0 - axis_ratio) / (1.0 + axis_ratio)
    e1, e2 = e * np.cos(2.0 * angle), e * np.sin(2.0 * angle)
    if slope == 2.0:
        alpha_x, alpha_y = SIE().derivatives(x, y, theta_e, e1, e2)
    else:
        alpha_x, alpha_y = EPL().derivatives(x, y, theta_e, slope, e1, e2)
    g1, g2 = shear
    return y - alpha_y - (g2 * x - g1 * y), x - alpha_x - (g1 * x + g2 * y)


def lens_light(deflector: Deflector, bands: tuple[str, ...], two_components: bool = False) -> list[Component]:
    """The deflector's own light; with an extended envelope where `two_components`."""
    flux = njy(deflector.mag_i) * colours(deflector.spectral_type, deflector.redshift, bands)
    shape = (deflector.axis_ratio, deflector.angle)
    if not two_components:
        return [Component(sersic(deflector.sersic_index, deflector.radius, *shape), flux)]
    core = Component(sersic(3.0, 0.6 * deflector.radius, *shape), 0.6 * flux)
    return [core, Component(sersic(1.0, 1.8 * deflector.radius, *shape), 0.4 * flux)]


def lensed_map(rng: np.random.Generator, deflector: Deflector, source: Source, theta_e: float) -> tuple[np.ndarray, float]:
    """Image-plane map (y, x) of a source of unlensed flux 1, and the magnification; mass follows light with scatter."""
    half = float(np.clip(2.2 * theta_e + 3.0 * source.radius + 0.8, 2.5, 6.4))
    cells = 4 * int(half / MAP_CELL)
    axis = ((np.arange(cells) - (cells - 1) / 2.0) * _RAY_CELL).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    mass_q = float(np.clip(deflector.axis_ratio + rng.normal(0.0, 0.08), 0.35, 0.99))
    mass_angle = deflector.angle + np.radians(rng.normal(0.0, 10.0))
    strength, direction = min(rng.rayleigh(0.03), 0.12), rng.uniform(0.0, 2.0 * np.pi)
    shear = (strength * np.cos(direction), strength * np.sin(direction))
    source_y, source_x = ray_trace(y.ravel(), x.ravel(), theta_e, mass_q, mass_angle, shear=shear)
    source_y, source_x = source_y.astype(np.float32), source_x.astype(np.float32)
    flux = source_brightness(source, source_y, source_x).reshape(cells // 2, 2, cells // 2, 2).sum(axis=(1, 3)) * _RAY_CELL**2
    return flux.astype(np.float32), float(flux.sum())
