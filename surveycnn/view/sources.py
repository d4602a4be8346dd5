"""Rows of the catalog for the view: the best ones in a rectangle of pixels, one of them whole, and the candidates of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.tables import field_attrs
from surveycnn.errors import CatalogError, InputError, printable
from surveycnn.report.candidates import sexagesimal
from surveycnn.report.layout import FINDERS, Layout, numbers, whole_numbers
from surveycnn.report.rankings import magnitudes

MOST_DRAWN = 1000
N_CANDIDATES = 200
NEAREST_ARCSEC = 60.0
_SCORES = ("lens_prob", "lens_score", "merger_prob", "merger_score", "z_phot")
_NEEDED = ("source_id", "mosaic", "x", "y")


class Sources:
    """The rows of a catalog, read as far as they are looked at."""

    def __init__(self, catalog: Catalog):
        self.catalog, self.layout = catalog, Layout.of(catalog)
        missing = [name for name in _NEEDED if not self.layout.has(name)]
        if missing or not self.layout.has_places:
            raise CatalogError(
                f"catalog {catalog.name!r} has no column {', '.join(missing) or 'of positions'}: "
                "only what surveycnn has published can be viewed"
            )
        self.scores = tuple(name for name in _SCORES if self.layout.has(name))
        self.orders = tuple([f"flux_{band}" for band in self.layout.bands] + list(self.scores))
        """Columns by which the sources that are drawn are chosen, the largest first."""
        self._shown = [name for name in (*_NEEDED, self.layout.ra, self.layout.dec, "is_primary") if self.layout.has(name)]
        self._shown += [f"flux_{band}" for band in self.layout.bands] + list(self.scores)

    def rankings(self) -> list[str]:
        """Models whose candidates can be gone through."""
        return [task for task in FINDERS if self.layout.has(f"{task}_logit")]

    def inside(
        self,
        mosaic: str,
        rectangle: tuple[float, float, float, float],
        outline: Sequence[tuple[float, float]],
        *,
        by: str,
        where: str = "",
        least: float | None = None,
        n: int = MOST_DRAWN,
    ) -> tuple[list[dict[str, Any]], int]:
        """The `n` best rows in a rectangle (x0, y0, x1, y1) of a mosaic's pixels, and how many there are.

        Parameters
        ----------
        outline
            The rectangle on the sky, so that only that part of the catalog is read; may be empty.
        by
            Column of which the largest values are the best; one of :attr:`orders`.
        where
            Condition of the user.
        least
            Value of `by` that rows must have.

        Raises
        ------
        CatalogError
            Where the condition is not understood.
        """
        if by not in self.orders:
            raise InputError(f"sources cannot be ordered by {by[:100]!r}, but by {', '.join(self.orders)}")
        found = self.catalog.polygon(outline) if outline else self.catalog
        x0, y0, x1, y1 = (float(value) for value in rectangle)
        found = found.where(f"mosaic == {mosaic!r} and x >= {x0!r} and x <= {x1!r} and y >= {y0!r} and y <= {y1!r}")
        if where.strip():
            found = found.where(where)
        if least is not None:
            found = found.where(f"{by} >= {float(least)!r}")
        n_rows = len(found)
        return self._sources(found.top(min(n, MOST_DRAWN), by=by).select(self._shown).to_arrow()), n_rows

    def candidates(self, task: str) -> list[dict[str, Any]]:
        """Primary rows of the highest logits of a model, inside of its domain, best first, as the report ranks them."""
        if task not in self.rankings():
            raise InputError(f"there are no candidates of {task[:100]!r} in this catalog, but of {', '.join(self.rankings())}")
        conditions = [f"{task}_logit > -1e30"]
        conditions += ["is_primary"] * self.layout.has("is_primary")
        conditions += [f"not has_flag('outside_domain_{task}')"] * self.layout.has("flags")
        best = self.catalog.where(" and ".join(conditions)).top(N_CANDIDATES, by=f"{task}_logit")
        return self._sources(best.select(self._shown).to_arrow())

    def nearest(self, ra: float, dec: float) -> dict[str, Any] | None:
        """The source next to a position, a primary one before others; None where there is none within a minute of arc."""
        found = self._sources(self.catalog.cone(ra, dec, NEAREST_ARCSEC).select(self._shown).to_arrow())
        if not found:
            return None
        turn = math.cos(math.radians(dec))
        return min(
            found,
            key=lambda one: (
                not one["primary"],
                math.hypot(((one["ra"] - ra + 180) % 360 - 180) * turn, one["dec"] - dec),
            ),
        )

    def source(self, source_id: int) -> dict[str, Any]:
        """A row with all of its columns.

        Raises
        ------
        CatalogError
            Where there is none of that number.
        """
        table = self.catalog.ids([source_id]).to_arrow()
        if not table.num_rows:
            raise CatalogError(f"catalog {self.catalog.name!r} has no source_id {source_id}")
        columns = [_column(field, table.column(field.name)[0].as_py()) for field in table.schema]
        return self._sources(table.slice(0, 1))[0] | {"columns": columns}

    def _sources(self, rows: pa.Table) -> list[dict[str, Any]]:
        """What is shown of rows; numbers of sources as text, since JavaScript has no whole numbers of 64 bits."""
        ra, dec = numbers(rows, self.layout.ra), numbers(rows, self.layout.dec)
        mags = {band: magnitudes(numbers(rows, f"flux_{band}")) for band in self.layout.bands}
        scores = {name: numbers(rows, name) for name in self.scores}
        primary = rows["is_primary"].to_pylist() if self.layout.has("is_primary") else [True] * rows.num_rows
        x, y, names = numbers(rows, "x"), numbers(rows, "y"), rows["mosaic"].to_pylist()
        return [
            {"id": str(number), "mosaic": str(names[i] or ""), "x": _number(x[i], 2), "y": _number(y[i], 2)}
            | {"ra": _number(ra[i], 7), "dec": _number(dec[i], 7), "hms": sexagesimal(ra[i], dec[i]), "primary": bool(primary[i])}
            | {"mags": {band: _number(values[i], 2) for band, values in mags.items()}}
            | {"scores": {name: _number(values[i], 4) for name, values in scores.items()}}
            for i, number in enumerate(whole_numbers(rows, "source_id").tolist())
        ]


def _column(field: pa.Field, value: Any) -> dict[str, str]:
    """A value as it is shown, with its unit and meaning."""
    attrs = field_attrs(field)
    texts = {"name": field.name, "value": _text(value), "unit": attrs.get("units", ""), "meaning": attrs.get("description", "")}
    return {key: printable(str(text)) for key, text in texts.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _number(value: float | np.floating, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
