"""FITS images read by windows: opening, checking, reading.

The only module that reads pixels of FITS files; the ingest streams them from here into the chunk store.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import ceil, prod
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import FetchedFile, file_sha256, header_bytes, is_plain, local_bytes
from surveycnn.sky.hdus import check_headers

_decompression = threading.Lock()
"""One tile-compressed image at a time in a process: the HCOMPRESS decoder of astropy (cfitsio's) keeps its state in globals and
lets go of the GIL, so two threads get each other's bits."""


PHOTOMETRIC_KEYS = ("MAGZP", "MAGZERO", "PHOTZP", "ZP", "BUNIT", "MAGSYS", "BSOFTEN", "SATURATE")
"""Cards that many files with several extensions have in their primary header alone."""


MAX_TILE_PX = 1 << 28
"""Pixels that are decoded together at most: a header may declare tiles that no memory holds."""


@contextmanager
def _readable(what: str, advice: str = "correct its header, or fetch it again") -> Iterator[None]:
    """Turn whatever astropy raises on a broken header or broken pixels, which may be of any type, into a message."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or "no reason given"
        raise InputError(f"{what} ({type(error).__name__}: {text}): {advice}") from error


class FitsImage:
    """One two-dimensional image in a FITS file, read by windows; use it as a context manager or call :meth:`close`."""

    def __init__(self, path: str, stream: IO[bytes], hdus: fits.HDUList, index: int, plane: int | None):
        self.path = path
        self._stream, self._hdus, self._hdu = stream, hdus, hdus[index]
        self._leading = _leading_axes(path, self._hdu.shape, plane)
        self.header: fits.Header = self._hdu.header
        self.photometry: dict[str, Any] = {**_photometric(hdus[0].header), **_photometric(self.header)}
        """Cards about units and magnitudes, from the primary header where the image's own has none."""
        bitpix = self.header.get("BITPIX")
        self.is_float = not isinstance(bitpix, int) or bitpix < 0
        """Whether pixels are stored as floating point numbers."""
        self.ny, self.nx = self._hdu.shape[-2:]
        self.tile_rows: int = self._hdu.tile_shape[-2] if isinstance(self._hdu, fits.CompImageHDU) else 1
        """Rows that are decoded together; reading fewer of them costs as much."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels [y0:y1, x0:x1] as native floats (y, x) in data units: BSCALE, BZERO applied, BLANK as NaN.

        Raises
        ------
        InputError
            If the pixels cannot be decoded.
        """
        compressed = isinstance(self._hdu, fits.CompImageHDU)
        with (
            _readable(f"image {self.path!r} cannot be decoded", "fetch it again"),
            _decompression if compressed else nullcontext(),
        ):
            pixels = self._hdu.section[(*self._leading, slice(y0, y1), slice(x0, x1))]
        kind = np.float32 if pixels.dtype in (np.dtype("=f4"), np.dtype(">f4")) or pixels.dtype.itemsize < 4 else np.float64
        return np.ascontiguousarray(pixels, dtype=kind)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file as it is stored; reads it once more, unless that was done while it was fetched."""
        return self._stream.sha256 if isinstance(self._stream, FetchedFile) else file_sha256(split_path(self.path)[0])

    def close(self) -> None:
        self._hdus.close()
        self._stream.close()

    def __enter__(self) -> FitsImage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _photometric(header: fits.Header) -> dict[str, Any]:
    return {key: header[key] for key in PHOTOMETRIC_KEYS if key in header}


def open_image(path: str, plane: int | None = None, *, plane_of_cubes_only: bool = False, header_only: bool = False) -> FitsImage:
    """The image at `path`, header read, pixels untouched.

    Parameters
    ----------
    path
        File or URL in cfitsio style: ``file.fits[1]``, ``file.fits[SCI]``, or without brackets the first HDU that holds an
        image; ``.fz``, ``.gz`` and ``.bz2`` too.
    plane
        Index of the image in a cube, counted from 0.
    plane_of_cubes_only
        Ignore `plane` where the file is no cube: the map of an image in a cube may be one or not.
    header_only
        Only the header is wanted: a remote or compressed file is read no farther than that.

    Raises
    ------
    InputError
        If the file is missing, damaged or cut short, has no such HDU, or the HDU holds no image that can be used.
    """
    path = str(path)
    file, wanted = split_path(path)
    stream = header_bytes(file) if header_only else local_bytes(file)
    try:
        with warnings.catch_warnings(), _readable(f"file {file!r} cannot be read"):
            warnings.simplefilter("ignore", AstropyWarning)  # of damage anywhere in the file: ours is checked below
            # of a compressed stream only what astropy itself looks at
            check_headers(file, stream, 2 if header_only and not is_plain(file) else None)
            hdus = _open_hdus(file, stream)
            index = _find_hdu(path, hdus, wanted)
            _check_sizes(path, hdus[index])
            if not header_only or is_plain(file):
                _check_complete(path, stream, hdus[index], index)
            is_cube = any(length > 1 for length in hdus[index].shape[:-2])
            return FitsImage(path, stream, hdus, index, plane if is_cube or not plane_of_cubes_only else None)
    except BaseException:
        stream.close()
        raise


def _open_hdus(file: str, stream: IO[bytes], **options: Any) -> fits.HDUList:
    """All HDUs of `stream`: lazily, so that an HDU behind a damaged one does no harm until it is asked for."""
    try:
        # 'memmap' would tie the windows to the file's life for nothing: sections are copied anyway
        return fits.open(stream, mode="readonly", memmap=False, lazy_load_hdus=True, **options)
    except Exception as error:
        raise InputError(f"file {file!r} is no FITS file or is cut short ({error}): fetch it again") from error


def _hdu_names(hdus: fits.HDUList) -> str:
    names = (f"[{i}]{' ' + hdu.name if hdu.name else ''} {_describe(hdu)}" for i, hdu in _readable_hdus(hdus))
    return ", ".join(names) or "no HDU that can be read"


def _readable_hdus(hdus: fits.HDUList) -> Iterator[tuple[int, Any]]:
    """HDUs with their numbers, up to one whose header is damaged.

    Where the next one begins is not known then, and in a compressed stream astropy would find damaged ones without end.
    """
    for index, hdu in enumerate(hdus):
        if not hasattr(hdu, "fileinfo"):  # astropy's stand-in for what it cannot read
            return
        yield index, hdu


def _describe(hdu: Any) -> str:
    return f"image {hdu.shape}" if _is_image(hdu) else "empty" if hdu.header.get("NAXIS", 0) == 0 else "table"


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(hdu.shape) >= 2


def _find_hdu(path: str, hdus: fits.HDUList, wanted: int | str | None) -> int:
    """Index of the HDU named or numbered `wanted`; of the first image for None."""
    if wanted is None:
        for index, hdu in _readable_hdus(hdus):
            if _is_image(hdu):
                return index
        raise InputError(f"file {path!r} holds no two-dimensional image: it has {_hdu_names(hdus)}")
    index, hdu = next((found for found in _readable_hdus(hdus) if _is_named(*found, wanted)), (0, None))
    if hdu is None:
        raise InputError(f"image {path!r} is not there: no HDU {wanted!r} in the file, it has {_hdu_names(hdus)}")
    if not _is_image(hdu):
        raise InputError(f"image {path!r} is no two-dimensional image but {_describe(hdu)}: the file has {_hdu_names(hdus)}")
    return index


def _is_named(index: int, hdu: Any, wanted: int | str) -> bool:
    """Whether an HDU is the one of a number, an EXTNAME, or an EXTNAME and EXTVER such as ``SCI,2``."""
    if isinstance(wanted, int):
        return index == wanted
    name, _, version = wanted.partition(",")
    if version.strip().isdigit():
        return bool(hdu.name == name.strip().upper() and hdu.ver == int(version))
    return bool(hdu.name == wanted.strip().upper())


def _check_sizes(path: str, hdu: Any) -> None:
    """Raise InputError where a header declares sizes that cannot be, or tiles that the file does not hold."""
    if not all(isinstance(length, int) and length > 0 for length in hdu.shape):
        raise InputError(f"image {path!r} has the shape {hdu.shape}, expected lengths of 1 or more: correct NAXIS1, NAXIS2")


def _check_tiles(path: str, hdu: fits.CompImageHDU, n_rows: int) -> None:
    """Raise InputError where a compressed image of `n_rows` tiles declares more of them, or such that no memory holds."""
    tile = tuple(int(side) for side in hdu.tile_shape)
    n_tiles = prod(ceil(length / side) for length, side in zip(hdu.shape, tile, strict=True))
    if n_tiles != n_rows:
        raise InputError(f"image {path!r} of shape {hdu.shape} has {n_tiles} tiles of {tile}, its table {n_rows}: fetch it again")
    if prod(tile) > MAX_TILE_PX:
        raise InputError(f"image {path!r} is compressed in tiles of {tile}: compress it in tiles of up to {MAX_TILE_PX} pixels")


def _check_complete(path: str, stream: IO[bytes], hdu: Any, index: int) -> None:
    """Raise InputError if the file ends before the data of an HDU do: astropy would give zeros or fail far away."""
    file = split_path(path)[0]
    stream.seek(0, 2)
    n_bytes = stream.tell()
    stream.seek(0)
    # the stored layout, not the decompressed one, says where the bytes are; padding of the last block may be missing
    raw = _open_hdus(file, stream, disable_image_compression=True)[index]
    end = raw.fileinfo()["datLoc"] + raw.size
    stream.seek(0)
    if isinstance(hdu, fits.CompImageHDU):
        _check_tiles(path, hdu, raw.header["NAXIS2"])
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
