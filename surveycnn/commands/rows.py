"""Rows of a catalog as text: in columns for a screen, as CSV, as JSON."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.formats.export import split_components
from surveycnn.catalogs.tables import arrow_to_astropy, arrow_to_numpy
from surveycnn.errors import printable

if TYPE_CHECKING:
    from surveycnn.catalogs.query import Catalog

WIDTH = 100
"""Characters of a line where it is not a terminal's."""
SHOWN_COMPONENTS = 4


def screen_width() -> int:
    """Characters of a line of the terminal, or WIDTH where there is none."""
    return shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH


def table_text(table: pa.Table, width: int | None = None) -> tuple[str, int]:
    """Rows in columns, with a line of names above, and the number of columns: those that `width` has room for."""
    lines, used = [""] * (table.num_rows + 1), 0
    for name in table.column_names:
        values = arrow_to_numpy(table[name])
        cells = [name, *(_cell(value) for value in values)]
        place = max(map(len, cells))
        if used and width is not None and len(lines[0]) + 1 + place > width:
            continue
        align = str.ljust if values.dtype == object else str.rjust
        lines = [f"{line}{' ' if used else ''}{align(cell, place)}" for line, cell in zip(lines, cells, strict=True)]
        used += 1
    return "\n".join(line.rstrip() for line in lines), used


def _cell(value: Any) -> str:
    """A value for a screen: positions to 4 mas, measurements to four figures."""
    if isinstance(value, np.ndarray):
        shown = [_cell(part) for part in value[:SHOWN_COMPONENTS]]
        return f"[{' '.join(shown + ['...'] * (len(value) > SHOWN_COMPONENTS))}]"
    if not isinstance(value, np.floating):
        return str(value)
    size = abs(float(value))
    if not 1e-3 <= size < 1e7:
        return f"{value:.3g}"
    return f"{value:.6f}" if isinstance(value, np.float64) else f"{value:.{max(0, 3 - math.floor(math.log10(size)))}f}"


def write_csv(rows: Catalog, stream: TextIO) -> None:
    """Write rows as CSV, part by part; a column for each component of a mixture."""
    _write_csv(rows.schema.empty_table(), stream, "ascii.csv")
    for part in rows.scan(rows.columns):
        _write_csv(part, stream, "ascii.no_header")


def _write_csv(table: pa.Table, stream: TextIO, kind: str) -> None:
    text = io.StringIO()
    arrow_to_astropy(split_components(table)).write(text, format=kind, delimiter=",")
    stream.write(printable(text.getvalue()))


def write_json(rows: Catalog, stream: TextIO) -> None:
    """Write rows as a JSON list of objects, one a line, part by part; what is NaN or infinite is null."""
    start = "[\n"
    for part in rows.scan(rows.columns):
        columns = {name: _plain(arrow_to_numpy(part[name])) for name in part.column_names}
        for values in zip(*columns.values(), strict=True):
            stream.write(start + json.dumps(dict(zip(columns, values, strict=True)), allow_nan=False))
            start = ",\n"
    stream.write("[]\n" if start == "[\n" else "\n]\n")


def _plain(values: np.ndarray) -> list[Any]:
    """Plain values; numbers in single precision with the digits that they have."""
    if values.ndim == 2:
        return [_plain(row) for row in values]
    if values.dtype.kind != "f":
        return values.tolist()
    digits = values.astype(str).astype(np.float64) if values.dtype.itemsize < 8 else values
    return [value if math.isfinite(value) else None for value in digits.tolist()]
