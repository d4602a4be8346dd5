"""What the view answers to its page: fixed files, pictures of blocks, and rows as JSON; no request names a path."""

from __future__ import annotations

import io
import json
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from astropy import units
from astropy.coordinates import SkyCoord
from PIL import Image

from surveycnn.catalogs.query import Catalog
from surveycnn.errors import InputError
from surveycnn.report.candidates import sexagesimal
from surveycnn.report.stamps import OpenChunks
from surveycnn.view.mosaics import GAINS, Mosaics
from surveycnn.view.sources import MOST_DRAWN, Sources

Query = Mapping[str, str]
HTML, SCRIPT, STYLE, JSON = "text/html", "text/javascript", "text/css", "application/json"
FILES = {
    "": ("view.html", HTML),
    "view.css": ("view.css", STYLE),
    "view.js": ("view.js", SCRIPT),
    "sky.js": ("sky.js", SCRIPT),
    "panel.js": ("panel.js", SCRIPT),
    "openseadragon.js": ("vendor/openseadragon.min.js", SCRIPT),
}
"""Files of the page by their addresses."""
QUALITY = 90
_ID = re.compile(r"[+-]?\d{1,19}")


@dataclass(frozen=True)
class Answer:
    """What is sent."""

    body: bytes
    kind: str
    is_lasting: bool = False
    """Whether the browser may keep it while the server runs."""


class Answers:
    """The answers about one catalog.

    Parameters
    ----------
    command_path
        Name of the catalog in commands that the page offers.
    at
        Position (ra, dec) to look at first.

    Raises
    ------
    UserError
        Where the catalog has no mosaics, no sources with places, or nothing is at `at`.
    """

    def __init__(self, catalog: Catalog, open_chunks: OpenChunks, command_path: str, at: tuple[float, float] | None = None):
        self.mosaics, self.sources = Mosaics(catalog, open_chunks), Sources(catalog)
        self._catalog, self._command_path = catalog, command_path
        self._start = self._place(*at) if at is not None else {"mosaic": self.mosaics.names[0]}
        self.mosaics[self._start["mosaic"]]
        self._drawing = threading.Semaphore(max(2, os.cpu_count() or 2))
        self._json: dict[str, Callable[[Query], Any]] = {
            "catalog": self._about,
            "mosaic": lambda query: self.mosaics.describe(_text(query, "mosaic")),
            "sources": self._inside,
            "source": lambda query: self.sources.source(int(_number(query, "id", int))),
            "candidates": lambda query: self.sources.candidates(_text(query, "of")),
            "cursor": self._cursor,
            "go": self._go,
        }

    def answer(self, name: str, query: Query) -> Answer | None:
        """What there is under a name; None where there is nothing.

        Raises
        ------
        UserError
            Where something is wrong with the query.
        """
        if name in FILES:
            file, kind = FILES[name]
            return Answer((files("surveycnn.view") / "page" / file).read_bytes(), kind)
        if name == "tile":
            return self._tile(query)
        make = self._json.get(name)
        if make is None:
            return None
        return Answer(json.dumps(make(query), allow_nan=False, separators=(",", ":")).encode(), JSON)

    def _about(self, _: Query) -> dict[str, Any]:
        return {
            "name": self._catalog.name,
            "path": self._command_path,
            "rows": self._catalog.n_published,
            "mosaics": list(self.mosaics.names),
            "start": self._start,
            "orders": list(self.sources.orders),
            "scores": list(self.sources.scores),
            "rankings": self.sources.rankings(),
            "scales": list(GAINS),
            "most": MOST_DRAWN,
        }

    def _tile(self, query: Query) -> Answer:
        level, row, col = (int(_number(query, name, int)) for name in ("level", "row", "col"))
        bands = _text(query, "bands").split(",")
        with self._drawing:
            rgb = self.mosaics.picture(_text(query, "mosaic"), bands, _text(query, "scale"), level, row, col)
            stream = io.BytesIO()
            picture = Image.fromarray(rgb.copy())
            if level:
                picture.save(stream, "WEBP", quality=QUALITY, method=1)
                return Answer(stream.getvalue(), "image/webp", is_lasting=True)
            # pixels are seen enlarged: as they are
            picture.save(stream, "PNG", compress_level=1)
            return Answer(stream.getvalue(), "image/png", is_lasting=True)

    def _inside(self, query: Query) -> dict[str, Any]:
        mosaic = _text(query, "mosaic")
        pyramid = self.mosaics[mosaic]
        x0, y0, x1, y1 = (_number(query, name) for name in ("x0", "y0", "x1", "y1"))
        x0, x1 = max(x0, -0.5), min(x1, pyramid.nx - 0.5)
        y0, y1 = max(y0, -0.5), min(y1, pyramid.ny - 0.5)
        if x0 >= x1 or y0 >= y1:
            return {"sources": [], "rows": 0}
        # the whole of a mosaic needs no outline, which may not close on a large one
        is_part = (x1 - x0) * (y1 - y0) < 0.9 * pyramid.nx * pyramid.ny
        outline = self.mosaics.outline(mosaic, x0, y0, x1, y1) if is_part else []
        options = {"by": _text(query, "by"), "where": query.get("where", "")}
        least = _number(query, "least") if query.get("least") else None
        n = int(_number(query, "n", int)) if query.get("n") else MOST_DRAWN
        found, n_rows = self.sources.inside(mosaic, (x0, y0, x1, y1), outline, least=least, n=max(n, 0), **options)
        return {"sources": found, "rows": n_rows}

    def _cursor(self, query: Query) -> dict[str, Any]:
        ra, dec = self.mosaics.sky(_text(query, "mosaic"), _number(query, "x"), _number(query, "y"))
        known = math.isfinite(ra) and math.isfinite(dec)
        return {"ra": round(ra, 7), "dec": round(dec, 7), "hms": sexagesimal(ra, dec)} if known else {}

    def _go(self, query: Query) -> dict[str, Any]:
        wanted = _text(query, "to").strip()
        if _ID.fullmatch(wanted):
            return self.sources.source(int(wanted))
        return self._place(*position(wanted))

    def _place(self, ra: float, dec: float) -> dict[str, Any]:
        """Mosaic and pixel of a position: on the mosaic of the source next to it, else on the first that has it."""
        if not (0 <= ra <= 360 and -90 <= dec <= 90):
            raise InputError(f"the position is {ra:g}, {dec:g}, expected degrees: RA from 0 to 360, Dec from -90 to 90")
        nearest = self.sources.nearest(ra, dec)
        first = [nearest["mosaic"]] if nearest is not None and nearest["mosaic"] in self.mosaics.names else []
        for mosaic in dict.fromkeys([*first, *self.mosaics.names]):
            place = self.mosaics.pixel(mosaic, ra, dec)
            if place is not None:
                return {"mosaic": mosaic, "x": round(place[0], 2), "y": round(place[1], 2), "ra": ra, "dec": dec}
        raise InputError(f"{ra:g}, {dec:g} is on none of the {len(self.mosaics.names)} mosaics of this run")


def position(text: str) -> tuple[float, float]:
    """Right ascension and declination in degrees, of degrees or of hours and degrees.

    >>> position("150.1 2.2"), position("10:00:24 +02:12:00")
    ((150.1, 2.2), (150.1, 2.2))
    """
    parts = text.replace(",", " ").split()
    try:
        if len(parts) == 2 and ":" not in text:
            return float(parts[0]), float(parts[1])
        found = SkyCoord(text.replace(",", " "), unit=(units.hourangle, units.deg))
        return round(float(found.ra.deg), 9), round(float(found.dec.deg), 9)
    except (ValueError, TypeError, units.UnitsError):
        raise InputError(
            f"{text[:100]!r} is no place: expected RA DEC in degrees, such as 150.1 2.2, or 10:00:24 +02:12:00, or a source_id"
        ) from None


def _text(query: Query, name: str) -> str:
    if name not in query:
        raise InputError(f"{name} is missing in the request")
    return query[name]


def _number(query: Query, name: str, kind: Callable[[str], float] = float) -> float:
    try:
        value = kind(_text(query, name))
    except ValueError:
        value = math.nan
    if not abs(value) < 2**63:
        raise InputError(f"{name} is {query[name][:100]!r}, expected a number")
    return value
