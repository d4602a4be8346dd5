"""Tables of ``evaluation.md`` for redshifts alone: the resolved galaxies, and quality in bins of magnitude and redshift."""

from __future__ import annotations

from typing import Any

from surveycnn.evaluation.redshifts import MIN_OBJECTS, RESOLVED, RESOLVED_FWHM
from surveycnn.evaluation.tables import MISSING, figure_text, markdown_table

_RESOLVED_COLUMNS = (
    ("bias", "bias", 4),
    ("sigma NMAD", "sigma_nmad", 4),
    ("eta 0.05", "eta_0.05", 3),
    ("eta 0.15", "eta_0.15", 3),
    ("CRPS", "crps", 4),
    ("CDE loss", "cde_loss", 3),
    ("PIT KS", "pit_ks", 3),
    ("coverage 68 %", "coverage_68", 3),
    ("coverage 90 %", "coverage_90", 3),
)
_BINNED = {"mag_i": "the i magnitude", "z_phot": "z_phot"}


def redshift_tables(entries: dict[str, dict[str, Any]]) -> list[str]:
    """Headed tables, those that have anything to show."""
    parts = _resolved(entries)
    for name, words in _BINNED.items():
        rows = _bin_rows({who: entry["shown"]["bins"].get(name, []) for who, entry in entries.items()}, name)
        if rows:
            parts += [f"### In bins of {words}", markdown_table(rows)]
    text = (
        "Each cell: objects: bias (mean dz) / sigma NMAD / KS distance of the PIT from uniform, which is 0.87 / sqrt(objects) "
        f"on average where the PDFs are right. Bins with fewer than {MIN_OBJECTS} objects are left out. There are no bins of the "
        "true redshift: in them the PIT is not uniform, and the bias not 0, even where all PDFs are right; in those of the true "
        "magnitude they are nearly."
    )
    return [*parts, text]


def _resolved(entries: dict[str, dict[str, Any]]) -> list[str]:
    rows = [["resolved galaxies", "objects", *(title for title, _, _ in _RESOLVED_COLUMNS)]]
    for who, entry in entries.items():
        metrics = entry["sets"]["test"]["metrics"]
        if f"{RESOLVED}bias" in metrics:
            found = [(metrics[RESOLVED + key], digits) for _, key, digits in _RESOLVED_COLUMNS]
            rows.append([who, f"{found[0][0]['n']:,}", *(_with_interval(metric, digits) for metric, digits in found)])
    if len(rows) == 1:
        return []
    return [f"### Half-light radius above {RESOLVED_FWHM} FWHM of the i band", markdown_table(rows)]


def _with_interval(metric: dict[str, Any], digits: int) -> str:
    low, high = (figure_text(bound, digits) for bound in metric["interval"])
    return f"{figure_text(metric['value'], digits)} [{low}, {high}]"


def _bin_rows(shown: dict[str, list[dict[str, Any]]], name: str) -> list[list[str]]:
    """A row per bin that any entry has, a column per entry."""
    by_bin = {who: {(row["low"], row["high"]): row for row in rows} for who, rows in shown.items()}
    bins = sorted({key for rows in by_bin.values() for key in rows})
    if not bins:
        return []
    body = [[f"{low:g} to {high:g}", *(_bin_cell(rows.get((low, high))) for rows in by_bin.values())] for low, high in bins]
    return [[name, *by_bin], *body]


def _bin_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return MISSING
    return f"{row['n']:,}: {row['bias']:+.4f} / {row['sigma_nmad']:.4f} / {row['pit_ks']:.3f}"
