"""FITS images read by windows: opening, checking, and the units and coordinates that their headers promise.

The only module that reads pixels of FITS files; the ingest streams them from here into the chunk store.
"""

from __future__ import annotations

import threading
import warnings
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, FITSFixedWarning

from surveycnn.errors import InputError
from surveycnn.sky.files import file_sha256, local_bytes, split_path

AB_ZEROPOINT_NJY = 31.4
"""AB magnitude of one nanojansky, as Rubin rounds it."""

_decompression = threading.Lock()
"""One tile-compressed image at a time in a process: the HCOMPRESS decoder of astropy (cfitsio's) keeps its state in globals and
lets go of the GIL, so two threads get each other's bits."""

_ZEROPOINT_KEYS = ("MAGZP", "MAGZERO", "PHOTZP", "ZP")
_UNIT_NAMES = {"nanomaggies": "nmgy", "nanomaggy": "nmgy", "maggies": "mgy", "maggy": "mgy"}


class FitsImage:
    """One two-dimensional image in a FITS file, read by windows; use it as a context manager or call :meth:`close`."""

    def __init__(self, path: str, stream: IO[bytes], hdus: fits.HDUList, index: int, plane: int | None):
        self.path = path
        self._stream, self._hdus, self._hdu = stream, hdus, hdus[index]
        self._leading = _leading_axes(path, self._hdu.shape, plane)
        self.header: fits.Header = self._hdu.header
        self.ny, self.nx = self._hdu.shape[-2:]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels [y0:y1, x0:x1] as native floats (y, x) in data units: BSCALE, BZERO applied, BLANK as NaN.

        Raises
        ------
        InputError
            If the pixels cannot be decoded.
        """
        compressed = isinstance(self._hdu, fits.CompImageHDU)
        try:
            with _decompression if compressed else nullcontext():
                pixels = self._hdu.section[(*self._leading, slice(y0, y1), slice(x0, x1))]
        except (OSError, ValueError, RuntimeError, TypeError, zlib.error) as error:
            raise InputError(f"image {self.path!r} cannot be decoded ({error}): fetch it again") from error
        kind = np.float32 if pixels.dtype in (np.dtype("=f4"), np.dtype(">f4")) or pixels.dtype.itemsize < 4 else np.float64
        return np.ascontiguousarray(pixels, dtype=kind)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file as it is stored; reads it once more, from the page cache if it was just read."""
        return file_sha256(split_path(self.path)[0])

    def close(self) -> None:
        self._hdus.close()
        self._stream.close()

    def __enter__(self) -> FitsImage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_image(path: str, plane: int | None = None) -> FitsImage:
    """The image at `path`, header read, pixels untouched.

    Parameters
    ----------
    path
        File or URL in cfitsio style: ``file.fits[1]``, ``file.fits[SCI]``, or without brackets the first HDU that holds an
        image; ``.fz``, ``.gz`` and ``.bz2`` too.
    plane
        Index of the image in a cube, counted from 0.

    Raises
    ------
    InputError
        If the file is missing, damaged or cut short, has no such HDU, or the HDU holds no image that can be used.
    """
    path = str(path)
    file, wanted = split_path(path)
    stream = local_bytes(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # of damage anywhere in the file: ours is checked below
            hdus = _open_hdus(file, stream)
            index = _find_hdu(path, hdus, wanted)
            _check_complete(file, stream, index)
            return FitsImage(path, stream, hdus, index, plane)
    except BaseException:
        stream.close()
        raise


def _open_hdus(file: str, stream: IO[bytes], **options: Any) -> fits.HDUList:
    """All HDUs of `stream`: lazily, so that an HDU behind a damaged one does no harm until it is asked for."""
    try:
        # 'memmap' would tie the windows to the file's life for nothing: sections are copied anyway
        return fits.open(stream, mode="readonly", memmap=False, lazy_load_hdus=True, **options)
    except (OSError, VerifyError) as error:
        raise InputError(f"file {file!r} is no FITS file or is cut short ({error}): fetch it again") from error


def _hdu_names(hdus: fits.HDUList) -> str:
    return ", ".join(f"[{i}]{' ' + hdu.name if hdu.name else ''} {_describe(hdu)}" for i, hdu in enumerate(hdus))


def _describe(hdu: Any) -> str:
    return f"image {hdu.shape}" if _is_image(hdu) else "empty" if hdu.header.get("NAXIS", 0) == 0 else "table"


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(hdu.shape) >= 2


def _find_hdu(path: str, hdus: fits.HDUList, wanted: int | str | None) -> int:
    """Index of the HDU named or numbered `wanted`; of the first image for None."""
    if wanted is None:
        for index, hdu in enumerate(hdus):
            if _is_image(hdu):
                return index
        raise InputError(f"file {path!r} holds no two-dimensional image: it has {_hdu_names(hdus)}")
    name, _, version = str(wanted).partition(",")
    key = wanted if isinstance(wanted, int) else (name.strip(), int(version)) if version.strip().isdigit() else wanted
    try:
        index = hdus.index_of(key)
        hdu = hdus[index]
    except (KeyError, IndexError):
        raise InputError(f"image {path!r} is not there: no HDU {wanted!r} in the file, it has {_hdu_names(hdus)}") from None
    if not _is_image(hdu):
        raise InputError(f"image {path!r} is no two-dimensional image but {_describe(hdu)}: the file has {_hdu_names(hdus)}")
    return index


def _check_complete(file: str, stream: IO[bytes], index: int) -> None:
    """Raise InputError if the file ends before the data of HDU `index` do: astropy would give zeros or fail far away."""
    stream.seek(0, 2)
    n_bytes = stream.tell()
    stream.seek(0)
    # the stored layout, not the decompressed one, says where the bytes are; padding of the last block may be missing
    raw = _open_hdus(file, stream, disable_image_compression=True)[index]
    end = raw.fileinfo()["datLoc"] + raw.size
    stream.seek(0)
    if end > n_bytes:
        raise InputError(f"file {file!r} is cut short: HDU {index} ends at byte {end}, the file at {n_bytes}: fetch it again")


def _leading_axes(path: str, shape: tuple[int, ...], plane: int | None) -> tuple[int, ...]:
    """Index along each axis before (y, x): 0 on axes of length 1, `plane` on the one that is longer."""
    longer = [axis for axis, length in enumerate(shape[:-2]) if length > 1]
    if len(longer) > 1:
        raise InputError(f"image {path!r} has shape {shape}: only images and cubes (plane, y, x) can be used")
    n_planes = shape[longer[0]] if longer else 1
    if plane is None and n_planes > 1:
        raise InputError(f"image {path!r} is a cube of {n_planes} planes: give `plane: 0` to `plane: {n_planes - 1}`")
    if plane is not None and not 0 <= plane < n_planes:
        raise InputError(f"image {path!r} has no plane {plane!r}: it has {n_planes}, counted from 0")
    return tuple((plane or 0) if axis in longer else 0 for axis in range(len(shape) - 2))


def zeropoint_of(
    header: Mapping[str, Any], configured: float | None = None, *, path: str = "", pixel_scale: float | None = None
) -> float:
    """AB magnitude of one data unit: `configured`, else from MAGZP, MAGZERO, PHOTZP or ZP, else from BUNIT.

    Parameters
    ----------
    path
        Name of the file in the message.
    pixel_scale
        Arcsec per pixel, needed for units per solid angle (MJy/sr).

    Raises
    ------
    InputError
        If neither is there or the unit is not one of flux density.
    """
    if configured is not None:
        return float(configured)
    for key in _ZEROPOINT_KEYS:
        value = header.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
            return float(value)
    bunit = str(header.get("BUNIT", "")).strip()
    njy = _njy_of_unit(bunit, pixel_scale)
    if njy is None:
        found = f"BUNIT is {bunit!r}" if bunit else "there is no BUNIT"
        raise InputError(
            f"image {path!r} has no zero point: none of {', '.join(_ZEROPOINT_KEYS)} is in the header and {found}: "
            "give `zeropoint`, the AB magnitude of one data unit"
        )
    return AB_ZEROPOINT_NJY - 2.5 * float(np.log10(njy))


def _njy_of_unit(bunit: str, pixel_scale: float | None) -> float | None:
    """Nanojansky of one `bunit`, None where it is no flux density."""
    if not bunit:
        return None
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
