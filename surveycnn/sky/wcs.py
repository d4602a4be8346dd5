"""World coordinates of mosaics: from headers and header files, and to text and back in the chunk store."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.wcs import WCS, FITSFixedWarning

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import local_bytes
from surveycnn.sky.images import open_image


def read_wcs(source: fits.Header | str | Path) -> WCS:
    """Celestial, two-dimensional WCS of a header, a header file (text or FITS), or a FITS image.

    Raises
    ------
    InputError
        If there is no celestial WCS in it.
    """
    name = "the header" if isinstance(source, fits.Header) else repr(str(source))
    header = source if isinstance(source, fits.Header) else _read_header(str(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)  # old keywords that astropy has mended
            wcs = WCS(header).celestial
    except Exception as error:  # wcslib raises a dozen kinds
        raise InputError(f"the WCS in {name} cannot be read ({error}): give `wcs:` a header file") from error
    if not wcs.has_celestial:
        raise InputError(f"there is no celestial WCS in {name}: give `wcs:` a header file")
    return wcs


def _read_header(path: str) -> fits.Header:
    """Header of a text file (lines or 80-column cards) or of a FITS image."""
    file, hdu = split_path(path)
    with local_bytes(file) as stream:
        text = stream.read(1 << 20)
    if hdu is not None or text.startswith(b"SIMPLE  ="):
        with open_image(path) as image:
            return image.header.copy()
    separator = "\n" if b"\n" in text else ""
    try:
        return fits.Header.fromstring(text.decode("ascii"), sep=separator)
    except (UnicodeDecodeError, VerifyError, ValueError) as error:
        raise InputError(f"file {path!r} is neither a FITS file nor a text header ({error})") from error


def wcs_text(wcs: WCS) -> str:
    """Header text of `wcs`, SIP terms included, from which :func:`wcs_from_text` makes it again."""
    return wcs.to_header_string(relax=True)


def wcs_from_text(text: str) -> WCS:
    """The WCS that :func:`wcs_text` wrote."""
    return WCS(fits.Header.fromstring(text), fix=False)


def pixel_scale_arcsec(wcs: WCS, ny: int, nx: int) -> float:
    """Arcsec per pixel in the middle of the mosaic: the root of the pixel's area."""
    y, x = (ny - 1) / 2, (nx - 1) / 2
    world = wcs.pixel_to_world(np.array([x, x + 0.5, x - 0.5, x, x]), np.array([y, y, y, y + 0.5, y - 0.5]))
    east, north = (offset.arcsec for offset in world[0].spherical_offsets_to(world[1:]))
    along_x = east[0] - east[1], north[0] - north[1]
    along_y = east[2] - east[3], north[2] - north[3]
    return float(np.sqrt(abs(along_x[0] * along_y[1] - along_x[1] * along_y[0])))
