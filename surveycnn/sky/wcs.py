"""World coordinates of mosaics: from headers and header files, and to text and back in the chunk store."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.coordinates import ICRS, BarycentricMeanEcliptic, BaseCoordinateFrame, Galactic, SkyCoord
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.time import Time
from astropy.units import deg
from astropy.wcs import WCS, FITSFixedWarning, Sip
from astropy.wcs.utils import wcs_to_celestial_frame

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import local_bytes
from surveycnn.sky.images import open_image
from surveycnn.sky.sphere import unit_vectors, wrapped

ARCSEC = 3600 * 180 / np.pi
"""Arcsec per radian."""

_TABLE_KEYS = ("CPDIS", "CQDIS", "D2IMDIS", "D2IM1.", "D2IM2.", "D2IMEXT")
_WHERE = re.compile(r"ERROR \d+ in \S+ at line \d+ of file \S+")
"""How wcslib's messages begin."""

_SIZE_KEYS = re.compile(r"WCSAXES[A-Z]?|[AB]P?_ORDER")
_MAX_SIZE = 9
"""Axes of an image, and the order of a SIP polynomial."""

_MAX_STEPS = 30
_CLOSE_PX, _FAR_PX = 1e-6, 1e7
_NEAR = 1e-3  # radians: a stationary point far from the place that was asked for is no answer


def read_wcs(source: fits.Header | str | Path) -> WCS:
    """WCS of the first two axes of a header, a header file (text or FITS), or a FITS image.

    Declination may come first. PV terms under TAN are those of TPV. SIP terms count whether or not CTYPE announces them, but not
    beside TPV; where they count, PV terms do not: such headers tell one distortion twice.

    Raises
    ------
    InputError
        If these axes have no celestial WCS, one that needs tables outside the header, or one that lies on no sky.
    """
    name = "the header" if isinstance(source, fits.Header) else repr(str(source))
    header = source.copy() if isinstance(source, fits.Header) else _read_header(str(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)  # old keywords that astropy has mended
            axes = [str(header.get(f"CTYPE{axis}", "")) for axis in (1, 2)]
            _check_numbers(header, name)
            _refuse_tables(header, axes, name)
            _keep_one_distortion(header, axes)
            wcs = WCS(header, naxis=2)
    except InputError:
        raise
    except Exception as error:  # wcslib raises a dozen kinds, and cards that cannot be parsed one more
        text = " ".join(_WHERE.sub("", str(error)).split()).strip(" :.")
        raise InputError(f"the WCS in {name} cannot be read ({text}): give `wcs:` a header file") from error
    if not wcs.has_celestial:
        found = f": the first two axes are {axes[0]!r} and {axes[1]!r}" if any(axes) else ""
        raise InputError(f"there is no celestial WCS in {name}{found}: give `wcs:` a header file")
    sky_frame(wcs)
    return wcs


def _keep_one_distortion(header: fits.Header, axes: Sequence[str]) -> None:
    """Leave in `header` the terms of SIP or of TPV, and let CTYPE say so."""
    if not ("A_ORDER" in header and "B_ORDER" in header):
        return
    is_tpv = all(axis.endswith("-TPV") for axis in axes)
    dropped = re.compile(r"[AB]P?_(ORDER|DMAX|\d+_\d+)$" if is_tpv else r"PV[12]_\d+$")
    if is_tpv or all(axis.endswith(("-TAN", "-TAN-SIP")) for axis in axes):
        for key in [key for key in header if dropped.match(key)]:
            del header[key]
    if all(axis.endswith("-TAN") for axis in axes):
        header["CTYPE1"], header["CTYPE2"] = (f"{axis}-SIP" for axis in axes)


def _check_numbers(header: fits.Header, name: str) -> None:
    """Raise an InputError where a header asks for more axes or terms than there can be: wcslib takes them without a check."""
    for key in {key for key in header if _SIZE_KEYS.fullmatch(key)}:
        values = [header[key, number] for number in range(header.count(key))]
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SIZE:
                raise InputError(f"the WCS in {name} has {key} = {value!r}, expected at most {_MAX_SIZE}: correct the header")


def _refuse_tables(header: fits.Header, axes: Sequence[str], name: str) -> None:
    """Raise an InputError where positions follow from tables that are no part of the header."""
    tables = [key for key in header if key.startswith(_TABLE_KEYS)]
    tables += [axis for axis in axes if axis.endswith("-TAB")]
    if tables:
        raise InputError(
            f"the WCS in {name} needs look-up tables ({', '.join(tables[:4])}), expected one that a header describes by itself: "
            "resample the image, or give `wcs:` a header file with a fit of its distortion (SIP, TPV)"
        )


def _read_header(path: str) -> fits.Header:
    """Header of a text file (lines or 80-column cards) or of a FITS image."""
    file, hdu = split_path(path)
    with local_bytes(file) as stream:
        text = stream.read(1 << 20).replace(b"\r\n", b"\n")
    is_fits = text.startswith(b"SIMPLE  =") and b"\n" not in text[:81]  # text files of whole headers begin so, too
    if hdu is not None or is_fits:
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
    """The WCS that :func:`wcs_text` wrote; ValueError where the text is not as it was."""
    wcs = WCS(fits.Header.fromstring(text), fix=False)
    if not wcs.has_celestial:
        raise ValueError("its WCS has no positions on the sky")
    return wcs


def sky_positions(wcs: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ICRS right ascension in [0, 360) and declination, degrees, float64, of 0-based pixel centres.

    NaN where the projection has no sky. Each position is computed by itself: what else is asked for does not change it.
    """
    x, y = (np.asarray(values, "f8") for values in (x, y))
    if not x.size:
        return np.zeros(x.shape), np.zeros(x.shape)
    lon, lat = _native(wcs, wcs.all_pix2world(x, y, 0))
    frame = sky_frame(wcs)
    if not isinstance(frame, ICRS):
        lon, lat = _converted(lon, lat, frame, ICRS())
    return wrapped(lon), lat


def pixel_positions(wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0-based pixel centres (x, y), float64, of ICRS positions in degrees: the inverse of :func:`sky_positions`.

    NaN where the projection has no such place, or where no pixel is found that lies there to 1e-6 pixel.
    """
    ra, dec = (np.asarray(values, "f8") for values in (ra, dec))
    lon, lat = ra, dec
    frame = sky_frame(wcs)
    if not isinstance(frame, ICRS):
        lon, lat = _converted(ra, dec, ICRS(), frame)
    pixels = np.full((2, ra.size), np.nan)
    known = np.flatnonzero((np.isfinite(lon) & np.isfinite(lat)).ravel())
    if known.size:
        start = _undistorted(wcs).wcs_world2pix(*_native(wcs, (lon.ravel()[known], lat.ravel()[known])), 0)
        pixels[:, known] = _refined(wcs, np.stack(start), ra.ravel()[known], dec.ravel()[known])
    x, y = pixels.reshape(2, *ra.shape)
    return x, y


def local_jacobian(wcs: WCS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Steps on the sky of one pixel at 0-based pixel centres.

    Returns
    -------
    (n, 2, 2): rows are ICRS east and north in arcsec, columns are per pixel in x and in y. NaN where there is no sky half a pixel
    away. It holds at the poles too, where east follows from the right ascension that :func:`sky_positions` gives.
    """
    x, y = (np.asarray(values, "f8").ravel() for values in (x, y))
    east, north = _east_north(*sky_positions(wcs, x, y))
    jacobian = np.empty((x.size, 2, 2))
    for axis, (dx, dy) in enumerate(((0.5, 0.0), (0.0, 0.5))):
        step = unit_vectors(*sky_positions(wcs, x + dx, y + dy)) - unit_vectors(*sky_positions(wcs, x - dx, y - dy))
        jacobian[:, 0, axis] = ARCSEC * _dot(east, step)
        jacobian[:, 1, axis] = ARCSEC * _dot(north, step)
    return jacobian


def pixel_scale_arcsec(wcs: WCS, ny: int, nx: int) -> float:
    """Arcsec per pixel in the middle of the mosaic: the root of the pixel's area."""
    jacobian = local_jacobian(wcs, np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))[0]
    return float(np.sqrt(abs(jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0])))


def mirrored(wcs: WCS, nx: int) -> WCS:
    """WCS of an image of `nx` columns that is read from right to left; of one that :func:`wcs_from_text` made."""
    flipped = wcs.deepcopy()
    flipped.wcs.crpix = [nx + 1 - wcs.wcs.crpix[0], wcs.wcs.crpix[1]]
    flipped.wcs.pc = wcs.wcs.get_pc() * [-1, 1]
    flipped.wcs.cdelt = wcs.wcs.get_cdelt()
    if wcs.sip is not None:
        sign = (-1.0) ** np.arange(max(len(wcs.sip.a), len(wcs.sip.b)))[:, None]  # of u^p v^q, by p
        a, b = -wcs.sip.a * sign[: len(wcs.sip.a)], wcs.sip.b * sign[: len(wcs.sip.b)]
        flipped.sip = Sip(a, b, None, None, flipped.wcs.crpix)
    return flipped


def sky_frame(wcs: WCS) -> BaseCoordinateFrame:
    """Frame of the celestial axes of `wcs`: equatorial, galactic, or mean ecliptic of its equinox.

    Raises
    ------
    InputError
        If they lie on no sky that can be turned into ICRS: the Sun, a planet, the Earth.
    """
    axes = tuple(wcs.wcs.ctype[axis][:4] for axis in (wcs.wcs.lng, wcs.wcs.lat))
    # The names of the axes come first: astropy takes GLON with RADESYS 'ICRS' for a right ascension.
    if axes == ("GLON", "GLAT"):
        return Galactic()
    if axes == ("ELON", "ELAT"):
        equinox = 2000.0 if np.isnan(wcs.wcs.equinox) else wcs.wcs.equinox
        return BarycentricMeanEcliptic(equinox=Time(equinox, format="jyear"))
    try:
        frame = wcs_to_celestial_frame(wcs) if axes == ("RA--", "DEC-") else None
    except ValueError:
        frame = None
    if frame is None:
        raise InputError(
            f"the WCS has axes {axes[0]!r} and {axes[1]!r} with RADESYS {wcs.wcs.radesys!r}, "
            "expected RA and DEC in ICRS, FK5 or FK4, GLON and GLAT, or ELON and ELAT: give `wcs:` a header file"
        )
    return frame


def _native(wcs: WCS, pair: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude out of the order of the axes of `wcs`, or back into it."""
    return (pair[0], pair[1]) if wcs.wcs.lng < wcs.wcs.lat else (pair[1], pair[0])


def _converted(
    lon: np.ndarray, lat: np.ndarray, frame: BaseCoordinateFrame, to: BaseCoordinateFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Degrees in `frame` as degrees in `to`; NaN stays NaN."""
    result = np.full((2, *lon.shape), np.nan)
    known = np.isfinite(lon) & np.isfinite(lat)
    if known.any():
        place = SkyCoord(lon[known] * deg, np.clip(lat[known], -90, 90) * deg, frame=frame).transform_to(to).spherical
        result[:, known] = place.lon.deg, place.lat.deg
    return result[0], result[1]


def _undistorted(wcs: WCS) -> WCS:
    """`wcs` without the polynomials of TPV: its inverse exists wherever TAN has one, and is near enough to start from."""
    plain = wcs.deepcopy()
    if any(name.endswith("-TPV") for name in plain.wcs.ctype):
        plain.wcs.set_pv([])
        plain.wcs.ctype = [name.replace("-TPV", "-TAN") for name in plain.wcs.ctype]
    return plain


def _refined(wcs: WCS, pixels: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Pixels (2, n) of ICRS positions after Newton's steps from `pixels`, each position for itself."""
    target = unit_vectors(ra, dec)
    open_ = np.flatnonzero(np.isfinite(pixels).all(axis=0))
    found = np.full(pixels.shape, np.nan)
    for _ in range(_MAX_STEPS):
        if not open_.size:
            break
        x, y = pixels[:, open_]
        here = sky_positions(wcs, x, y)
        away = target[open_] - unit_vectors(*here)
        east, north = (ARCSEC * _dot(axis, away) for axis in _east_north(*here))
        jacobian = local_jacobian(wcs, x, y)
        determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            dx = (jacobian[:, 1, 1] * east - jacobian[:, 0, 1] * north) / determinant
            dy = (jacobian[:, 0, 0] * north - jacobian[:, 1, 0] * east) / determinant
        pixels[:, open_] += dx, dy
        step = np.hypot(dx, dy)
        near = _dot(away, away) < _NEAR**2
        done = (step < _CLOSE_PX) & near
        found[:, open_[done]] = pixels[:, open_[done]]
        open_ = open_[(step < _FAR_PX) & ~done]
    return found


def _east_north(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (n, 3) towards east and north at positions in degrees."""
    ra, dec = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return east, north


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]
