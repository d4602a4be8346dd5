"""What the gallery knows of each candidate: numbers as they are shown, in the order of the rankings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.redshifts import MIXTURE, known_gaussians
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import printable
from surveycnn.report.gather import Gathered
from surveycnn.report.layout import Layout, numbers, whole_numbers
from surveycnn.report.rankings import magnitudes
from surveycnn.report.stamps import Place

_SHOWN = (
    *("lens_logit", "lens_score", "lens_prob", "lens_domain", "merger_logit", "merger_score", "merger_prob", "merger_time"),
    *("merger_time_err", "merger_domain", "morph_domain", "z_phot", "z_phot_lo", "z_phot_hi", "pz_domain", "flux_radius"),
)
_LEAST_WEIGHT = 1e-3
"""Of a Gaussian that is seen in a plot of a PDF."""
N_ANSWERS = 4


def gallery(found: Gathered) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sources, each once, and rankings whose members are their numbers."""
    sources: dict[int, dict[str, Any]] = {}
    rankings = []
    for candidates in found.candidates:
        members = []
        for is_inside, rows in candidates.parts():
            for source in _sources(rows, found):
                known = sources.setdefault(source["id"], source | {"n": len(sources)})
                members.append({"n": known["n"], "inside": is_inside})
        ranking = candidates.ranking
        rankings.append(
            {"name": ranking.name, "title": ranking.title, "by": ranking.by, "task": ranking.task, "reason": ranking.reason}
            | {"members": members}
        )
    # JavaScript has no whole numbers of 64 bits
    return [source | {"id": str(source["id"])} for source in sources.values()], rankings


def places(sources: list[dict[str, Any]]) -> list[Place]:
    """Where to cut the pictures."""
    return [Place(source.get("mosaic", ""), source.get("x", math.nan), source.get("y", math.nan)) for source in sources]


def _sources(rows: pa.Table, found: Gathered) -> list[dict[str, Any]]:
    layout = found.layout
    columns: dict[str, list[Any]] = {
        name: [_short(value) for value in numbers(rows, name)] for name in _SHOWN if layout.has(name)
    }
    for name in ("x", "y"):
        if layout.has(name):
            columns[name] = [_number(value, 2) for value in numbers(rows, name)]
    columns["id"] = whole_numbers(rows, "source_id").tolist()
    ra, dec = numbers(rows, layout.ra), numbers(rows, layout.dec)
    columns["ra"], columns["dec"] = [_number(value, 7) for value in ra], [_number(value, 7) for value in dec]
    columns["hms"] = [sexagesimal(one, other) for one, other in zip(ra, dec, strict=True)]
    if layout.has("mosaic"):
        columns["mosaic"] = [printable(str(value or "")) for value in rows["mosaic"].to_pylist()]
    if layout.has("flags"):
        columns["flags"] = (whole_numbers(rows, "flags") & 0x7FFFFFFF).tolist()
    mags = {band: magnitudes(numbers(rows, f"flux_{band}")) for band in layout.bands}
    columns["mags"] = [{band: _number(values[i], 2) for band, values in mags.items()} for i in range(rows.num_rows)]
    columns["mag"] = [one.get(found.band or "") for one in columns["mags"]]
    if layout.has_mixture:
        columns["pdf"] = _pdfs(rows)
    if layout.answers:
        columns["votes"] = _votes(rows, layout)
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _pdfs(rows: pa.Table) -> list[list[list[float]] | None]:
    """Gaussians (weight, mean, sigma) of each row that can be seen in a plot."""
    known, (weight, mean, sigma) = known_gaussians(*(arrow_to_numpy(rows[name]) for name in MIXTURE))
    found: list[list[list[float]] | None] = [None] * rows.num_rows
    for place, w, m, s in zip(np.flatnonzero(known), weight, mean, sigma, strict=True):
        seen = w >= _LEAST_WEIGHT
        found[place] = [[_short(value) or 0.0 for value in one] for one in zip(w[seen], m[seen], s[seen], strict=True)]
    return found


def _votes(rows: pa.Table, layout: Layout) -> list[list[list[Any]]]:
    """Answers of the largest vote fractions."""
    values = np.stack([numbers(rows, name) for name in layout.answers], axis=1)
    order = np.argsort(-np.nan_to_num(values, nan=-1.0), axis=1, kind="stable")[:, :N_ANSWERS]
    names = [printable(name.removeprefix("morph_")) for name in layout.answers]
    return [
        [[names[j], _number(row[j], 2)] for j in best if math.isfinite(row[j])] for row, best in zip(values, order, strict=True)
    ]


def sexagesimal(ra: float, dec: float) -> str:
    """Hours and degrees, to 0.01 arcsec.

    >>> sexagesimal(150.1002, -2.21)
    '10:00:24.048 -02:12:36.00'
    """
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return ""
    seconds, arcsec = round(ra % 360 / 15 * 3600, 3) % 86400, round(abs(dec) * 3600, 2)
    hours, degrees = (f"{int(value // 3600):02d}:{int(value % 3600 // 60):02d}" for value in (seconds, arcsec))
    return f"{hours}:{seconds % 60:06.3f} {'-' if dec < 0 else '+'}{degrees}:{arcsec % 60:05.2f}"


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _short(value: float) -> float | None:
    """Four digits of a number; None where there is none."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
