"""Zero points: what one data unit of an image is in nanojansky, from the configuration or from what headers say."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np

from surveycnn.config import MAX_ZEROPOINT
from surveycnn.errors import InputError

AB_ZEROPOINT_NJY = 31.4
"""AB magnitude of one nanojansky, as Rubin rounds it."""

_ZEROPOINT_KEYS = ("MAGZP", "MAGZERO", "PHOTZP", "ZP")
_SAME_ZEROPOINT = 1e-3
_UNIT_NAMES = {"nanomaggies": "nmgy", "nanomaggy": "nmgy", "maggies": "mgy", "maggy": "mgy"}


def zeropoint_of(
    header: Mapping[str, Any], configured: float | None = None, *, path: str = "", pixel_scale: float | None = None
) -> float:
    """AB magnitude of one data unit: `configured`, else from MAGZP, MAGZERO, PHOTZP or ZP, else from BUNIT (per pixel or not).

    Parameters
    ----------
    path
        Name of the file in the message.
    pixel_scale
        Arcsec per pixel, needed for units per solid angle (MJy/sr).

    Raises
    ------
    InputError
        If neither is there, the unit is not one of flux density, zero points disagree, or the header speaks of Vega or asinh.
    """
    if configured is not None:
        return float(configured)
    _refuse_other_scales(header, path)
    found_keys = {key: float(header[key]) for key in _ZEROPOINT_KEYS if _is_number(header.get(key))}
    if found_keys:
        if max(found_keys.values()) - min(found_keys.values()) > _SAME_ZEROPOINT:
            both = ", ".join(f"{key} {value:g}" for key, value in found_keys.items())
            raise InputError(
                f"image {path!r} has several zero points ({both}): give `zeropoint`, the AB magnitude of one data unit"
            )
        return _possible(*next(iter(found_keys.items())), path)
    bunit = str(header.get("BUNIT", "")).strip()
    njy = _njy_of_unit(bunit, pixel_scale)
    if njy is None:
        found = f"BUNIT is {bunit!r}" if bunit else "there is no BUNIT"
        raise InputError(
            f"image {path!r} has no zero point: none of {', '.join(_ZEROPOINT_KEYS)} is in the header and {found}: "
            "give `zeropoint`, the AB magnitude of one data unit"
        )
    with np.errstate(all="ignore"):  # a unit of nothing is refused like any other
        return _possible(f"BUNIT {bunit!r}", AB_ZEROPOINT_NJY - 2.5 * float(np.log10(njy)), path)


def _possible(source: str, zeropoint: float, path: str) -> float:
    """`zeropoint`, or InputError where no image can have it."""
    if not abs(zeropoint) <= MAX_ZEROPOINT:
        raise InputError(
            f"image {path!r} has a zero point of {zeropoint:g} mag by {source}, expected one within +-{MAX_ZEROPOINT:g}: give "
            "`zeropoint`, the AB magnitude of one data unit"
        )
    return zeropoint


def _is_number(value: Any) -> bool:
    """Whether a card's value is a number that float64 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max


def _refuse_other_scales(header: Mapping[str, Any], path: str) -> None:
    """Raise InputError for magnitudes that are not AB, and pixels that are not linear."""
    system = str(header.get("MAGSYS", "")).strip()
    if system.upper().startswith("VEGA"):
        raise InputError(f"image {path!r} has MAGSYS {system!r}: give `zeropoint`, the AB magnitude of one data unit")
    if "BSOFTEN" in header:
        raise InputError(f"image {path!r} has asinh-scaled pixels (BSOFTEN): make them linear, and give `zeropoint`")


def _njy_of_unit(bunit: str, pixel_scale: float | None) -> float | None:
    """Nanojansky of one `bunit`, None where it is no flux density."""
    if not bunit:
        return None
    bunit = re.sub(r"\s*(/\s*pix(el)?|pix(el)?(\^|\*\*)?-1)$", "", bunit, flags=re.IGNORECASE)
    name = _UNIT_NAMES.get(bunit.lower(), bunit)
    try:
        unit = u.Unit(name, parse_strict="raise")
    except (ValueError, TypeError):
        return None
    if unit.is_equivalent(u.mgy):
        return float(unit.to(u.mgy)) * to_njy(0.0)
    # astropy's 3631 Jy and the zero point 31.4 differ by 2e-6: the definition of nJy decides here
    if unit.is_equivalent(u.Jy):
        return float(unit.to(u.nJy))
    if unit.is_equivalent(u.Jy / u.sr) and pixel_scale is not None:
        return float(unit.to(u.nJy / u.arcsec**2)) * pixel_scale**2
    return None


def to_njy(zeropoint: float) -> float:
    """Factor from data units with AB `zeropoint` to nJy.

    >>> to_njy(31.4)
    1.0
    """
    return float(10 ** (0.4 * (AB_ZEROPOINT_NJY - zeropoint)))
