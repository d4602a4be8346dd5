"""Which lenses can be seen: arcs drawn under the observing conditions, measured against the noise and the deflector's light.

A positive of a training set needs arcs that stand out: labelling undetectable lenses as positives ruins a finder
(Canameras et al. 2024, A&A 692, A72, set L6). The limits on magnification and resolution are those of LensPop (Collett
2015, ApJ 811, 20). The Einstein radii are the natural ones of the population, not flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY, Exposure
from surveycnn.simulation.cosmology import einstein_radius
from surveycnn.simulation.lenses import MAP_CELL, Deflector, Source, draw_deflector, draw_source, lens_light, lensed_map
from surveycnn.simulation.population import njy
from surveycnn.simulation.render import Component, Layers, draw_light
from surveycnn.simulation.spectra import colours

MIN_THETA_E, MAX_THETA_E = 0.5, 3.0
"""arcsec; what is smaller is not resolved from the ground, what is larger belongs to groups and does not fit on a stamp."""
FAINTEST_DEFLECTOR = 22.5
"""i magnitude."""
MIN_MAGNIFICATION = 3.0
MIN_ARC_SN, MIN_PEAK_SN = 25.0, 4.0
MIN_CONTRAST = 0.25
"""Of the brightest pixel of the arcs over the deflector's light at the same place, beyond the noise."""
_BRIGHTEST_SOURCE, _FAINTEST_SOURCE = 22.0, 27.5
"""Unlensed g magnitudes."""


@dataclass(frozen=True)
class Visibility:
    """How well the arcs of 1 nJy of unlensed g flux stand out, in the better of the first two bands."""

    total_sn: float
    peak_sn: float
    contrast: float
    """Brightest pixel over what `MIN_CONTRAST` and `MIN_PEAK_SN` ask for there."""

    @property
    def faintest(self) -> float:
        """Faintest unlensed g magnitude that is detectable."""
        needed = max(
            MIN_ARC_SN / max(self.total_sn, 1e-12), MIN_PEAK_SN / max(self.peak_sn, 1e-12), 1 / max(self.contrast, 1e-12)
        )
        return float(AB_ZEROPOINT_NJY - 2.5 * np.log10(needed))


@dataclass(frozen=True)
class Lens:
    """A lens: its light, its image without noise and its truth."""

    deflector: Deflector
    theta_e: float
    deflector_light: list[Component]
    arcs: Layers
    image: np.ndarray
    """(band, y, x) nJy of deflector and arcs."""
    truth: dict[str, float | bool]

    @property
    def light(self) -> list[Component | Layers]:
        return [*self.deflector_light, self.arcs]

    @property
    def arc_flux(self) -> np.ndarray:
        """(band,) nJy of the arcs: the magnified flux of the source."""
        return self.arcs.flux[0]

    @property
    def deflector_flux(self) -> np.ndarray:
        """(band,) nJy."""
        return np.sum([part.flux for part in self.deflector_light], axis=0)


def draw_lens(
    rng: np.random.Generator,
    exposures: Sequence[Exposure],
    *,
    clear: float = 0.0,
    detectable: bool = True,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Lens:
    """A lens of the population, its arcs detectable under `exposures` unless `detectable` is False.

    Parameters
    ----------
    clear
        Magnitudes by which the source must be brighter than the limit of detection: for lenses that nobody can miss.
    centre
        (y, x) in pixels of the deflector from the middle of the image.
    """
    while True:
        deflector, z_source = draw_deflector(rng), float(np.clip(np.exp(rng.normal(np.log(1.9), 0.4)), 0.5, 3.2))
        theta_e = einstein_radius(deflector.sigma_v, deflector.redshift, z_source)
        if not MIN_THETA_E < theta_e < MAX_THETA_E or deflector.mag_i > FAINTEST_DEFLECTOR:
            continue
        source = draw_source(rng, theta_e, z_source)
        if detectable and not _is_resolved(theta_e, source.radius, exposures):
            continue
        arc_map, magnification = lensed_map(rng, deflector, source, theta_e)
        if magnification < (MIN_MAGNIFICATION if detectable else 1.5):
            continue
        lens = _illuminate(rng, exposures, deflector, source, theta_e, arc_map, clear if detectable else None, centre)
        if lens is not None:
            return lens


def _is_resolved(theta_e: float, source_radius: float, exposures: Sequence[Exposure]) -> bool:
    """Whether the images are apart: theta_E^2 > r_s^2 + (s / 2)^2 with the better seeing s of the first two bands."""
    seeing = min(exposure.fwhm for exposure in exposures[:2])
    return theta_e**2 > source_radius**2 + (0.5 * seeing) ** 2


def _illuminate(
    rng: np.random.Generator,
    exposures: Sequence[Exposure],
    deflector: Deflector,
    source: Source,
    theta_e: float,
    arc_map: np.ndarray,
    clear: float | None,
    centre: tuple[float, float],
) -> Lens | None:
    """The lens with a source bright enough to be seen (of any brightness where `clear` is None), or None where none is."""
    bands = tuple(exposure.band for exposure in exposures)
    tint = colours(source.spectral_type, source.redshift, bands, source.a_v, reference="g")
    deflector_light = lens_light(deflector, bands, two_components=rng.uniform() < 0.3)
    deflector_image = draw_light(deflector_light, exposures, centre=centre)
    magnification = float(arc_map.sum())
    unit_arcs = Layers(arc_map[None] / magnification, (magnification * tint)[None], MAP_CELL)
    arcs_image = draw_light([unit_arcs], exposures, centre=centre)
    seen = visibility(deflector_image, arcs_image, exposures)
    faintest = _FAINTEST_SOURCE if clear is None else min(seen.faintest - clear, _FAINTEST_SOURCE)
    if faintest < _BRIGHTEST_SOURCE + 0.3:
        return None
    mag_g = _BRIGHTEST_SOURCE + _draw_slope(rng, faintest - _BRIGHTEST_SOURCE)
    flux = float(njy(mag_g))
    truth: dict[str, float | bool] = {
        "theta_e": theta_e,
        "mag_i": deflector.mag_i,
        "radius": deflector.radius,
        "magnification": magnification,
        "arc_sn": seen.total_sn * flux,
        "redshift": deflector.redshift,
        "redshift_source": source.redshift,
        "sigma_v": deflector.sigma_v,
        "mag_source_g": mag_g,
        "is_detectable": bool(
            mag_g <= seen.faintest and magnification >= MIN_MAGNIFICATION and _is_resolved(theta_e, source.radius, exposures)
        ),
    }
    arcs = replace(unit_arcs, flux=flux * unit_arcs.flux)
    return Lens(deflector, theta_e, deflector_light, arcs, deflector_image + np.float32(flux) * arcs_image, truth)


def _draw_slope(rng: np.random.Generator, span: float, slope: float = 0.22) -> float:
    """A number in [0, span] with density proportional to 10^(slope x): faint sources are more numerous."""
    top = 10.0 ** (slope * span)
    return float(np.log10(1.0 + rng.uniform() * (top - 1.0)) / slope)


def visibility(deflector_image: np.ndarray, arcs_image: np.ndarray, exposures: Sequence[Exposure]) -> Visibility:
    """How well arcs stand out of the noise of the sky and of the deflector, and of the deflector's light.

    Parameters
    ----------
    deflector_image, arcs_image
        (band, y, x) nJy without noise; the arcs of 1 nJy of unlensed g flux.
    """
    seen = []
    for arcs, deflector, exposure in zip(arcs_image[:2], deflector_image[:2], exposures[:2], strict=True):
        light = np.maximum(deflector, 0.0)
        sigma = np.sqrt(exposure.sigma**2 + exposure.source_variance * light)
        per_pixel = np.maximum(arcs, 0.0) / sigma
        contrast = float((arcs / (MIN_CONTRAST * light + MIN_PEAK_SN * sigma)).max())
        seen.append(Visibility(float(np.sqrt((per_pixel**2).sum())), float(per_pixel.max()), contrast))
    return max(seen, key=lambda band: band.faintest)
