"""Stamps for photometric redshifts: galaxies whose bulge, disk and arms have spectra of their own.

Redshifts follow the magnitudes as on the sky; colours are template spectra through the bandpasses, with dust that
reddens inclined disks more (Tully et al. 1998, AJ 115, 2264), so that the shape of a galaxy tells something that its
total colours do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.field import draw_neighbours
from surveycnn.simulation.galaxies import Structure, draw_structure, galaxy_light
from surveycnn.simulation.population import Galaxy, draw_galaxy, draw_magnitude, draw_redshift
from surveycnn.simulation.render import Stamp, draw_light

MIN_REDSHIFT, MAX_REDSHIFT = 0.02, 2.0
BRIGHT, FAINT = 16.5, 23.8
"""Limits of the i magnitude."""


def photoz_stamp(rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float]) -> Stamp:
    """Image without noise (band, y, x), redshift and truth of one stamp."""
    bands = tuple(exposure.band for exposure in exposures)
    mag_i = draw_magnitude(rng, BRIGHT, FAINT, slope=0.12)
    galaxy = draw_galaxy(rng, mag_i, redshift=draw_redshift(rng, mag_i, MIN_REDSHIFT, MAX_REDSHIFT))
    structure = draw_structure(rng, galaxy)
    galaxy = reddened(galaxy, structure)
    light = galaxy_light(rng, galaxy, structure, bands) + draw_neighbours(rng, bands)
    truth = {
        "mag_i": galaxy.mag_i,
        "spectral_type": galaxy.spectral_type,
        "a_v": galaxy.a_v,
        "radius": galaxy.radius,
        "bulge_fraction": structure.bulge_fraction,
        "inclination": structure.inclination if structure.has_disk else np.nan,
    }
    return draw_light(light, exposures, centre=centre), {"redshift": np.float32(galaxy.redshift)}, truth


def reddened(galaxy: Galaxy, structure: Structure) -> Galaxy:
    """The galaxy behind the dust of its own disk: 0.4 mag more when seen from the side than face-on."""
    if not structure.has_disk or galaxy.is_red:
        return galaxy
    path = min(1.0 / max(np.cos(np.radians(structure.inclination)), 0.1), 10.0)
    return replace(galaxy, a_v=galaxy.a_v + 0.4 * float(np.log10(path)))
