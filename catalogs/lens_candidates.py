"""Lens candidates by contaminants per square degree: the longest list that a follow-up can afford, and what to expect of it.

`lens_prob` is calibrated at the survey's prior: of the rows with a probability p, a share p are lenses. So a list of rows holds
sum(p) lenses and sum(1 - p) contaminants, as far as the sky is like the simulation that the model was calibrated on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surveycnn.catalogs.area import area_of
from surveycnn.catalogs.flags import has_flag
from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.selection.expression import Expression
from surveycnn.catalogs.selection.ids import Ids
from surveycnn.catalogs.selection.moc_region import coverage_name
from surveycnn.catalogs.selection.regions import Region
from surveycnn.catalogs.selection.steps import Top
from surveycnn.catalogs.source import PROVENANCE
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError

if TYPE_CHECKING:
    from surveycnn.catalogs.query import Catalog

OUTSIDE_DOMAIN = "outside_domain_lens"
PLACES = ("ra", "dec", "mosaic", "x", "y")
"""Columns that select sky: its area is not known from them."""
_NEEDED = ("lens_prob", "is_primary", "flags")


@dataclass(frozen=True, eq=False)
class LensCandidates:
    """A list of lens candidates, the highest probability first."""

    rows: Catalog
    """The candidates, read when asked for."""
    threshold: float
    """Lowest `lens_prob` of the list; NaN where it is empty."""
    n: int
    area_deg2: float
    """Sky that the lens model has searched."""
    expected_lenses: float
    expected_contaminants: float
    expected_in_all: float
    """Lenses expected among all the rows that were ranked."""
    n_ranked: int
    n_outside_domain: int
    """Rows left out because the model's training set has nothing like them; 0 where they were asked for."""
    n_without: int
    """Rows to which the model gave no number."""
    prior: float | None
    """Share of lenses that `lens_prob` is calibrated at; None where the catalog does not say it."""

    @property
    def purity(self) -> float:
        """Expected share of lenses in the list; NaN where it is empty."""
        return self.expected_lenses / self.n if self.n else math.nan

    @property
    def completeness(self) -> float:
        """Expected share of the list in the lenses that were ranked; NaN without any."""
        return self.expected_lenses / self.expected_in_all if self.expected_in_all else math.nan

    @property
    def contaminants_per_deg2(self) -> float:
        return self.expected_contaminants / self.area_deg2

    def __repr__(self) -> str:
        lines = [f"<{self.n:,} lens candidates of {self.n_ranked:,} rows on {self.area_deg2:.4g} square degrees>"]
        if self.n:
            at = f", calibrated at one lens in {1 / self.prior:,.0f}" if self.prior else ""
            lines += [
                f"  lens_prob >= {self.threshold:.4g}{at}",
                f"  expected: {self.expected_lenses:.3g} lenses, {self.expected_contaminants:.3g} contaminants "
                f"({self.contaminants_per_deg2:.3g} per square degree)",
                f"  purity {self.purity:.3g}, completeness {self.completeness:.3g} of {self.expected_in_all:.3g} lenses in all",
            ]
        left_out = [(self.n_outside_domain, "outside of the model's domain"), (self.n_without, "without a number")]
        lines += [f"  left out: {n:,} rows {why}" for n, why in left_out if n]
        return "\n".join(lines)


def lens_candidates(
    catalog: Catalog, contaminants_per_deg2: float, *, outside_domain: bool = False, area_deg2: float | None = None
) -> LensCandidates:
    """The longest list by `lens_prob` whose expected contaminants per square degree stay within a budget.

    Rows of equal probability come together or not at all, so the list is all rows above a threshold. Only primary rows count.

    Parameters
    ----------
    outside_domain
        Take rows with the flag `outside_domain_lens`, too: their probabilities are not calibrated.
    area_deg2
        Of the sky that was searched; None takes the coverage of the lens model inside the cones, boxes, polygons and MOCs of the
        selection.

    Raises
    ------
    CatalogError
        Where no lens model ran, the budget is no number from 0, or the area cannot be known.
    """
    missing = [name for name in _NEEDED if name not in catalog.published_columns]
    if missing:
        raise CatalogError(f"catalog {catalog.name!r} has no columns {missing}: a lens model did not run")
    if not contaminants_per_deg2 >= 0:
        raise CatalogError(f"contaminants per square degree are {contaminants_per_deg2!r}, expected a number from 0")
    area = _searched_deg2(catalog) if area_deg2 is None else area_deg2
    if not 0 < area < math.inf:
        raise CatalogError(
            f"the area is {area!r} square degrees, expected more than 0: give area_deg2, or select where there is coverage"
        )
    catalog.where("is_primary and lens_prob >= 0 and flags & 1 == 0")  # they are of the types that they should be
    ranked = _Ranked(outside_domain)
    best = longest_list(ranked.probabilities(catalog), contaminants_per_deg2 * area)
    condition = "is_primary" if outside_domain else f"is_primary and not has_flag({OUTSIDE_DOMAIN!r})"
    condition += f" and lens_prob >= {float(best[-1])!r}" if len(best) else ""
    return LensCandidates(
        rows=catalog.where(condition).top(len(best), by="lens_prob"),
        threshold=float(best[-1]) if len(best) else math.nan,
        n=len(best),
        area_deg2=area,
        expected_lenses=float(best.sum()),
        expected_contaminants=float((1 - best).sum()),
        expected_in_all=ranked.expected,
        n_ranked=ranked.n,
        n_outside_domain=ranked.n_outside_domain,
        n_without=ranked.n_without,
        prior=_model(catalog)[1],
    )


def longest_list(parts: Iterable[np.ndarray], budget: float) -> np.ndarray:
    """The largest probabilities (n,), descending, whose sum of 1 - p is at most `budget`; equal ones all, or none.

    Of each part only what can be in the list stays in memory.

    >>> longest_list([np.array([0.25, 0.5]), np.array([1.0, 0.5])], 1.0).tolist()
    [1.0, 0.5, 0.5]
    """
    best = np.empty(0)
    for part in parts:
        best = np.sort(np.concatenate([best, part]))[::-1]
        beyond = np.flatnonzero(np.cumsum(1 - best) > budget)
        if beyond.size:
            best = best[best >= best[beyond[0]]]
    beyond = np.flatnonzero(np.cumsum(1 - best) > budget)
    return best[best > best[beyond[0]]] if beyond.size else best


class _Ranked:
    """Counts of the rows of which a list is made."""

    def __init__(self, outside_domain: bool):
        self._outside_domain = outside_domain
        self.n = self.n_outside_domain = self.n_without = 0
        self.expected = 0.0

    def probabilities(self, catalog: Catalog) -> Iterator[np.ndarray]:
        """`lens_prob` (n,) in double precision of the rows that can be candidates, part by part."""
        for table in catalog.scan(_NEEDED):
            prob, is_primary, flags = (arrow_to_numpy(table[name]) for name in _NEEDED)
            outside = is_primary & has_flag(flags, OUTSIDE_DOMAIN) & (not self._outside_domain)
            with np.errstate(invalid="ignore"):
                known = (prob >= 0) & (prob <= 1)
            rows = is_primary & known & ~outside
            self.n += int(np.count_nonzero(rows))
            self.n_outside_domain += int(np.count_nonzero(outside & known))
            self.n_without += int(np.count_nonzero(is_primary & ~known))
            found = prob[rows].astype(np.float64)
            self.expected += float(found.sum())
            yield found


def _searched_deg2(catalog: Catalog) -> float:
    """Square degrees that the lens model has searched, inside the regions of the selection."""
    regions: list[Region] = []
    for text, step in catalog.steps:
        if isinstance(step, Expression):
            places = [name for name in PLACES if name in step.columns]
            if places:
                raise CatalogError(
                    f"the area of {text!r} is not known, which selects by {', '.join(places)}: select with cone, box, polygon or "
                    "moc, or give area_deg2"
                )
        elif not isinstance(step, Ids | Top):
            regions.append(step)
    model, _ = _model(catalog)
    if catalog.path is None:
        raise CatalogError(f"catalog {catalog.name!r} has no coverage: give area_deg2")
    # catalogs of older versions have one coverage for all models
    has_own = (catalog.path / coverage_name(model)).is_file()
    return area_of(catalog.coverage_of(model) if has_own else catalog.coverage, regions)


def _model(catalog: Catalog) -> tuple[str, float | None]:
    """Name of the catalog's lens model, and the share of lenses that its probabilities are calibrated at."""
    record = catalog.provenance
    if catalog.path is None or "models" not in record:
        return "lens", None
    with reading(catalog.path / PROVENANCE):
        for name, model in record["models"].items():
            if model["task"] == "lens":
                return str(name), float(model["prior"]) if "prior" in model else None
    return "lens", None
