"""Photometry and redshifts in the tables of users: which columns hold them, what their values mean, and what is refused.

Between :mod:`surveycnn.tables.files`, which knows formats, and the fit and the predictions, which see fluxes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.tables import field_attrs
from surveycnn.errors import InputError, did_you_mean
from surveycnn.tables.files import check_output as check_output
from surveycnn.tables.files import read_table as read_table
from surveycnn.tables.files import write_table as write_table

ColumnMap = Mapping[str, str]
"""Column that holds ``flux_<band>``, ``flux_err_<band>``, ``mag_<band>`` or ``mag_err_<band>`` where it is called otherwise."""

ZEROPOINT = 31.4
"""AB magnitude of 1 nJy."""
NO_DETECTION = 90.0
"""Magnitudes, or errors of magnitudes, above it stand for objects that were looked at and not seen (99 in most tables)."""
NOT_OBSERVED = -90.0
"""Magnitudes below it stand for bands without an image (-99 in most tables)."""

_KINDS = ("flux", "flux_err", "mag", "mag_err")
_SHOWN_NAMES = 30


@dataclass(frozen=True)
class Photometry:
    """Fluxes of objects in bands: linear, AB, nJy, whatever the table had."""

    bands: tuple[str, ...]
    flux: np.ndarray
    """(object, band) float64 nJy; NaN where the band was not observed, 0 for a non-detection that is given as a magnitude."""
    flux_err: np.ndarray
    """(object, band) float64 nJy, 1 sigma; NaN where not observed, and for non-detections, which leave it unknown."""

    def __len__(self) -> int:
        return len(self.flux)


def photometry_of(table: pa.Table, bands: Sequence[str], columns: ColumnMap | None = None) -> Photometry:
    """Photometry of the rows of `table` in `bands`.

    A band is taken from the columns that `columns` names, else from ``flux_<band>`` and ``flux_err_<band>`` (nJy, or the unit
    that the table declares), else from ``mag_<band>`` and ``mag_err_<band>`` (AB). A flux of NaN, or with an error of NaN, and a
    magnitude of -99 are no data; a magnitude of NaN or 99, or with an error of NaN or 99, is a non-detection.

    Raises
    ------
    InputError
        Where a column is missing or holds no numbers, an error is not positive, or a flux is infinite.
    """
    check_bands(bands)
    columns = columns or {}
    check_columns(bands, columns)
    pairs = [_band_photometry(table, band, columns) for band in bands]
    flux, flux_err = (np.stack([pair[place] for pair in pairs], axis=1) for place in (0, 1))
    return Photometry(tuple(bands), flux, flux_err)


def redshifts_of(table: pa.Table, column: str) -> np.ndarray:
    """Redshifts in a column, (object,) float64, finite and not negative.

    Raises
    ------
    InputError
        Where the column is missing, holds no numbers, or one that is no redshift.
    """
    if column not in table.column_names:
        raise InputError(
            f"the table has no column {column!r} for the redshifts: {did_you_mean(column, table.column_names)}{_found(table)}"
        )
    redshift = _numbers(table, column)
    advice = "leave out objects without a known redshift"
    _refuse(~np.isfinite(redshift), redshift, column, "are missing or infinite", advice)
    _refuse(redshift < 0, redshift, column, "are negative", advice)
    return redshift


def check_bands(bands: Sequence[str]) -> None:
    """Raise an InputError where bands are missing, empty or named twice."""
    listed = ",".join(bands)
    if not bands or not all(band and not any(map(str.isspace, band)) for band in bands):
        raise InputError(f"the bands are {listed!r}, expected names with commas between them, such as u,g,r,i,z,y")
    twice = sorted({band for band in bands if list(bands).count(band) > 1})
    if twice:
        raise InputError(f"the bands {listed!r} name {', '.join(twice)} twice: name each once")


def check_columns(bands: Sequence[str], columns: ColumnMap) -> None:
    """Raise an InputError where `columns` names what is no photometry of one of `bands`."""
    known = [f"{kind}_{band}" for band in bands for kind in _KINDS]
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise InputError(f"cannot map {unknown[0]!r} to the column {columns[unknown[0]]!r}: known are {', '.join(known)}")


def mapped_columns(bands: Sequence[str], patterns: Mapping[str, str | None], pairs: Sequence[str] = ()) -> dict[str, str]:
    """Columns of the photometry in `bands`, as options give them.

    >>> mapped_columns(["u", "g"], {"mag": "{band}_psf"}, ["mag_g=green"])
    {'mag_u': 'u_psf', 'mag_g': 'green'}

    Parameters
    ----------
    patterns
        Column with ``{band}`` in it, of "flux", "flux_err", "mag" or "mag_err".
    pairs
        ``NAME=COLUMN`` of single columns; these count more.
    """
    columns: dict[str, str] = {}
    for kind, pattern in patterns.items():
        if pattern is None:
            continue
        if "{band}" not in pattern:
            raise InputError(f"the pattern {pattern!r} of {kind} columns has no {{band}} in it, as in 'mag_{{band}}_lsst'")
        columns |= {f"{kind}_{band}": pattern.replace("{band}", band) for band in bands}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not name or not column:
            raise InputError(f"cannot read the column {pair!r}: expected NAME=COLUMN, such as mag_u=mag_u_lsst")
        columns[name] = column
    check_columns(bands, columns)
    return columns


def _band_photometry(table: pa.Table, band: str, columns: ColumnMap) -> tuple[np.ndarray, np.ndarray]:
    """Flux and error in nJy, each (object,)."""
    kind = _kind_of_band(table, band, columns)
    names = [columns.get(f"{part}_{band}", f"{part}_{band}") for part in (kind, f"{kind}_err")]
    for part, name in zip((kind, f"{kind}_err"), names, strict=True):
        if name not in table.column_names:
            of = f" for {part}_{band}" if name != f"{part}_{band}" else f", which goes with {names[0]!r}" if "err" in part else ""
            raise InputError(f"the table has no column {name!r}{of}: {_found(table)}; map it with --column {part}_{band}=COLUMN")
    convert = _from_fluxes if kind == "flux" else _from_magnitudes
    return convert(table, *names)


def _kind_of_band(table: pa.Table, band: str, columns: ColumnMap) -> str:
    """Whether a band has fluxes or magnitudes; fluxes where it has both, but for those that are mapped."""
    for kind in ("flux", "mag"):
        if f"{kind}_{band}" in columns:
            return kind
    for kind in ("flux", "mag"):
        if f"{kind}_{band}" in table.column_names:
            return kind
    raise InputError(
        f"the table has no photometry of the band {band!r}: expected flux_{band} and flux_err_{band} (nJy) or mag_{band} and "
        f"mag_err_{band} (AB), {_found(table)}; map other names with --column, --flux or --mag; where {band} was never observed, "
        f"add flux_{band} and flux_err_{band} of NaN"
    )


def _from_fluxes(table: pa.Table, name: str, err_name: str) -> tuple[np.ndarray, np.ndarray]:
    flux, flux_err = _numbers(table, name) * _nanojansky(table, name), _numbers(table, err_name) * _nanojansky(table, err_name)
    advice = "give NaN where the band was not observed"
    _refuse(np.isinf(flux), flux, name, "are infinite", advice)
    has_flux = np.isfinite(flux)
    _refuse(has_flux & np.isinf(flux_err), flux_err, err_name, "are infinite", advice)
    _refuse(has_flux & (flux_err <= 0), flux_err, err_name, "are 0 or negative, but errors are positive", advice)
    missing = ~has_flux | np.isnan(flux_err)
    return np.where(missing, np.nan, flux), np.where(missing, np.nan, flux_err)


def _from_magnitudes(table: pa.Table, name: str, err_name: str) -> tuple[np.ndarray, np.ndarray]:
    mag, mag_err = _numbers(table, name), _numbers(table, err_name)
    not_observed = mag <= NOT_OBSERVED
    not_seen = ~not_observed & ~((mag <= NO_DETECTION) & (mag_err <= NO_DETECTION))  # NaN is not seen, too
    measured = ~(not_observed | not_seen)
    advice = "give 99 where the object was not seen, and a magnitude of -99 where the band was not observed"
    _refuse(measured & (mag_err <= 0), mag_err, err_name, "are 0 or negative, but errors are positive", advice)
    flux = 10 ** (-0.4 * (np.where(measured, mag, ZEROPOINT) - ZEROPOINT))
    flux_err = flux * np.where(measured, mag_err, np.nan) * np.log(10) / 2.5
    return np.where(not_observed, np.nan, np.where(not_seen, 0.0, flux)), flux_err


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """Column of one number per row as float64; what is missing is NaN."""
    column = table[name].combine_chunks() if table[name].num_chunks != 1 else table[name].chunk(0)
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        row, value = _first_text(column)
        raise InputError(f"column {name!r} holds text ({value!r} in row {row}, counted from 0), expected numbers")
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    if not is_number:
        raise InputError(f"column {name!r} is of type {kind}, expected one number per row")
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # nulls are NaN


def _first_text(column: pa.Array) -> tuple[int, str | None]:
    """Row and value of the first text that is no number, else of the first one."""
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value or "nan")
        except ValueError:
            return row, value
    return 0, column[0].as_py() if len(column) else None


def _nanojansky(table: pa.Table, name: str) -> float:
    """nJy per unit of a column of fluxes; 1 where the table declares no unit."""
    text = field_attrs(table.schema.field(name)).get("units", "")
    if text in ("", "nJy"):
        return 1.0
    from astropy import units

    njy = units.nanojansky
    try:
        ab = units.zero_point_flux(10 ** (0.4 * ZEROPOINT) * njy)
        return float((1 * units.Unit(text)).to_value(njy, equivalencies=ab))
    except ValueError:
        raise InputError(f"column {name!r} has the unit {text!r}, expected nJy, a unit that can be converted, or none") from None


def _refuse(wrong: np.ndarray, values: np.ndarray, name: str, fault: str, advice: str) -> None:
    """Raise an InputError where any of `wrong` (object,) is True: how many, and the first one."""
    if wrong.any():
        row = int(np.argmax(wrong))
        first = f"the first in row {row}, counted from 0 ({values[row]:g})"
        raise InputError(f"column {name!r}: {int(wrong.sum())} of {len(wrong)} values {fault}, {first}: {advice}")


def _found(table: pa.Table) -> str:
    names = table.column_names
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"found {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "found no column"
