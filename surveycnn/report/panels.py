"""Figures of the sources, and what all figures are made with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from surveycnn.report.figures import Figure
from surveycnn.report.gather import MAGNITUDES, Gathered
from surveycnn.report.histograms import Axis, Histogram2d

LEAST = 0.7
"""Lower end of logarithmic counts, so that one source is seen."""


@dataclass(frozen=True)
class Panel:
    """A figure with its title and how to read it."""

    title: str
    figure: Markup
    caption: str


def present(found: list[Panel | None]) -> list[Panel]:
    """The panels that there are."""
    return [panel for panel in found if panel is not None]


def number_counts(found: Gathered, area: float | None) -> Panel | None:
    """Counts by magnitude of each band, on each square degree where the area is known."""
    if not any(histogram.counts.any() for histogram in found.magnitudes.values()):
        return None
    per = 1 / area if area else 1.0
    unit = "sources / 0.25 mag / deg²" if area else "sources / 0.25 mag"
    low, high = extent([histogram.counts for histogram in found.magnitudes.values()], MAGNITUDES)
    top = max(histogram.counts.max() for histogram in found.magnitudes.values()) * per
    figure = Figure(
        f"Number of sources by magnitude in the bands {', '.join(found.magnitudes)}",
        x=(low, high),
        y=(LEAST * per, top * 1.6),
        log_y=True,
        x_label="AB magnitude",
        y_label=unit,
    )
    for i, (band, histogram) in enumerate(found.magnitudes.items()):
        figure.steps(MAGNITUDES.edges, histogram.counts * per, f"c{i % 7}", name=band)
    return Panel(
        "Number counts",
        figure.svg(),
        "Magnitudes are 31.4 − 2.5 log₁₀(flux in nJy), of the Kron-like apertures. Counts turn over where the detection ends.",
    )


def sizes(found: Gathered) -> Panel | None:
    """Half-light radius by magnitude: stars lie on a line."""
    if not found.size.counts.any():
        return None
    x, y = box(found.size)
    alt = f"Map of the half-light radius by the magnitude in {found.band}"
    figure = Figure(alt, x=x, y=y, x_label=f"{found.band} [AB mag]", y_label="half-light radius [arcsec]", right=56)
    figure.heat(found.size.x.edges, found.size.y.edges, found.size.counts)
    return Panel(
        "Sizes", figure.svg(), "Stars lie on a horizontal line at the seeing, galaxies above it. The colour counts sources."
    )


def extent(counts: list[np.ndarray], axis: Axis, share: float = 0.0) -> tuple[float, float]:
    """Limits of an axis that show all bins with more than a share of the largest count."""
    total = np.sum([np.asarray(one, float) / max(float(np.max(one)), 1e-12) for one in counts], axis=0)
    filled = np.flatnonzero(total > share * total.max())
    if not filled.size:
        return axis.low, axis.high
    low, high = axis.edges[max(filled[0] - 1, 0)], axis.edges[min(filled[-1] + 2, axis.n)]
    return float(low), float(high)


def box(counts: Histogram2d) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits that show all but the outermost of a map."""
    limits = []
    for axis, along in ((counts.x, counts.counts.sum(axis=1)), (counts.y, counts.counts.sum(axis=0))):
        before = np.cumsum(along) / max(along.sum(), 1)
        first, last = int(np.searchsorted(before, 0.002)), int(np.searchsorted(before, 0.998))
        limits.append((float(axis.edges[max(first - 1, 0)]), float(axis.edges[min(last + 2, axis.n)])))
    return limits[0], (min(limits[1][0], 0.0) if counts.y.low == 0 else limits[1][0], limits[1][1])
