"""The best rows by a number, kept while the rows pass: candidates of each model, with all that the page shows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.flags import flag_value
from surveycnn.models.card import Card
from surveycnn.report.layout import ARTIFACT, DOMAIN_COLUMNS, FINDERS, Layout, numbers, whole_numbers

OUTSIDE_SHARE = 3
"""Of the candidates outside of a model's domain, one is shown for so many inside."""
RESOLVED, WORST_SEEING = 0.75, 1.15
"""A star's half-light radius is about half of the seeing (arcsec): what is larger than this part of the worst is no star."""
SPOILED = ("masked", "edge", "saturated", "missing_band", "stamp_incomplete")
TITLES = {"lens": "Lenses", "merger": "Mergers", "unusual": "Unusual morphology"}
_REASONS = {
    "lens": "Primary sources of the highest lens_logit.",
    "merger": "Primary sources of the highest merger_logit.",
    "unusual": "Primary sources least like the training set of the morphology model, by morph_domain (above 1 is outside of it). "
    "Unresolved sources, artifacts, incomplete stamps and what is beyond the magnitudes of the model count as outside here.",
}


@dataclass(frozen=True)
class Ranking:
    """What candidates are ranked by."""

    name: str
    by: str
    """Column, the largest first."""
    task: str
    inside: Callable[[pa.Table], np.ndarray]
    """(row,) True where the model knows what it says."""

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @property
    def reason(self) -> str:
        return _REASONS[self.name]


def rankings_of(layout: Layout, cards: Mapping[str, Card]) -> list[Ranking]:
    """Rankings that the columns of a catalog allow; they need numbers of sources."""
    if not layout.has("source_id") or not layout.has_places:
        return []
    found = [
        Ranking(task, f"{task}_logit", task, _unflagged(f"outside_domain_{task}", layout))
        for task in FINDERS
        if layout.has(f"{task}_logit")
    ]
    if layout.has(DOMAIN_COLUMNS["morphology"]):
        found.append(Ranking("unusual", DOMAIN_COLUMNS["morphology"], "morphology", _galaxies(layout, cards.get("morphology"))))
    return found


def _unflagged(flag: str, layout: Layout) -> Callable[[pa.Table], np.ndarray]:
    if not layout.has("flags"):
        return lambda table: np.ones(table.num_rows, bool)
    return lambda table: (whole_numbers(table, "flags") & flag_value(flag)) == 0


def _galaxies(layout: Layout, card: Card | None) -> Callable[[pa.Table], np.ndarray]:
    """Resolved rows within the magnitudes of a model, with whole stamps, that it takes for no artifacts.

    Bright stars and the edges of mosaics would be the most unusual of all.
    """
    domain = card.domain if card is not None else None
    spoiled = sum(flag_value(name) for name in SPOILED)

    def inside(table: pa.Table) -> np.ndarray:
        good = np.ones(table.num_rows, bool)
        if domain is not None and domain.band in layout.bands:
            magnitude = magnitudes(numbers(table, f"flux_{domain.band}"))
            good &= (magnitude >= domain.magnitude[0]) & (magnitude <= domain.magnitude[1])
        if layout.has("flux_radius"):
            seeing = domain.seeing_arcsec[1] if domain is not None and domain.seeing_arcsec is not None else WORST_SEEING
            good &= numbers(table, "flux_radius") > RESOLVED * seeing
        if layout.has("flags"):
            good &= (whole_numbers(table, "flags") & spoiled) == 0
        if layout.has(ARTIFACT):
            good &= ~(numbers(table, ARTIFACT) >= 0.5)
        return good

    return inside


def magnitudes(flux: np.ndarray) -> np.ndarray:
    """AB magnitudes of fluxes in nJy, NaN where they are not positive.

    >>> magnitudes(np.array([3630.780547701, -1.0])).round(4).tolist()
    [22.5, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, 31.4 - 2.5 * np.log10(flux), np.nan)


class Best:
    """The rows of the largest values so far; of equal ones those that came first."""

    def __init__(self, n: int):
        self._n = n
        self._values = np.zeros(0)
        self.rows: pa.Table | None = None

    def add(self, table: pa.Table, values: np.ndarray, allowed: np.ndarray) -> None:
        """Consider rows whose value is a number and that are allowed."""
        least = self._values[-1] if 0 < self._n <= len(self._values) else -np.inf
        with np.errstate(invalid="ignore"):
            some = np.flatnonzero(allowed & (values > least) & np.isfinite(values))
        if not some.size or not self._n:
            return
        some = np.sort(some[np.argsort(-values[some], kind="stable")[: self._n]])
        rows = table.take(some) if self.rows is None else pa.concat_tables([self.rows, table.take(some)])
        merged = np.concatenate([self._values, values[some]])
        order = np.argsort(-merged, kind="stable")[: self._n]
        self.rows, self._values = rows.take(order).combine_chunks(), merged[order]


class Candidates:
    """Best rows of one ranking, inside and outside of the model's domain."""

    def __init__(self, ranking: Ranking, n: int):
        self.ranking = ranking
        self._inside, self._outside = Best(n), Best(-(-n // OUTSIDE_SHARE))

    def add(self, table: pa.Table) -> None:
        values, inside = numbers(table, self.ranking.by), self.ranking.inside(table)
        self._inside.add(table, values, inside)
        self._outside.add(table, values, ~inside)

    def parts(self) -> list[tuple[bool, pa.Table]]:
        """Whether they are inside, and the rows, best first."""
        both = [(True, self._inside.rows), (False, self._outside.rows)]
        return [(inside, rows) for inside, rows in both if rows is not None]
