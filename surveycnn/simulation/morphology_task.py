"""Stamps for galaxy morphology, with the votes that Galaxy Zoo's volunteers would cast.

The latent truth is the structure that was drawn; what volunteers can see of it fades with seeing, distance and noise,
as in Galaxy Zoo (Hart et al. 2016, MNRAS 461, 3663). Vote numbers follow Galaxy Zoo DECaLS (Walmsley et al. 2022, MNRAS
509, 3966): about 40 for 45 % of the galaxies and 5 for the others; each question is asked of those whose answers led to
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.field import draw_neighbours, star, star_spikes
from surveycnn.simulation.galaxies import EDGE_ON_DEG, Structure, draw_structure, galaxy_light
from surveycnn.simulation.population import Galaxy, draw_galaxy, draw_magnitude, draw_star_fluxes, njy
from surveycnn.simulation.render import Stamp, draw_light

QUESTIONS: dict[str, tuple[str, ...]] = {
    "smooth_or_featured": ("smooth", "featured_or_disk", "artifact"),
    "how_rounded": ("round", "in_between", "cigar"),
    "disk_edge_on": ("yes", "no"),
    "has_spiral_arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "bulge_size": ("dominant", "large", "moderate", "small", "none"),
}
_CONCENTRATION = 25.0
"""Of the Dirichlet distribution of a galaxy's answers: volunteers differ by more than multinomial noise."""
_ARTIFACT_SHARE = 0.03
TRUTH = ("redshift", "bulge_fraction", "bar_fraction", "arm_contrast", "inclination", "visibility")


def morphology_stamp(rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float]) -> Stamp:
    """Image without noise (band, y, x), votes per question and truth of one stamp."""
    bands = tuple(exposure.band for exposure in exposures)
    if rng.uniform() < _ARTIFACT_SHARE:
        return _artifact_stamp(rng, exposures, centre)
    galaxy = draw_galaxy(rng, draw_magnitude(rng, 16.5, 23.8, slope=0.08))
    structure = draw_structure(rng, galaxy)
    light = galaxy_light(rng, galaxy, structure, bands) + draw_neighbours(rng, bands)
    probabilities = answer_probabilities(galaxy, structure, exposures)
    truth = {
        "redshift": galaxy.redshift,
        "bulge_fraction": structure.bulge_fraction,
        "bar_fraction": structure.bar_fraction,
        "arm_contrast": structure.arm_contrast,
        "inclination": structure.inclination if structure.has_disk else np.nan,
        "visibility": visibility(galaxy, exposures),
        "kind": "disk" if structure.has_disk else "elliptical",
    }
    return draw_light(light, exposures, centre=centre), draw_votes(rng, probabilities), truth


def _artifact_stamp(rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float]) -> Stamp:
    """A bright star with its spikes and halo: the answer is `artifact`."""
    bands = tuple(exposure.band for exposure in exposures)
    flux = draw_star_fluxes(rng, float(rng.uniform(14.5, 18.0)), bands)
    light = [star(flux, 0.0, 0.0), *star_spikes(rng, flux), *draw_neighbours(rng, bands)]
    probabilities = {name: np.full(len(answers), 1.0 / len(answers)) for name, answers in QUESTIONS.items()}
    probabilities["smooth_or_featured"] = np.array([0.06, 0.02, 0.92])
    probabilities["how_rounded"] = np.array([0.94, 0.04, 0.02])
    truth = dict.fromkeys(TRUTH, np.nan) | {"kind": "artifact"}
    return draw_light(light, exposures, centre=centre), draw_votes(rng, probabilities), truth


def _step(value: float, half: float, width: float) -> float:
    """Logistic step from 0 to 1 at `half`."""
    return float(1.0 / (1.0 + np.exp(-np.clip((value - half) / width, -50.0, 50.0))))


def signal_to_noise(galaxy: Galaxy, exposures: Sequence[Exposure]) -> float:
    """S/N of the whole galaxy in its best band, sky noise over an aperture of two half-light radii."""
    best = 0.0
    for exposure in exposures:
        area_px = np.pi * ((2.0 * galaxy.radius) ** 2 + exposure.fwhm**2) / 0.04
        flux = njy(galaxy.mag_i)
        best = max(best, flux / np.sqrt(area_px * exposure.sigma**2 + exposure.source_variance * flux))
    return float(best)


def visibility(galaxy: Galaxy, exposures: Sequence[Exposure]) -> float:
    """How much of the structure can be seen, 0 to 1: resolved by the sharpest band and above the noise."""
    fwhm = min(exposure.fwhm for exposure in exposures)
    resolved = _step(np.log(galaxy.radius / fwhm), np.log(0.75), 0.22)
    return resolved * _step(np.log10(signal_to_noise(galaxy, exposures)), 1.55, 0.15)


def answer_probabilities(galaxy: Galaxy, structure: Structure, exposures: Sequence[Exposure]) -> dict[str, np.ndarray]:
    """Probability of each answer of each question for a typical volunteer."""
    seen = visibility(galaxy, exposures)
    edge_on = _step(structure.inclination, EDGE_ON_DEG, 2.0) if structure.has_disk else 0.05
    return {
        "smooth_or_featured": _smooth_or_featured(structure, seen),
        "how_rounded": _how_rounded(galaxy, structure, exposures),
        "disk_edge_on": np.array([edge_on, 1.0 - edge_on]) * 0.96 + 0.02,
        "has_spiral_arms": _spiral_arms(structure, seen),
        "bar": _bar(galaxy, structure, exposures, seen),
        "bulge_size": _bulge_size(structure),
    }


def _smooth_or_featured(structure: Structure, seen: float) -> np.ndarray:
    featured = 0.05
    if structure.has_disk:
        features = 1.6 * structure.arm_contrast + 3.0 * structure.bar_fraction + 2.0 * structure.ring_fraction
        featured = 0.18 + 0.76 * (1.0 - np.exp(-2.2 * features)) * (1.0 - 0.5 * structure.bulge_fraction)
        if structure.is_edge_on:
            featured = 0.9 - 0.4 * structure.bulge_fraction
    featured = 0.04 + seen * (featured - 0.04)
    return np.array([0.98 - featured, featured, 0.02])


def observed_axis_ratio(galaxy: Galaxy, structure: Structure, exposures: Sequence[Exposure]) -> float:
    """Axis ratio after the seeing has rounded the galaxy."""
    intrinsic = structure.bulge_axis_ratio
    if structure.has_disk:
        cos2 = np.cos(np.radians(structure.inclination)) ** 2
        disk = np.sqrt(cos2 + (1.0 - cos2) * structure.thickness**2)
        intrinsic = disk + structure.bulge_fraction * (intrinsic - disk)
    seeing = 0.6 * min(exposure.fwhm for exposure in exposures)
    return float(np.sqrt(((intrinsic * galaxy.radius) ** 2 + seeing**2 / 4) / (galaxy.radius**2 + seeing**2 / 4)))


def _how_rounded(galaxy: Galaxy, structure: Structure, exposures: Sequence[Exposure]) -> np.ndarray:
    axis_ratio = observed_axis_ratio(galaxy, structure, exposures)
    rounded, cigar = _step(axis_ratio, 0.78, 0.05), 1.0 - _step(axis_ratio, 0.42, 0.05)
    return np.array([rounded, max(1.0 - rounded - cigar, 0.0), cigar]) * 0.94 + 0.02


def _spiral_arms(structure: Structure, seen: float) -> np.ndarray:
    yes = 0.06 + seen * 0.9 * (1.0 - np.exp(-4.0 * structure.arm_contrast))
    return np.array([yes, 1.0 - yes])


def _bar(galaxy: Galaxy, structure: Structure, exposures: Sequence[Exposure], seen: float) -> np.ndarray:
    length = structure.bar_length * structure.scale_length
    resolved = _step(np.log(max(length, 0.01) / min(e.fwhm for e in exposures)), np.log(0.7), 0.25)
    any_bar = 0.05 + seen * resolved * 0.9 * _step(structure.bar_fraction, 0.08, 0.025) * (structure.bar_fraction > 0)
    strong = any_bar * _step(structure.bar_fraction, 0.17, 0.03)
    return np.array([strong, any_bar - strong, 1.0 - any_bar])


_BULGE_EDGES = (0.02, 0.12, 0.32, 0.6)


def _bulge_size(structure: Structure) -> np.ndarray:
    """Answers from `dominant` to `none` by the bulge's share of the light, with soft borders."""
    above = [_step(structure.bulge_fraction, edge, 0.03 + 0.1 * edge) for edge in _BULGE_EDGES]
    cumulative = np.array([0.0, *above[::-1], 1.0])
    return np.maximum(np.diff(cumulative), 0.0) * 0.95 + 0.01


def draw_votes(rng: np.random.Generator, probabilities: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Votes (answer,) int16 of each question; the later questions are asked of those whose answers led to them."""
    n_votes = int(rng.poisson(40) if rng.uniform() < 0.45 else 3 + rng.integers(0, 5))
    votes = {"smooth_or_featured": _draw_answers(rng, max(n_votes, 3), probabilities["smooth_or_featured"])}
    n_smooth, n_featured, _ = votes["smooth_or_featured"]
    votes["how_rounded"] = _draw_answers(rng, int(n_smooth), probabilities["how_rounded"])
    votes["disk_edge_on"] = _draw_answers(rng, int(n_featured), probabilities["disk_edge_on"])
    n_face_on = int(votes["disk_edge_on"][1])
    for question in ("has_spiral_arms", "bar", "bulge_size"):
        votes[question] = _draw_answers(rng, n_face_on, probabilities[question])
    return votes


def _draw_answers(rng: np.random.Generator, n_votes: int, probabilities: np.ndarray) -> np.ndarray:
    personal = rng.dirichlet(_CONCENTRATION * probabilities / probabilities.sum())
    return rng.multinomial(n_votes, personal).astype(np.int16)
