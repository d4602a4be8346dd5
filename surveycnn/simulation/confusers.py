"""What is mistaken for a lens: the light of a lens re-arranged without lensing, and the galaxies, stars and defects of a survey.

Every confuser starts from a lens that could have stood in its place. The re-arranged ones keep its deflector and give
the very flux of its arcs to satellites, a ring, spiral arms or a companion; the others are matched to it in magnitude,
colour and size, so that totals and colours do not tell lenses from the rest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from surveycnn.simulation.arcs import Lens
from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY
from surveycnn.simulation.field import star, star_spikes
from surveycnn.simulation.galaxies import Structure, disk_maps, draw_disk, draw_structure, galaxy_light
from surveycnn.simulation.lenses import lens_light
from surveycnn.simulation.population import Galaxy, draw_galaxy, draw_star_fluxes, galaxy_fluxes
from surveycnn.simulation.render import Component, Layers, sersic

Light = list[Component | Layers]

REARRANGED = ("satellites", "ring", "arms", "companion")
"""Kinds that are made of the very light of a lens."""
SURVEYED = ("early_type", "field", "spiral", "edge_on", "group", "merger", "star", "artifact")
"""Kinds of what else a survey sees at the magnitudes, colours and sizes of lenses."""
_CANDIDATES = 14
"""Field galaxies drawn for the one that is most like the lens."""
_COLOUR_SCALE, _SIZE_SCALE = 0.15, 0.5
"""Differences that count the same in the search for it: magnitudes in a colour, natural logarithm of the radius."""
_MAP_CELLS = 96


def confuser_light(rng: np.random.Generator, kind: str, lens: Lens, bands: tuple[str, ...]) -> Light:
    """Light of one object that is no lens, of one of REARRANGED or SURVEYED, in the place of `lens`."""
    if kind in REARRANGED:
        return [*lens.deflector_light, *_rearranged(rng, kind, lens)]
    if kind == "early_type":
        return early_type(rng, lens)
    if kind == "group":
        return [*early_type(rng, lens), *_members(rng, lens, bands)]
    if kind == "artifact":
        return [*early_type(rng, lens), *_single_band_marks(rng, lens)]
    if kind == "star":
        return _star(rng, lens, bands)
    if kind == "merger":
        return _close_pair(rng, lens, bands)
    galaxy = matched_galaxy(rng, lens, bands, is_red=None if kind == "field" else False)
    return galaxy_light(rng, galaxy, _structure(rng, kind, galaxy), bands)


def _rearranged(rng: np.random.Generator, kind: str, lens: Lens) -> Light:
    if kind == "satellites":
        n = int(rng.integers(1, 6))
        shares, radii = rng.dirichlet(np.full(n, 2.0)), np.clip(np.exp(rng.normal(np.log(0.25), 0.4, n)), 0.08, 0.7)
        return [_blob(rng, lens, float(share), float(radius), 0.5, 2.2) for share, radius in zip(shares, radii, strict=True)]
    if kind == "companion":
        shares = np.ones(1) if rng.uniform() < 0.7 else rng.dirichlet([3.0, 1.5])
        return [_blob(rng, lens, float(share), float(rng.uniform(0.25, 0.9)), 0.7, 1.8) for share in shares]
    return [_disk_of_arcs(rng, kind, lens)]


def _blob(rng: np.random.Generator, lens: Lens, share: float, radius: float, nearest: float, farthest: float) -> Component:
    """An unlensed galaxy with a share of the arcs' flux, from `nearest` to `farthest` Einstein radii from the deflector."""
    y, x = _polar(rng, max(nearest * lens.theta_e, 0.5), farthest * lens.theta_e + 0.3)
    profile = sersic(rng.uniform(0.5, 2.5), radius, float(rng.uniform(0.2, 1.0)), float(rng.uniform(0, np.pi)), y, x)
    return Component(profile, share * lens.arc_flux)


def _disk_of_arcs(rng: np.random.Generator, kind: str, lens: Lens) -> Layers:
    """The arcs' flux as a disk around the deflector: a ring or spiral arms at the Einstein radius, and the disk between."""
    radius = lens.theta_e * float(rng.uniform(0.7, 1.4))
    ring_radius = float(rng.uniform(1.2, 2.4))
    structure = Structure(
        bulge_fraction=0.0,
        bulge_index=1.0,
        bulge_radius=0.0,
        bulge_axis_ratio=1.0,
        scale_length=radius / ring_radius,
        thickness=0.2,
        inclination=float(np.degrees(np.arccos(rng.uniform(0.45, 1.0)))),
        angle=float(rng.uniform(0.0, np.pi)),
        arm_contrast=float(rng.uniform(0.6, 1.0)) if kind == "arms" else 0.0,
        arm_number=int(rng.choice([1, 2, 3, 4], p=[0.15, 0.6, 0.15, 0.1])),
        pitch=float(rng.uniform(8.0, 35.0)),
        winding=int(rng.choice([-1, 1])),
        ring_fraction=float(rng.uniform(0.5, 3.0)) if kind == "ring" else 0.0,
        ring_radius=ring_radius,
        clump_fraction=float(rng.uniform(0.0, 0.6)),
        lopsidedness=float(abs(rng.normal(0.0, 0.25))),
    )
    cell = 2.0 * min(5.0 * structure.scale_length, 6.4) / _MAP_CELLS
    old, _, young = disk_maps(rng, structure, (np.arange(_MAP_CELLS) - (_MAP_CELLS - 1) / 2.0) * cell)
    share = float(rng.uniform(0.5, 1.0))
    return Layers(np.array([old, young]), np.array([1.0 - share, share])[:, None] * lens.arc_flux, cell)


def early_type(rng: np.random.Generator, lens: Lens) -> Light:
    """The deflector without a source: as it is, as bright and blue as it is with the arcs, or in an envelope of their light.

    The envelope, an exponential disk about as large as the Einstein ring, is what an S0 or a massive galaxy with a halo
    has: the centre stays that of a deflector, the total that of a lens.
    """
    choice = rng.uniform()
    if choice < 0.1:
        return [*lens.deflector_light]
    if choice < 0.25:
        factor = 1.0 + lens.arc_flux / lens.deflector_flux
        return [replace(part, flux=part.flux * factor) for part in lens.deflector_light]
    radius = lens.theta_e * float(rng.uniform(1.0, 2.0))
    axis_ratio = float(np.clip(lens.deflector.axis_ratio + rng.normal(0.0, 0.15), 0.3, 1.0))
    envelope = sersic(rng.uniform(0.5, 1.1), radius, axis_ratio, lens.deflector.angle + rng.normal(0.0, 0.2))
    return [*lens.deflector_light, Component(envelope, lens.arc_flux)]


def _members(rng: np.random.Generator, lens: Lens, bands: tuple[str, ...]) -> Light:
    """Two to four galaxies like the deflector around it."""
    members: Light = []
    for _ in range(int(rng.integers(2, 5))):
        y, x = _polar(rng, 1.2, 5.5)
        faint = replace(lens.deflector, radius=lens.deflector.radius * rng.uniform(0.3, 0.8), angle=rng.uniform(0, np.pi))
        (part,) = lens_light(faint, bands)
        members.append(Component(part.profile.shift(x, y), rng.uniform(0.1, 0.8) * part.flux))
    return members


def _single_band_marks(rng: np.random.Generator, lens: Lens) -> Light:
    """Cosmic rays, satellites' trails and ghosts near the deflector: each in one band, with fluxes like those of arcs."""
    marks: Light = []
    for _ in range(int(rng.integers(1, 4))):
        flux = np.zeros_like(lens.arc_flux)
        band = int(rng.integers(flux.size))
        flux[band] = lens.arc_flux[band] * rng.uniform(0.3, 1.5)
        y, x = _polar(rng, 0.5, 3.5)
        profile = sersic(0.5, float(rng.uniform(0.1, 1.2)), float(rng.uniform(0.05, 0.6)), float(rng.uniform(0, np.pi)), y, x)
        marks.append(Component(profile, flux))
    return marks


def matched_galaxy(rng: np.random.Generator, lens: Lens, bands: tuple[str, ...], is_red: bool | None = None) -> Galaxy:
    """A galaxy of the magnitude of the whole lens: of a few, half of them at its redshift, the most alike in colours and size."""
    total = magnitudes(lens.deflector_flux + lens.arc_flux)
    mag_i = float(total[bands.index("i")])
    best, best_distance = None, np.inf
    for candidate in range(_CANDIDATES):
        redshift = float(np.clip(lens.deflector.redshift + rng.normal(0.0, 0.08), 0.03, 2.0)) if candidate % 2 else None
        galaxy = draw_galaxy(rng, mag_i + float(rng.normal(0.0, 0.1)), redshift=redshift, is_red=is_red)
        off_colours = np.diff(magnitudes(galaxy_fluxes(galaxy, bands)) - total) / _COLOUR_SCALE
        off_size = np.log(galaxy.radius / lens.deflector.radius) / _SIZE_SCALE
        distance = float((off_colours**2).sum() + off_size**2)
        if distance < best_distance:
            best, best_distance = galaxy, distance
    assert best is not None
    return best


def magnitudes(flux: np.ndarray) -> np.ndarray:
    """AB magnitudes of positive fluxes in nJy."""
    return AB_ZEROPOINT_NJY - 2.5 * np.log10(flux)


def _structure(rng: np.random.Generator, kind: str, galaxy: Galaxy) -> Structure:
    if kind == "field":
        return draw_structure(rng, galaxy)
    if kind == "edge_on":
        return replace(draw_disk(rng, galaxy), inclination=float(rng.uniform(76.0, 90.0)))
    structure = draw_disk(rng, galaxy, max_inclination=55.0, bulge_fraction=float(rng.uniform(0.15, 0.75)))
    return replace(structure, arm_contrast=float(rng.uniform(0.5, 1.0)), clump_fraction=float(rng.uniform(0.05, 0.35)))


def _close_pair(rng: np.random.Generator, lens: Lens, bands: tuple[str, ...]) -> Light:
    """Two galaxies within 2.5 arcsec at one redshift."""
    first = matched_galaxy(rng, lens, bands)
    second = draw_galaxy(rng, first.mag_i + rng.uniform(0.2, 2.5), redshift=first.redshift)
    y, x = _polar(rng, 0.6, 2.5)
    light = galaxy_light(rng, first, draw_structure(rng, first), bands)
    return light + galaxy_light(rng, second, draw_structure(rng, second), bands, y, x)


def _star(rng: np.random.Generator, lens: Lens, bands: tuple[str, ...]) -> Light:
    """A star as bright as the lens or brighter, alone or double; the bright ones have diffraction spikes and a halo."""
    of_lens = float(magnitudes(lens.deflector_flux + lens.arc_flux)[bands.index("i")])
    mag_i = of_lens if rng.uniform() < 0.5 else float(rng.uniform(14.0, 20.0))
    flux = draw_star_fluxes(rng, mag_i, bands)
    light: Light = [star(flux, 0.0, 0.0)]
    if rng.uniform() < 0.4:
        y, x = _polar(rng, 0.5, 2.5)
        light.append(star(draw_star_fluxes(rng, mag_i + rng.uniform(0, 2), bands), y, x))
    if mag_i < 19.5:
        light += star_spikes(rng, flux)
    return light


def saturated(rng: np.random.Generator, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Image (band, y, x) of a star as a detector with a full well shows it: cut at a level per band, with a bleeding column.

    Parameters
    ----------
    noise
        (band,) nJy per pixel; the level is 300 to 5,000 times as high.
    """
    cut = image.copy()
    for band, level in enumerate(noise * 10.0 ** rng.uniform(2.5, 3.7, noise.size)):
        full = image[band] > level
        if not full.any():
            continue
        cut[band][full] = level
        columns = np.flatnonzero(full.any(axis=0))
        rows = np.flatnonzero(full.any(axis=1))
        length = int(len(rows) * rng.uniform(0.5, 4.0))
        middle = slice(max(rows[0] - length, 0), rows[-1] + 1 + length)
        column = columns[len(columns) // 2]
        cut[band, middle, column : column + 1 + len(columns) // 6] = level * rng.uniform(0.2, 1.0)
    return cut


def _polar(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """(y, x) at a random angle and a distance between `low` and `high` arcsec."""
    distance, angle = rng.uniform(low, max(high, low + 0.1)), rng.uniform(0.0, 2.0 * np.pi)
    return float(distance * np.sin(angle)), float(distance * np.cos(angle))
