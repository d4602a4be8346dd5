"""Colours of galaxies: template spectra, redshifted and reddened, through the LSST bandpasses.

The templates are those of Coleman, Wu & Weedman (1980, ApJS 43, 393) extended to the UV and IR, as GalSim ships them,
with the LSST total throughputs; a galaxy is an interpolation between two neighbouring templates.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from galsim.meta_data import share_dir

TEMPLATES = ("CWW_E_ext", "CWW_Sbc_ext", "CWW_Scd_ext", "CWW_Im_ext")
"""From the reddest, spectral type 0, to the bluest, spectral type 3."""

BANDS = ("u", "g", "r", "i", "z", "y")
_REFERENCE_A = 5500.0
_SAMPLES = 48
_BAND_EDGES = {"u": (320, 409), "g": (386, 567), "r": (537, 706), "i": (676, 833), "z": (803, 938), "y": (908, 1099)}


@lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (m,) in angstrom, log spaced, and f_nu (template, m), 1 at 5500 angstrom."""
    wavelength = np.geomspace(900.0, 20000.0, 3000)
    fluxes = []
    for name in TEMPLATES:
        lam, f_lam = np.loadtxt(Path(share_dir) / "SEDs" / f"{name}.sed", usecols=(0, 1), unpack=True)
        f_nu = np.interp(wavelength, lam, f_lam) * wavelength**2
        fluxes.append(f_nu / np.interp(_REFERENCE_A, wavelength, f_nu))
    return wavelength, np.array(fluxes)


@lru_cache(maxsize=8)
def _bandpasses(bands: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (band, sample) in angstrom and the weights (band, sample) of an AB magnitude, sum 1 per band."""
    wavelengths, weights = [], []
    for band in bands:
        lam, throughput = np.loadtxt(Path(share_dir) / "bandpasses" / f"LSST_{band}.dat", usecols=(0, 1), unpack=True)
        grid = np.linspace(*_BAND_EDGES[band], _SAMPLES)
        weight = np.interp(grid, lam, throughput) / grid
        wavelengths.append(grid * 10.0)
        weights.append(weight / weight.sum())
    return np.array(wavelengths), np.array(weights)


def band_fluxes(spectral_type: float, redshift: float, bands: tuple[str, ...], a_v: float = 0.0) -> np.ndarray:
    """Mean f_nu (band,) of a galaxy of fixed luminosity in arbitrary units, the same ones at every redshift.

    Parameters
    ----------
    spectral_type
        0 elliptical, 1 Sbc, 2 Scd, 3 irregular; fractions interpolate.
    a_v
        Dust in the galaxy, magnitudes at 5500 angstrom rest frame, attenuation proportional to wavelength^-0.9 (close to
        Calzetti et al. 2000 in the optical); negative values make a spectrum bluer than its template.
    """
    wavelength, templates = _templates()
    lower = int(np.clip(np.floor(spectral_type), 0, len(TEMPLATES) - 2))
    fraction = float(np.clip(spectral_type - lower, 0.0, 1.0))
    observed, weights = _bandpasses(tuple(bands))
    rest = observed / (1.0 + redshift)
    # A weighted mean of logarithms: between an old and a young population fluxes differ by factors of ten in the UV.
    log_flux = (1 - fraction) * _log_templates()[lower] + fraction * _log_templates()[lower + 1]
    flux = np.exp(np.interp(rest, wavelength, log_flux))
    if a_v:
        flux *= 10.0 ** (-0.4 * a_v * (rest / _REFERENCE_A) ** -0.9)
    return (1.0 + redshift) * (flux * weights).sum(axis=1)


@lru_cache(maxsize=1)
def _log_templates() -> np.ndarray:
    return np.log(np.maximum(_templates()[1], 1e-6))


def colours(spectral_type: float, redshift: float, bands: tuple[str, ...], a_v: float = 0.0, reference: str = "i") -> np.ndarray:
    """Flux in each band (band,) relative to the flux in the `reference` band."""
    flux = band_fluxes(spectral_type, redshift, (*bands, reference), a_v)
    return flux[:-1] / flux[-1]


def k_correction(spectral_type: float, redshift: float, observed: str = "i", rest: str = "r") -> float:
    """Apparent `observed` minus absolute `rest` magnitude minus the distance modulus."""
    return float(
        -2.5 * np.log10(band_fluxes(spectral_type, redshift, (observed,))[0] / band_fluxes(spectral_type, 0.0, (rest,))[0])
    )
