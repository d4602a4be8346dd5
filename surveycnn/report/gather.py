"""One pass over the rows of a catalog, in bounded memory: all counts that the figures show, and the best candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.flags import FLAGS, flag_value
from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.redshifts import MIXTURE
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.models.card import Card
from surveycnn.report.balance import MAGNITUDES, balance_of
from surveycnn.report.density import CellCounts
from surveycnn.report.histograms import Axis, Histogram, Histogram2d, MixtureSum
from surveycnn.report.layout import DOMAIN_COLUMNS, FINDERS, Layout, numbers, whole_numbers
from surveycnn.report.rankings import Candidates, magnitudes, rankings_of

LOGITS = Axis(-20.0, 20.0, 100)
DISTANCES = Axis(0.0, 3.0, 60)
REDSHIFTS = Axis(0.0, 4.0, 80)
PROBABILITIES = (0.01, 0.1, 0.5, 0.9)


@dataclass
class Finder:
    """What is counted of a model that looks for something rare."""

    all: Histogram = field(default_factory=lambda: Histogram(LOGITS))
    inside: Histogram = field(default_factory=lambda: Histogram(LOGITS))
    """Logits of the rows inside of the model's domain."""
    expected: float = 0.0
    """Sum of the probabilities inside of the domain."""
    above: Counter[float] = field(default_factory=Counter)
    """Rows inside of the domain with at least a probability."""


@dataclass
class Domain:
    """What is counted of where a model is at home."""

    distance: Histogram = field(default_factory=lambda: Histogram(DISTANCES))
    magnitude: Histogram = field(default_factory=lambda: Histogram(MAGNITUDES))
    magnitude_inside: Histogram = field(default_factory=lambda: Histogram(MAGNITUDES))
    n_outside: int = 0


@dataclass
class Gathered:
    """Counts of primary rows, and of all rows where it is said."""

    layout: Layout
    band: str | None
    """Band of the magnitudes."""
    candidates: list[Candidates]
    n_rows: int = 0
    """Of all rows."""
    n_primary: int = 0
    cells: CellCounts = field(default_factory=CellCounts)
    flags: Counter[str] = field(default_factory=Counter)
    n_clean: int = 0
    """Rows without any flag."""
    magnitudes: dict[str, Histogram] = field(default_factory=dict)
    size: Histogram2d = field(default_factory=lambda: Histogram2d(Axis(14.0, 28.0, 56), Axis(0.0, 3.0, 60)))
    """Magnitude and half-light radius."""
    finders: dict[str, Finder] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    votes: dict[str, float] = field(default_factory=dict)
    """Sums of vote fractions of each answer, inside of the domain."""
    n_votes: int = 0
    n_of_z: MixtureSum = field(default_factory=MixtureSum)
    z_phot: Histogram = field(default_factory=lambda: Histogram(REDSHIFTS))
    width: Histogram2d = field(default_factory=lambda: Histogram2d(Axis(14.0, 28.0, 56), Axis(0.0, 0.6, 60)))
    """Magnitude and half the width of the PDF over 1 + z."""

    def add(self, table: pa.Table) -> None:
        """Count rows."""
        self.n_rows += table.num_rows
        if self.layout.has("is_primary"):
            primary = arrow_to_numpy(table["is_primary"]).astype(bool)
            table = table if primary.all() else table.filter(pa.array(primary))
        self.n_primary += table.num_rows
        if self.layout.has_places:
            self.cells.add(numbers(table, self.layout.ra), numbers(table, self.layout.dec))
        flags = whole_numbers(table, "flags") if self.layout.has("flags") else np.zeros(table.num_rows, np.int64)
        self._count_flags(flags)
        magnitude = self._count_magnitudes(table)
        for task in self.layout.tasks:
            outside = (flags & flag_value(f"outside_domain_{task}")) != 0
            self._count_domain(task, table, outside, magnitude)
            if task in FINDERS:
                self._count_finder(task, table, outside)
        self._count_votes(table, flags)
        self._count_redshifts(table, flags, magnitude)
        for candidates in self.candidates:
            candidates.add(table)

    @property
    def balance(self) -> dict[str, float]:
        """Factors of the bands by which the median source has the same flux in all."""
        return balance_of(self.magnitudes)

    def _count_flags(self, flags: np.ndarray) -> None:
        values, counts = np.unique(flags, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.n_clean += count * (value == 0)
            self.flags.update({flag.name: count for flag in FLAGS if value & flag.value})

    def _count_magnitudes(self, table: pa.Table) -> np.ndarray:
        """Count all magnitudes; gives those in the band of the page."""
        shown = np.full(table.num_rows, np.nan)
        for band in self.layout.bands:
            found = magnitudes(numbers(table, f"flux_{band}"))
            self.magnitudes.setdefault(band, Histogram(MAGNITUDES)).add(found)
            shown = found if band == self.band else shown
        if self.layout.has("flux_radius"):
            self.size.add(shown, numbers(table, "flux_radius"))
        return shown

    def _count_domain(self, task: str, table: pa.Table, outside: np.ndarray, magnitude: np.ndarray) -> None:
        domain = self.domains.setdefault(task, Domain())
        domain.n_outside += int(outside.sum())
        domain.magnitude.add(magnitude)
        domain.magnitude_inside.add(magnitude[~outside])
        if self.layout.has(DOMAIN_COLUMNS[task]):
            domain.distance.add(numbers(table, DOMAIN_COLUMNS[task]))

    def _count_finder(self, task: str, table: pa.Table, outside: np.ndarray) -> None:
        finder, logit = self.finders.setdefault(task, Finder()), numbers(table, f"{task}_logit")
        finder.all.add(logit)
        finder.inside.add(logit[~outside])
        if self.layout.has(f"{task}_prob"):
            probability = np.nan_to_num(numbers(table, f"{task}_prob")[~outside])
            finder.expected += float(probability.sum())
            finder.above.update({limit: int((probability >= limit).sum()) for limit in PROBABILITIES})

    def _count_votes(self, table: pa.Table, flags: np.ndarray) -> None:
        if not self.layout.answers:
            return
        inside = (flags & flag_value("outside_domain_morphology")) == 0
        inside &= ~np.isnan(numbers(table, self.layout.answers[0]))
        self.n_votes += int(inside.sum())
        for name in self.layout.answers:
            self.votes[name] = self.votes.get(name, 0.0) + float(np.nansum(numbers(table, name)[inside]))

    def _count_redshifts(self, table: pa.Table, flags: np.ndarray, magnitude: np.ndarray) -> None:
        inside = (flags & flag_value("outside_domain_photoz")) == 0
        if self.layout.has("z_phot"):
            z = numbers(table, "z_phot")
            self.z_phot.add(z[inside])
            if self.layout.has("z_phot_lo", "z_phot_hi"):
                width = (numbers(table, "z_phot_hi") - numbers(table, "z_phot_lo")) / 2 / (1 + np.maximum(z, 0))
                self.width.add(magnitude[inside], width[inside])
        if self.layout.has_mixture:
            weight, mean, sigma = (arrow_to_numpy(table[name])[inside] for name in MIXTURE)
            self.n_of_z.add(weight, mean, sigma)


def gather(catalog: Catalog, cards: Mapping[str, Card], n_top: int) -> Gathered:
    """Read a catalog once.

    Parameters
    ----------
    cards
        Of the models that have run, by task, where they are known.
    n_top
        Candidates to keep of each ranking.
    """
    layout = Layout.of(catalog)
    band = _shown_band(layout, cards)
    found = Gathered(layout, band, [Candidates(ranking, n_top) for ranking in rankings_of(layout, cards)])
    if not layout.names:
        found.n_rows = found.n_primary = catalog.n_published
        return found
    for table in catalog.scan([name for name in catalog.columns if name in layout.names]):
        found.add(table)
    return found


def _shown_band(layout: Layout, cards: Mapping[str, Card]) -> str | None:
    """Band of the magnitudes: that in which the models' domains are given, else i, r, or the reddest."""
    wanted = [card.domain.band for card in cards.values() if card.domain is not None]
    return next((band for band in (*wanted, "i", "r", *reversed(layout.bands)) if band in layout.bands), None)
