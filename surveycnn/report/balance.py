"""Balance of the colours of pictures: the factors by which the median source of a catalog is grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.report.histograms import Axis, Histogram
from surveycnn.report.layout import Layout, numbers
from surveycnn.report.rankings import magnitudes

MAGNITUDES = Axis(12.0, 30.0, 72)


def balance_of(counts: Mapping[str, Histogram]) -> dict[str, float]:
    """Factors of the bands, from the counts of the magnitudes of primary rows, by which the median source has one flux in all."""
    middle = {band: histogram.median for band, histogram in counts.items()}
    return {band: float(10 ** (0.4 * (magnitude - 20))) for band, magnitude in middle.items() if np.isfinite(magnitude)}


def read_balance(catalog: Catalog, bands: Sequence[str]) -> dict[str, float]:
    """Factors of the bands with fluxes: the fluxes are read once, in bounded memory."""
    layout = Layout.of(catalog)
    counts = {band: Histogram(MAGNITUDES) for band in dict.fromkeys(bands) if band in layout.bands}
    names = [f"flux_{band}" for band in counts] + ["is_primary"] * layout.has("is_primary")
    for table in catalog.scan(names) if counts else ():
        if layout.has("is_primary"):
            table = table.filter(arrow_to_numpy(table["is_primary"]).astype(bool))
        for band, histogram in counts.items():
            histogram.add(magnitudes(numbers(table, f"flux_{band}")))
    return balance_of(counts)
