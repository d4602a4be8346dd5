"""Stamps for galaxy morphology, with the votes that Galaxy Zoo's volunteers would cast.

The latent truth is the structure that was drawn; what volunteers see of it is measured on the image without noise
(:mod:`surveycnn.simulation.visible`). Vote numbers follow Galaxy Zoo DECaLS (Walmsley et al. 2022, MNRAS 509, 3966): about 40
for 45 % of the galaxies and 5 for the others; each question is asked of those whose answers led to it.

The questions are those of its tree that stamps of 12.8 arcsec in the seeing of the ground can answer. Left out are the
winding and the number of spiral arms and the bulges of edge-on disks, which need several seeing disks across what they ask
about, and `merging`, which the merger finder answers; the five sizes of bulges are three here, as the seeing blurs
neighbouring ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surveycnn.models.morphology import QUESTIONS
from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.field import draw_neighbours, star, star_spikes
from surveycnn.simulation.galaxies import EDGE_ON_DEG, Structure, draw_disk, draw_structure, galaxy_light
from surveycnn.simulation.population import Galaxy, draw_galaxy, draw_magnitude, draw_star_fluxes
from surveycnn.simulation.render import Component, Layers, Stamp, draw_light
from surveycnn.simulation.visible import Look, look_at, step

MIXES = ("train", "disks")
"""The galaxies that a survey would ask about, and stars; resolved disks not far from face-on alone, each with about 40 votes."""
BRIGHTEST, FAINTEST = 16.0, 22.5
"""i magnitudes of the galaxies."""
_DISK_FAINTEST, _DISK_INCLINATION_DEG, _DISK_FEATURES = 20.5, 70.0, 1.3
"""Of the mix `disks`: faintest i magnitude, largest inclination, factor on the frequency of arms and bars."""
_RESOLVED_ARCSEC, _SMALL_SHARE = 1.0, 0.3
"""Half-light radius of what is resolved, and the share of the smaller ones that is kept."""
_CONCENTRATION = 40.0
"""Of the Dirichlet distribution of a galaxy's answers: volunteers differ by more than multinomial noise."""
_STAR_SHARE = 0.05
"""Of stars, which volunteers call artifacts; half of them bright ones with spikes."""
_REFERENCE_BAND = "r"
"""In which the features are looked at: the deepest and sharpest of the three."""
TRUTH = ("redshift", "mag_i", "radius", "bulge_fraction", "bar_fraction", "arm_contrast", "inclination")
LOOK = ("arms_seen", "bar_seen", "axis_ratio")


def morphology_stamp(
    rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float], mix: str = MIXES[0]
) -> Stamp:
    """Image without noise (band, y, x), votes per question and truth of one stamp."""
    bands = tuple(exposure.band for exposure in exposures)
    if mix != "disks" and rng.uniform() < _STAR_SHARE:
        return _star_stamp(rng, exposures, centre)
    galaxy, structure = _drawn_disk(rng) if mix == "disks" else _drawn_galaxy(rng)
    seed = int(rng.integers(2**63))
    image = draw_light(galaxy_light(np.random.default_rng(seed), galaxy, structure, bands), exposures, centre=centre)
    index = bands.index(_REFERENCE_BAND)
    look = look_at(galaxy, structure, image[index], exposures[index], seed)
    truth = {
        "redshift": galaxy.redshift,
        "mag_i": galaxy.mag_i,
        "radius": galaxy.radius,
        "bulge_fraction": structure.bulge_fraction,
        "bar_fraction": structure.bar_fraction,
        "arm_contrast": structure.arm_contrast,
        "inclination": structure.inclination if structure.has_disk else np.nan,
        "arms_seen": look.arms,
        "bar_seen": look.bar,
        "axis_ratio": look.axis_ratio,
        "kind": "disk" if structure.has_disk else "elliptical",
    }
    image = image + draw_light(draw_neighbours(rng, bands), exposures, centre=centre)
    return _voted(rng, image, answer_probabilities(structure, look), truth, many=mix == "disks")


def _drawn_galaxy(rng: np.random.Generator) -> tuple[Galaxy, Structure]:
    """A galaxy of the sky; most of the small ones are passed over, of which the seeing leaves nothing to ask about."""
    while True:
        galaxy = draw_galaxy(rng, draw_magnitude(rng, BRIGHTEST, FAINTEST, slope=0.0))
        if galaxy.radius > _RESOLVED_ARCSEC or rng.uniform() < _SMALL_SHARE:
            return galaxy, draw_structure(rng, galaxy)


def _drawn_disk(rng: np.random.Generator) -> tuple[Galaxy, Structure]:
    """A resolved disk in which arms and bars would show."""
    while True:
        galaxy = draw_galaxy(rng, draw_magnitude(rng, BRIGHTEST, _DISK_FAINTEST, slope=0.1))
        if galaxy.radius > _RESOLVED_ARCSEC:
            return galaxy, draw_disk(rng, galaxy, features=_DISK_FEATURES, max_inclination=_DISK_INCLINATION_DEG)


def _voted(
    rng: np.random.Generator,
    image: np.ndarray,
    probabilities: dict[str, np.ndarray],
    truth: Mapping[str, object],
    *,
    many: bool = False,
) -> Stamp:
    """The stamp with its votes, and with the answers of so many volunteers that their number plays no part."""
    fractions = {name: rng.dirichlet(_CONCENTRATION * p / p.sum()) for name, p in probabilities.items()}
    return (
        image,
        draw_votes(rng, fractions, many),
        dict(truth) | {f"fraction_{n}": f.astype(np.float32) for n, f in fractions.items()},
    )


def _star_stamp(rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float]) -> Stamp:
    """A star, the bright ones with spikes and a halo: the answer is `artifact`."""
    bands = tuple(exposure.band for exposure in exposures)
    mag_i = float(rng.uniform(14.5, 19.0))
    flux = draw_star_fluxes(rng, mag_i, bands)
    light: list[Component | Layers] = [star(flux, 0.0, 0.0), *draw_neighbours(rng, bands)]
    if mag_i < 17.0:
        light += star_spikes(rng, flux)
    probabilities = {name: np.full(len(answers), 1.0 / len(answers)) for name, answers in QUESTIONS.items()}
    probabilities["smooth_or_featured"] = np.array([0.06, 0.02, 0.92])
    probabilities["how_rounded"] = np.array([0.94, 0.04, 0.02])
    truth = dict.fromkeys((*TRUTH, *LOOK), np.nan) | {"mag_i": mag_i, "kind": "artifact"}
    return _voted(rng, draw_light(light, exposures, centre=centre), probabilities, truth)


def answer_probabilities(structure: Structure, look: Look) -> dict[str, np.ndarray]:
    """Probability of each answer of each question for a typical volunteer."""
    edge_on = step(structure.inclination, EDGE_ON_DEG, 2.0) if structure.has_disk else 0.0
    arms, any_bar = 0.03 + 0.94 * look.arms, 0.03 + 0.94 * look.bar
    strong = any_bar * step(structure.bar_fraction, 0.17, 0.025)
    return {
        "smooth_or_featured": _smooth_or_featured(structure, look, edge_on),
        "how_rounded": _how_rounded(look.axis_ratio),
        "disk_edge_on": np.array([0.02 + 0.96 * edge_on, 0.98 - 0.96 * edge_on]),
        "has_spiral_arms": np.array([arms, 1.0 - arms]),
        "bar": np.array([strong, any_bar - strong, 1.0 - any_bar]),
        "bulge_size": _bulge_size(structure.bulge_fraction),
    }


def _smooth_or_featured(structure: Structure, look: Look, edge_on: float) -> np.ndarray:
    """Featured is what shows arms, a bar, a ring, or a disk from its side."""
    lying = edge_on * step(-look.axis_ratio, -0.52, 0.04)
    seen = 1.0 - (1.0 - look.any_feature) * (1.0 - lying)
    featured = 0.05 + 0.87 * seen * (1.0 - 0.2 * structure.bulge_fraction)
    return np.array([0.98 - featured, featured, 0.02])


def _how_rounded(axis_ratio: float) -> np.ndarray:
    rounded, cigar = step(axis_ratio, 0.78, 0.04), step(-axis_ratio, -0.42, 0.04)
    return np.array([rounded, max(1.0 - rounded - cigar, 0.0), cigar]) * 0.94 + 0.02


def _bulge_size(bulge_fraction: float) -> np.ndarray:
    """Answers from `dominant` to `small` by the bulge's share of the light, with soft borders."""
    dominant, small = step(bulge_fraction, 0.50, 0.06), step(-bulge_fraction, -0.16, 0.045)
    return np.array([dominant, max(1.0 - dominant - small, 0.0), small]) * 0.94 + 0.02


def draw_votes(rng: np.random.Generator, probabilities: dict[str, np.ndarray], many: bool = False) -> dict[str, np.ndarray]:
    """Votes (answer,) int16 of each question; the later questions are asked of those whose answers led to them.

    Parameters
    ----------
    many
        About 40 votes for all galaxies.
    """
    n_votes = int(rng.poisson(40) if many or rng.uniform() < 0.45 else 3 + rng.integers(0, 5))
    votes = {"smooth_or_featured": _draw_answers(rng, max(n_votes, 3), probabilities["smooth_or_featured"])}
    n_smooth, n_featured, _ = votes["smooth_or_featured"]
    votes["how_rounded"] = _draw_answers(rng, int(n_smooth), probabilities["how_rounded"])
    votes["disk_edge_on"] = _draw_answers(rng, int(n_featured), probabilities["disk_edge_on"])
    n_face_on = int(votes["disk_edge_on"][1])
    for question in ("has_spiral_arms", "bar", "bulge_size"):
        votes[question] = _draw_answers(rng, n_face_on, probabilities[question])
    return votes


def _draw_answers(rng: np.random.Generator, n_votes: int, probabilities: np.ndarray) -> np.ndarray:
    return rng.multinomial(n_votes, probabilities).astype(np.int16)
