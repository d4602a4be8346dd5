"""Header and layout of the FITS table of a catalog: what FITS, STIL and astropy each read of the columns.

    TUNITn, TNULLn      unit and null value, which FITS knows
    TUCDn, TCOMMn       UCD and description, which STIL and TOPCAT know; a long one goes on in CONTINUE cards
    TORIGn, TPLANn      who fills the column, and its place in a cube
    COMMENT             the same once more as astropy writes and reads it
    NPARTS, PARTNO, FIRSTROW    of a table in several files: how many, which of them from 1, its first row of the whole from 0
    ROWSORT             'HEALPIX29' where rows are sorted by HEALPix index, so that a part of the sky is found without an index

Text is ASCII, which FITS asks for; other characters are written as in Python, and read back.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from surveycnn.catalogs.tables import DEFAULT_DIM, DIM_KEY, arrow_to_astropy, field_attrs, null_value
from surveycnn.errors import SchemaError

SORTED = "HEALPIX29"
_FORMATS = {"b": "L", "u1": "B", "i1": "I", "i2": "I", "i4": "J", "i8": "K", "f2": "E", "f4": "E", "f8": "D"}
UNSIGNED = {"u2": ("I", "i2"), "u4": ("J", "i4"), "u8": ("K", "i8")}
"""FITS has signed numbers alone: unsigned ones are stored less half their range, which TZEROn says."""
_NUMPY = {"L": "i1", "B": "u1", "I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8"}
_TOLD_CARDS = {"ucd": "TUCD", "description": "TCOMM", "filled_by": "TORIG", "plane": "TPLAN"}


class FitsPart(NamedTuple):
    """Which file of a table in several files this is."""

    number: int
    """From 1."""
    n_parts: int
    first_row: int
    """Row of the whole table that is the first of this file."""


def header_bytes(schema: pa.Schema, n_rows: int, text_bytes: Mapping[str, int], is_sorted: bool, part: FitsPart | None) -> bytes:
    if len(schema) > 999:
        raise SchemaError(f"the table has {len(schema)} columns, FITS has 999 at most: leave some out")
    cards: list[tuple[str, Any]] = [("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2)]
    cards += [("NAXIS1", row_bytes(schema, text_bytes)), ("NAXIS2", n_rows), ("PCOUNT", 0), ("GCOUNT", 1)]
    cards += [("TFIELDS", len(schema))]
    for number, field in enumerate(schema, start=1):
        cards += _column_cards(number, field, text_bytes)
    for number, field in enumerate(schema, start=1):
        cards += _told_cards(number, field)
    cards += [("EXTNAME", "CATALOG")]
    cards += [("ROWSORT", SORTED)] if is_sorted else []
    cards += [("NPARTS", part.n_parts), ("PARTNO", part.number), ("FIRSTROW", part.first_row)] if part else []
    cards += [("COMMENT", line) for line in _astropy_comments(schema)]
    return (fits.PrimaryHDU().header.tostring() + fits.Header(cards).tostring()).encode("ascii")


def _column_cards(number: int, field: pa.Field, text_bytes: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    """What the standard knows of a column, in astropy's order."""
    null = null_value(field)
    yield f"TTYPE{number}", _escape(field.name)
    yield f"TFORM{number}", _tform(field, text_bytes)
    if "units" in (attrs := field_attrs(field)):
        yield f"TUNIT{number}", _escape(attrs["units"])
    if null is not None:
        yield f"TNULL{number}", null
    if not is_text(field.type) and (name := _number(field)[0]) in UNSIGNED:
        yield f"TZERO{number}", _half(name)
    if pa.types.is_fixed_size_list(field.type) and field.type.list_size == 1:
        yield f"TDIM{number}", "(1)"  # else readers would take the column for one of single numbers


def _told_cards(number: int, field: pa.Field) -> Iterator[tuple[str, Any]]:
    """What else is said of a column."""
    for key, text in field_attrs(field).items():
        if key in _TOLD_CARDS:
            yield f"{_TOLD_CARDS[key]}{number}", _escape(text)


def _astropy_comments(schema: pa.Schema) -> list[str]:
    """The columns' metadata as astropy keeps in COMMENT cards what FITS has no place for."""
    names = [_escape(field.name) for field in schema]
    clean = [field.with_metadata({key: _escape(text) for key, text in field_attrs(field).items()}) for field in schema]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of a user's units that FITS does not know
        arrow_to_astropy(pa.schema(clean).empty_table().rename_columns(names)).write(stream, format="fits")
    with fits.open(io.BytesIO(stream.getvalue())) as hdus:
        return list(hdus[1].header.get("COMMENT", []))


def _read_attrs(header: fits.Header, number: int) -> dict[str, str]:
    """Metadata of the column of that number."""
    cards = {"units": "TUNIT", "null_value": "TNULL", **_TOLD_CARDS}
    return {key: unescape(str(header[f"{card}{number}"])) for key, card in cards.items() if f"{card}{number}" in header}


def is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _number(field: pa.Field) -> tuple[str, int | None]:
    """numpy's name of the numbers of a column, and how many a row has where it has several.

    Raises
    ------
    SchemaError
        For a column that FITS has no type for.
    """
    kind, length = field.type, None
    if pa.types.is_fixed_size_list(kind):
        kind, length = kind.value_type, kind.list_size
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    name = "b" if pa.types.is_boolean(kind) else np.dtype(kind.to_pandas_dtype()).str[1:] if _is_number(kind) else ""
    if name not in _FORMATS and name not in UNSIGNED:
        raise SchemaError(f"column {field.name!r} is of type {field.type}, for which FITS has none: leave it out")
    return name, length


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _tform(field: pa.Field, text_bytes: Mapping[str, int]) -> str:
    if is_text(field.type):
        return f"{max(1, text_bytes[field.name])}A"
    name, length = _number(field)
    letter = UNSIGNED[name][0] if name in UNSIGNED else _FORMATS[name]
    return letter if length is None else f"{length}{letter}"


def row_bytes(schema: pa.Schema, text_bytes: Mapping[str, int]) -> int:
    """Bytes of a row in the file."""
    sizes = {letter: np.dtype(name).itemsize for letter, name in _NUMPY.items()} | {"A": 1}
    formats = [_tform(field, text_bytes) for field in schema]
    return sum(int(text[:-1] or 1) * sizes[text[-1]] for text in formats)


class FitsLayout(NamedTuple):
    """What the header of a file says of its rows."""

    path: Path
    schema: pa.Schema
    record: np.dtype
    """One row; its fields are c0, c1, ..."""
    n_rows: int
    offset: int
    """Byte at which the rows begin."""
    is_sorted: bool
    """Whether they are sorted by HEALPix index."""
    part: FitsPart


def fits_layout(path: Path) -> FitsLayout:
    """Layout of the first binary table of a FITS file of ours.

    Raises
    ------
    SchemaError
        For a column that this module does not write.
    """
    with warnings.catch_warnings(), fits.open(path, memmap=True) as hdus:
        warnings.simplefilter("ignore", AstropyWarning)  # of a file that is cut off, whose rows fail to be read
        hdu = next(hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
        header, offset = hdu.header, int(hdu.fileinfo()["datLoc"])
    fields, formats = [], []
    for number in range(1, header["TFIELDS"] + 1):
        kind, stored = _column_types(header, number)
        dims = {DIM_KEY: DEFAULT_DIM} if pa.types.is_fixed_size_list(kind) else {}
        fields.append(pa.field(unescape(header[f"TTYPE{number}"]), kind, metadata=_read_attrs(header, number) | dims))
        formats.append((f"c{number - 1}", *stored))
    record = np.dtype(formats)
    if record.itemsize != header["NAXIS1"] or header["NAXIS2"] < 0:
        raise SchemaError(f"rows have {header['NAXIS1']} bytes, the columns {record.itemsize}")
    part = FitsPart(header.get("PARTNO", 1), header.get("NPARTS", 1), header.get("FIRSTROW", 0))
    return FitsLayout(path, pa.schema(fields), record, header["NAXIS2"], offset, header.get("ROWSORT") == SORTED, part)


def _column_types(header: fits.Header, number: int) -> tuple[pa.DataType, tuple[Any, ...]]:
    """Arrow's type of a column, and numpy's of its bytes."""
    tform, zero = header[f"TFORM{number}"], header.get(f"TZERO{number}")
    match = re.fullmatch(r"(\d*)([LBIJKEDA])", tform)
    if match is None or f"TSCAL{number}" in header:
        raise SchemaError(f"column {number} has the format {tform!r}, which surveycnn does not write")
    repeat, letter = int(match[1] or 1), match[2]
    if letter == "A":
        return pa.string(), (f"S{repeat}",)
    name = _NUMPY[letter]
    unsigned = [key for key, (stored, _) in UNSIGNED.items() if stored == letter and zero == _half(key)]
    if zero is not None and not unsigned:
        raise SchemaError(f"column {number} has TZERO {zero}, which surveycnn does not write")
    kind = pa.bool_() if letter == "L" else pa.from_numpy_dtype(np.dtype(unsigned[0] if unsigned else name))
    is_list = bool(match[1]) and (repeat != 1 or f"TDIM{number}" in header)
    return (pa.list_(kind, repeat), (f">{name}", (repeat,))) if is_list else (kind, (f">{name}",))


def _half(name: str) -> int:
    """Half the range of an unsigned type."""
    return 1 << (8 * int(name[1:]) - 1)


_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_UNSAFE = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})|[^ -~]| +$")


def ascii_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with what FITS cannot hold written as in Python; nulls are empty."""
    texts = pc.fill_null(column.cast(pa.string()), "")
    unsafe = pc.match_substring_regex(texts, r"\\[xuU][0-9a-f]|[^ -~]| $")
    if not pc.any(unsafe).as_py():
        return texts
    return pa.chunked_array([pa.array([_escape(text) for text in texts.to_pylist()], pa.string())])


def _escape(text: str) -> str:
    r"""Printable ASCII that :func:`unescape` turns back.

    >>> print(_escape("5 \u00b5m "), unescape(_escape("5 \u00b5m ")) == "5 \u00b5m ")
    5 \xb5m\x20 True
    """
    return _UNSAFE.sub(lambda match: "".join(map(_escaped, match[0])), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 1 << 8 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def unescape(text: str) -> str:
    return _ESCAPED.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3], 16)
    return chr(code) if code < 0x110000 else match[0]
