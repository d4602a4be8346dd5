"""Which columns of a user's table hold positions, and those in degrees: by name, by UCD, in any unit of angles.

Used for sources to measure and for tables to match with, so that both understand the same tables.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import product

import numpy as np
import pyarrow as pa
from astropy.units import Unit, UnitBase, UnitConversionError, deg

from surveycnn.catalogs.tables import field_attrs
from surveycnn.errors import InputError, did_you_mean
from surveycnn.tables.arrays import array_of_column

POSITION_NAMES = (
    ("ra", "dec"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("raj2000", "dej2000"),
    ("_raj2000", "_dej2000"),
    ("raj2000", "decj2000"),
    ("ra_j2000", "dec_j2000"),
    ("_ra", "_de"),
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("ra_mean", "dec_mean"),
    ("ramean", "decmean"),
    ("right_ascension", "declination"),
    ("rightascension", "declination"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("coord_ra", "coord_dec"),
    ("target_ra", "target_dec"),
)
"""Pairs of columns that are taken for positions, in any case of letters; the first wins over all others."""

_UCDS = ("pos.eq.ra", "pos.eq.dec")
_IN_BRACKETS = re.compile(r"\s*[\[(]\s*([A-Za-z]+)\s*[\])]\s*$")
_SEXAGESIMAL = re.compile(r"\s*[-+]?\d{1,3}\s*[:hd°\s]\s*\d{1,2}")


def find_positions(schema: pa.Schema, where: str, ra: str | None = None, dec: str | None = None) -> tuple[str, str]:
    """Names of the columns of right ascension and declination.

    Those that are named; else those with the main UCDs of positions; else ``ra`` and ``dec``, or another pair of
    :data:`POSITION_NAMES`, with or without a unit in brackets: ``RA [deg]``. Of several, those that are numbers.

    Raises
    ------
    InputError
        Where there are none, or several that may be meant.
    """
    if ra is not None and dec is not None:
        return column_named(schema.names, ra, "ra", where), column_named(schema.names, dec, "dec", where)
    if ra is not None or dec is not None:
        raise InputError(f"{where}: one of ra and dec is named and not the other: name both, or none")
    by_ucd = [[name for name in schema.names if _is_main(schema.field(name), ucd)] for ucd in _UCDS]
    if len(by_ucd[0]) == len(by_ucd[1]) == 1:
        return by_ucd[0][0], by_ucd[1][0]
    pairs = _known_pairs(schema.names)
    numbers = [pair for pair in pairs if not any(_is_text(schema.field(name).type) for name in pair)]
    found = numbers or pairs
    first = [pair for pair in found if tuple(map(_plain, pair)) == POSITION_NAMES[0]]
    if len(first or found) == 1:
        return (first or found)[0]
    if not found:
        raise InputError(
            f"{where} has no columns of positions: looked for ra and dec, RAJ2000 and DEJ2000, ALPHA_J2000 and DELTA_J2000 and "
            f"the like, its columns are {_listed(schema.names)}: name them with ra= and dec="
        )
    raise InputError(
        f"{where} has several columns of positions: {', '.join(f'{a!r} and {b!r}' for a, b in found)}: name those that are "
        "meant with ra= and dec="
    )


def column_named(names: list[str], name: str, key: str, where: str) -> str:
    """The column called `name`, or the only one of that name in another case."""
    if name in names:
        return name
    same = [other for other in names if other.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    hint = did_you_mean(name, names, cutoff=0.5)
    raise InputError(f"{where} has no column {name!r} (key {key}): {hint}its columns are {', '.join(names)}")


def degrees_of(column: pa.ChunkedArray, field: pa.Field, where: str) -> np.ndarray:
    """(row,) float64 angles of a column in degrees, NaN where one is missing.

    In the unit that the field's metadata give, or brackets in its name, or else degrees.

    Raises
    ------
    InputError
        Where they are no numbers, or in a unit of something else.
    """
    name = field.name
    values = array_of_column(column, name)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InputError(_not_degrees(values, name, where))
    bracket = _IN_BRACKETS.search(name)
    text = field_attrs(field).get("units", "") or (bracket[1] if bracket else "")
    unit = Unit(text, parse_strict="silent") if text else deg
    angles = np.ma.filled(values.astype(np.float64), np.nan)
    return angles if unit == deg else angles * _factor(unit, text, name, where)


def check_positions(ra: np.ndarray, dec: np.ndarray, where: str, *, allow_missing: bool = False) -> None:
    """Raise InputError where positions in degrees are none on the sky; NaN is none unless `allow_missing`."""
    with np.errstate(invalid="ignore"):
        good = (ra >= -180) & (ra <= 360) & (np.abs(dec) <= 90)
    if allow_missing:
        good |= np.isnan(ra) | np.isnan(dec)
    bad = np.flatnonzero(~good)
    if bad.size:
        first = bad[0]
        raise InputError(
            f"{where}: {bad.size} of {ra.size} rows have no position on the sky, the first is row {first} (counted from 0) with "
            f"ra {ra[first]:g} and dec {dec[first]:g} degrees: expected -180 to 360 and -90 to 90; remove or correct them"
        )


def _factor(unit: UnitBase, text: str, name: str, where: str) -> float:
    try:
        return float(unit.to(deg))
    except (UnitConversionError, TypeError, ValueError):
        raise InputError(f"{where}: column {name!r} has the unit {text!r}, expected deg or another unit of angles") from None


def _not_degrees(values: np.ndarray, name: str, where: str) -> str:
    """What to say of a position column that holds no numbers."""
    kind = "text" if values.dtype == object else f"{values.dtype.name} of shape {values.shape}"
    example = f" (such as {values[0]!r})" if len(values) else ""
    advice = "convert it to numbers"
    if values.dtype == object and len(values) and _SEXAGESIMAL.match(str(values[0])):
        advice = 'SkyCoord(ra, dec, unit=("hourangle", "deg")) of astropy converts hours and degrees with minutes and seconds'
    return f"{where}: column {name!r} is {kind}{example}, expected degrees: {advice}"


def _known_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Columns whose names are a pair of :data:`POSITION_NAMES`, in its order; each with each where a name is there twice."""
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_name[_plain(name)].append(name)
    return [pair for ra, dec in POSITION_NAMES for pair in product(by_name[ra], by_name[dec])]


def _plain(name: str) -> str:
    """`name` in small letters without a unit in brackets.

    >>> _plain("RA [deg]")
    'ra'
    """
    return _IN_BRACKETS.sub("", name).strip().lower()


def _is_main(field: pa.Field, ucd: str) -> bool:
    words = field_attrs(field).get("ucd", "").lower().replace(" ", "").split(";")
    return words[0] == ucd and "meta.main" in words


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)


def _listed(names: list[str], n_shown: int = 30) -> str:
    return ", ".join(names[:n_shown]) + (f" and {len(names) - n_shown} more" if len(names) > n_shown else "")
