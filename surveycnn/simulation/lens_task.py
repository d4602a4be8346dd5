"""Stamps for lens finders: detectable lenses, and what is mistaken for them, in mixes for training and for measuring.

The best training set of HOLISMOKES XI (Canameras et al. 2024, A&A 692, A72, table 1) mixes its negatives, and a network
is lost on the kinds that it has not seen often enough; half of the negatives of ``train`` are therefore made of the
light of a lens. ``survey`` has the kinds in the proportions in which a search meets them that looks at objects with the
magnitudes, colours and sizes of lenses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surveycnn.simulation.arcs import draw_lens
from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.confusers import REARRANGED, SURVEYED, confuser_light, saturated
from surveycnn.simulation.field import draw_neighbours
from surveycnn.simulation.render import Stamp, draw_light

KINDS = ("lens", *REARRANGED, *SURVEYED)
"""Kinds of stamps; all but the first are negatives."""
TRUTH = (
    "theta_e",
    "mag_i",
    "radius",
    "magnification",
    "arc_sn",
    "redshift",
    "redshift_source",
    "sigma_v",
    "mag_source_g",
)
"""What is known of a lens; NaN for all other stamps."""
_CLEAR_ARCSEC = 0.5
"""No neighbour is nearer to the object: it would have been taken for the object itself."""


@dataclass(frozen=True)
class Mix:
    """Which stamps a set holds."""

    lenses: float
    """Fraction of lenses."""
    negatives: dict[str, float]
    """Share of each kind among the others."""
    detectable: bool = True
    """Whether the arcs of the lenses can be seen, all of them."""


MIXES: dict[str, Mix] = {
    "train": Mix(
        0.5,
        {
            "satellites": 0.15,
            "ring": 0.09,
            "arms": 0.11,
            "companion": 0.10,
            "early_type": 0.13,
            "field": 0.14,
            "spiral": 0.08,
            "edge_on": 0.04,
            "group": 0.05,
            "merger": 0.04,
            "star": 0.05,
            "artifact": 0.02,
        },
    ),
    "survey": Mix(
        1.0 / 11.0,
        {
            "satellites": 0.008,
            "ring": 0.003,
            "arms": 0.006,
            "companion": 0.008,
            "early_type": 0.355,
            "field": 0.34,
            "spiral": 0.10,
            "edge_on": 0.05,
            "group": 0.04,
            "merger": 0.03,
            "star": 0.05,
            "artifact": 0.01,
        },
    ),
    "hard": Mix(0.5, {"satellites": 0.3, "ring": 0.2, "arms": 0.25, "companion": 0.25}),
    "lenses": Mix(1.0, {}, detectable=False),
}
"""``train``; ``survey``, the mix that a search meets; ``hard``, lenses against their own light re-arranged; ``lenses``, the whole
population of lenses, detectable or not, for completeness."""


def lens_stamp(
    rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float], *, mix: str = "train"
) -> Stamp:
    """Image without noise (band, y, x), label and truth of one stamp of a mix."""
    bands = tuple(exposure.band for exposure in exposures)
    chosen = MIXES[mix]
    is_lens = rng.uniform() < chosen.lenses
    lens = draw_lens(rng, exposures, centre=centre, detectable=chosen.detectable)
    neighbours = draw_neighbours(rng, bands, avoid=_CLEAR_ARCSEC, boost=exposures[0].crowding)
    if is_lens:
        image = lens.image + draw_light(neighbours, exposures, centre=centre)
        about = {name: lens.truth[name] for name in TRUTH}
        return image, {"is_lens": np.True_}, about | {"kind": "lens", "is_detectable": lens.truth["is_detectable"]}
    kind = str(rng.choice(list(chosen.negatives), p=list(chosen.negatives.values())))
    image = draw_light([*confuser_light(rng, kind, lens, bands), *neighbours], exposures, centre=centre)
    if kind == "star":
        image = saturated(rng, image, np.array([exposure.sigma for exposure in exposures]))
    return image, {"is_lens": np.False_}, dict.fromkeys(TRUTH, np.nan) | {"kind": kind, "is_detectable": False}
