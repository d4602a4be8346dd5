"""Figures of the photometric redshifts, and of how they compare with known ones."""

from __future__ import annotations

import math

import numpy as np

from surveycnn.report.figures import Figure
from surveycnn.report.gather import REDSHIFTS, Gathered
from surveycnn.report.histograms import Axis, Histogram, Histogram2d
from surveycnn.report.panels import Panel, box, extent
from surveycnn.report.truth import OUTLIER, Truth

PIT = Axis(0.0, 1.0, 20)


def distribution(found: Gathered, truth: Truth | None) -> Panel | None:
    """n(z) from the PDFs."""
    counts = found.n_of_z.counts(REDSHIFTS.edges) if found.n_of_z.n_rows else np.zeros(REDSHIFTS.n)
    if not found.z_phot.total and not counts.any():
        return None
    shown = [found.z_phot.counts, counts]
    high = max(extent(shown, REDSHIFTS, 0.002)[1], 0.5)
    figure = Figure(
        "Redshift distribution from the PDFs and from their medians",
        x=(0, high),
        y=(0, max(float(one.max()) for one in shown) * 1.08 or 1),
        x_label="redshift",
        y_label="sources / 0.05",
    )
    figure.steps(REDSHIFTS.edges, found.z_phot.counts, "c7", filled=True, name="medians, z_phot")
    if counts.any():
        figure.steps(REDSHIFTS.edges, counts, "c0", name="sum of the PDFs")
    if truth is not None and truth.inside.any():
        known = Histogram(REDSHIFTS)
        known.add(truth.z_true[truth.inside])
        figure.steps(REDSHIFTS.edges, known.counts, "c1", name="truth, of those that match")
    return Panel(
        "n(z)", figure.svg(), "Primary sources inside of the domain of the photo-z model. Stars have a redshift like galaxies."
    )


def widths(found: Gathered) -> Panel | None:
    """Width of the PDFs by magnitude."""
    if not found.width.counts.any():
        return None
    x, y = box(found.width)
    figure = Figure(
        f"Map of the width of the redshift PDFs by the magnitude in {found.band}",
        x=x,
        y=y,
        x_label=f"{found.band} [AB mag]",
        y_label="(z_hi − z_lo) / 2 / (1 + z)",
        right=56,
    )
    figure.heat(found.width.x.edges, found.width.y.edges, found.width.counts)
    low, middle, high = found.width.quantiles((0.16, 0.5, 0.84))
    centres = found.width.x.centres
    figure.line(centres, middle, "over", "median")
    figure.line(centres, low, "over thin", "16 and 84 %")
    figure.line(centres, high, "over thin")
    return Panel("Width of the PDFs", figure.svg(), "Half of the 68 % interval over 1 + z. The colour counts sources.")


def against_truth(truth: Truth) -> list[Panel]:
    """Redshifts against the truth, and the PIT."""
    use = truth.inside if truth.inside.any() else np.ones(len(truth.z_true), bool)
    if not use.any():
        return []
    z_true, z_phot = truth.z_true[use], truth.z_phot[use]
    high = float(np.clip(np.quantile(np.concatenate([z_true, z_phot]), 0.995) * 1.1, 0.5, 8.0))
    axis = Axis(0.0, high, 60)
    counts = Histogram2d(axis, axis)
    counts.add(z_true, z_phot)
    figure = Figure(
        "Map of z_phot by the true redshift",
        x=(0, high),
        y=(0, high),
        x_label="true redshift",
        y_label="z_phot",
        right=56,
        height=400,
    )
    figure.heat(axis.edges, axis.edges, counts.counts)
    line = np.array([0.0, high])
    figure.line(line, line, "mark", "equal")
    for sign in (-1, 1):
        edge = line + sign * OUTLIER * (1 + line)
        shown = (edge >= 0) & (edge <= high)
        if not shown.all():  # cut at the frame
            cut = (high - OUTLIER) / (1 + OUTLIER) if sign > 0 else OUTLIER / (1 - OUTLIER)
            xs = np.array([0.0, cut]) if sign > 0 else np.array([cut, high])
            figure.line(xs, xs + sign * OUTLIER * (1 + xs), "mark thin", f"|dz| = {OUTLIER} (1 + z)" if sign > 0 else "")
    panels = [Panel("Redshifts against the truth", figure.svg(), f"Sources that match {truth.path} within an arcsec.")]
    pit = truth.pit[use]
    pit = pit[np.isfinite(pit)]
    return [*panels, _pit(pit)] if pit.size else panels


def _pit(pit: np.ndarray) -> Panel:
    histogram = Histogram(PIT)
    histogram.add(np.clip(pit, 0, 1 - 1e-9))
    expected = pit.size / PIT.n
    spread = math.sqrt(expected * (1 - 1 / PIT.n))
    figure = Figure(
        "Histogram of the probability integral transform of the redshift PDFs",
        x=(0, 1),
        y=(0, max(float(histogram.counts.max()), expected + 2 * spread) * 1.1),
        x_label="PIT: probability of the PDF below the true redshift",
        y_label="sources",
    )
    figure.steps(PIT.edges, histogram.counts, "c0", filled=True)
    figure.band(max(expected - spread, 0), expected + spread, "c1", "what right PDFs give, ±1σ")
    figure.horizontal(expected)
    return Panel(
        "PIT",
        figure.svg(),
        "Flat where the PDFs are right; high at both ends where they are too narrow, in the middle where too wide.",
    )
