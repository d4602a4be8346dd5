import bz2
import gzip
import hashlib

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from surveycnn.errors import InputError
from surveycnn.sky.images import open_image
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_from_text, wcs_text
from surveycnn.sky.zeropoints import to_njy, zeropoint_of

PIXELS = np.arange(12 * 20, dtype=np.float32).reshape(12, 20)


def tan_header(scale_deg=0.2 / 3600):
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=30.0, CRVAL2=-20.0, CRPIX1=10.0, CRPIX2=6.0)
    header.update(CD1_1=-scale_deg, CD1_2=0.0, CD2_1=0.0, CD2_2=scale_deg, CUNIT1="deg", CUNIT2="deg")
    return header


@pytest.fixture
def multi(tmp_path):
    """File with an empty primary, a table, and images SCI (2-d) and CUBE (3-d)."""
    path = tmp_path / "multi.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))], name="TAB")
    cube = np.stack([PIXELS, 2 * PIXELS, 3 * PIXELS])
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(cube, name="CUBE")]).writeto(path)
    return str(path)


def read_all(path, plane=None):
    with open_image(path, plane) as image:
        return image.read(0, image.ny, 0, image.nx)


def test_open_image__first_image_by_number_and_by_name(multi):
    for suffix in ("", "[2]", "[SCI]", "[sci]", "[SCI,1]"):
        pixels = read_all(multi + suffix)
        assert pixels.dtype == np.dtype("=f4")
        np.testing.assert_array_equal(pixels, PIXELS)


def test_read__window(multi):
    with open_image(multi) as image:
        assert (image.ny, image.nx) == (12, 20)
        np.testing.assert_array_equal(image.read(3, 7, 5, 11), PIXELS[3:7, 5:11])


def test_open_image__planes(multi):
    np.testing.assert_array_equal(read_all(multi + "[CUBE]", 1), 2 * PIXELS)
    with pytest.raises(InputError, match="is a cube of 3 planes: give `plane: 0` to `plane: 2`"):
        open_image(multi + "[CUBE]")
    with pytest.raises(InputError, match="has no plane 3: it has 3"):
        open_image(multi + "[CUBE]", 3)
    assert read_all(multi + "[SCI]", 0).shape == (12, 20)


def test_open_image__four_axes(tmp_path):
    path = str(tmp_path / "a.fits")
    fits.writeto(path, PIXELS[None, None])
    np.testing.assert_array_equal(read_all(path), PIXELS)
    fits.writeto(path, np.zeros((2, 2, 4, 4)), overwrite=True)
    with pytest.raises(InputError, match=r"has shape \(2, 2, 4, 4\): only images and cubes"):
        open_image(path)


def test_open_image__wrong_hdu(multi):
    with pytest.raises(
        InputError, match=r"no HDU 'ERR' in the file, it has \[0\] PRIMARY empty, \[1\] TAB table, \[2\] SCI image"
    ):
        open_image(multi + "[ERR]")
    with pytest.raises(InputError, match="no HDU 9 in the file"):
        open_image(multi + "[9]")
    with pytest.raises(InputError, match=r"\[1\]' is no two-dimensional image but table"):
        open_image(multi + "[1]")


def test_open_image__no_image(tmp_path):
    path = str(tmp_path / "a.fits")
    fits.PrimaryHDU().writeto(path)
    with pytest.raises(InputError, match="holds no two-dimensional image"):
        open_image(path)


def test_open_image__missing_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_image(str(tmp_path / "none.fits[1]"))


def test_open_image__not_fits(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"<html>404</html>" * 1000)
    with pytest.raises(InputError, match="is no FITS file or is cut short"):
        open_image(str(path))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is no FITS file or is cut short"):
        open_image(str(path))


@pytest.mark.parametrize("compressed", [False, True])
def test_open_image__truncated_file(tmp_path, compressed):
    path = tmp_path / "a.fits"
    noise = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    hdu = fits.CompImageHDU(noise) if compressed else fits.ImageHDU(noise)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    path.write_bytes(path.read_bytes()[:-5760])
    with pytest.raises(InputError, match=r"a.fits' is cut short: HDU 1 ends at byte \d+, the file at \d+"):
        open_image(str(path))


def test_open_image__truncated_header(tmp_path):
    path = tmp_path / "a.fits"
    fits.writeto(path, PIXELS)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="is no FITS file or is cut short"):
        open_image(str(path))


def test_open_image__missing_padding_is_harmless(tmp_path):
    path = tmp_path / "a.fits"
    fits.writeto(path, PIXELS)
    path.write_bytes(path.read_bytes()[: 2880 + PIXELS.nbytes])
    np.testing.assert_array_equal(read_all(str(path)), PIXELS)


def test_read__scaled_integers_with_blank(tmp_path):
    path = tmp_path / "a.fits"
    hdu = fits.PrimaryHDU(np.array([[1, 2], [-99, 4]], dtype=np.int16))
    hdu.header["BLANK"] = -99
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 10.0
    stored = hdu.header.copy()
    hdu.writeto(path)
    raw = path.read_bytes()
    path.write_bytes(bytes(stored.tostring(), "ascii").ljust(2880) + raw[2880:])
    np.testing.assert_array_equal(read_all(str(path)), [[10.5, 11], [np.nan, 12]])


@pytest.mark.parametrize("dtype", ["u1", ">i2", ">u2", ">i4", ">f4", ">f8"])
def test_read__types_come_back_native(tmp_path, dtype):
    path = str(tmp_path / "a.fits")
    fits.writeto(path, np.array([[1, 2], [3, 4]], dtype=dtype))
    pixels = read_all(path)
    assert pixels.dtype.kind == "f" and pixels.dtype.isnative
    assert pixels.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_open_image__compressed_files(tmp_path, multi, suffix, compress):
    path = tmp_path / f"a.fits{suffix}"
    with open(multi, "rb") as stream:
        path.write_bytes(compress(stream.read()))
    with open_image(f"{path}[SCI]") as image:
        np.testing.assert_array_equal(image.read(2, 5, 0, 20), PIXELS[2:5])
        assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_open_image__tile_compressed(tmp_path):
    path = str(tmp_path / "a.fits.fz")
    integers = np.random.default_rng(1).integers(0, 1000, (64, 64)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(integers, name="SCI")]).writeto(path)
    np.testing.assert_array_equal(read_all(path), integers)
    np.testing.assert_array_equal(read_all(path + "[SCI]"), integers)


def test_read__damaged_tiles(tmp_path):
    path = tmp_path / "a.fits"
    noise = np.random.default_rng(1).integers(0, 1000, (64, 64)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise, compression_type="GZIP_1")]).writeto(path)
    raw = bytearray(path.read_bytes())
    raw[-5000:-100] = b"\xff" * 4900
    path.write_bytes(raw)
    with open_image(str(path)) as image, pytest.raises(InputError, match="cannot be decoded"):
        image.read(0, 64, 0, 64)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"MAGZP": 27.0, "BUNIT": "Jy"}, 27.0),
        ({"MAGZERO": 25}, 25.0),
        ({"PHOTZP": 30.0}, 30.0),
        ({"ZP": 22.5}, 22.5),
        ({"MAGZP": "unknown", "BUNIT": "nJy"}, 31.4),
        ({"BUNIT": "uJy"}, 23.9),
        ({"BUNIT": "Jy"}, 8.9),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "nmgy"}, 22.5),
        ({"BUNIT": "MAGGIES"}, 0.0),
    ],
)
def test_zeropoint_of__header(header, expected):
    assert zeropoint_of(header) == pytest.approx(expected, abs=1e-6)


def test_zeropoint_of__configured_value_wins():
    assert zeropoint_of({"MAGZP": 27.0}, 0.0) == 0.0


def test_zeropoint_of__surface_brightness_needs_the_pixel():
    # 1 MJy/sr in pixels of 1 arcsec^2 is 23.5 uJy
    assert to_njy(zeropoint_of({"BUNIT": "MJy/sr"}, pixel_scale=1.0)) == pytest.approx(23504.4, rel=1e-5)
    with pytest.raises(InputError, match="BUNIT is 'MJy/sr'"):
        zeropoint_of({"BUNIT": "MJy/sr"})


@pytest.mark.parametrize(
    ("header", "found"), [({}, "there is no BUNIT"), ({"BUNIT": "adu"}, "BUNIT is 'adu'"), ({"BUNIT": "?!"}, "BUNIT")]
)
def test_zeropoint_of__nothing_usable(header, found):
    with pytest.raises(InputError, match=f"image 'r.fits' has no zero point: .*{found}.*give `zeropoint`"):
        zeropoint_of(header, path="r.fits")


@pytest.mark.parametrize("header", [{"MAGZP": -2147483648}, {"ZP": 1e30}, {"BUNIT": "1e200 Jy"}])
def test_zeropoint_of__that_no_image_can_have(header):
    with pytest.raises(InputError, match=r"image 'r.fits' has a zero point of .* by .*, expected one within \+-100"):
        zeropoint_of(header, path="r.fits")


def test_zeropoint_of__number_of_many_digits_is_none():
    with pytest.raises(InputError, match="no zero point"):
        zeropoint_of({"MAGZP": 10**400}, path="r.fits")


def test_to_njy__zero_points():
    assert to_njy(31.4) == 1
    assert to_njy(28.9) == pytest.approx(10)


def test_read_wcs__header_fits_file_and_text_files(tmp_path):
    header = tan_header()
    fits.writeto(tmp_path / "a.fits", PIXELS, header)
    (tmp_path / "cards.hdr").write_text(header.tostring())
    (tmp_path / "lines.hdr").write_text(header.tostring(sep="\n", endcard=False, padding=False) + "\n")
    for source in (header, tmp_path / "a.fits", f"{tmp_path / 'a.fits'}[0]", tmp_path / "cards.hdr", tmp_path / "lines.hdr"):
        wcs = read_wcs(source)
        assert wcs.pixel_to_world_values(9, 5) == (pytest.approx(30.0), pytest.approx(-20.0))
        assert pixel_scale_arcsec(wcs, 12, 20) == pytest.approx(0.2, rel=1e-6)


def test_read_wcs__old_keywords_are_mended_in_silence():
    header = tan_header()
    header["RADECSYS"] = "FK5"
    assert read_wcs(header).wcs.radesys.strip() == "FK5"


def test_read_wcs__celestial_part_of_a_cube():
    header = tan_header()
    header.update(CTYPE3="FREQ", CRVAL3=1e9, CRPIX3=1.0, CDELT3=1e6, CD3_3=1e6, CUNIT3="Hz")
    assert read_wcs(header).naxis == 2


def test_read_wcs__none_there(tmp_path):
    with pytest.raises(InputError, match="no celestial WCS in the header: give `wcs:` a header file"):
        read_wcs(fits.Header())
    (tmp_path / "empty.hdr").write_text("OBJECT  = 'M31'\n")
    with pytest.raises(InputError, match="no celestial WCS in '.*empty.hdr'"):
        read_wcs(tmp_path / "empty.hdr")


def test_read_wcs__unreadable(tmp_path):
    header = tan_header()
    header["CTYPE1"] = "RA---XYZ"
    with pytest.raises(InputError, match="WCS in the header cannot be read"):
        read_wcs(header)
    (tmp_path / "binary.hdr").write_bytes(b"\xff\xfe" * 50)
    with pytest.raises(InputError, match="neither a FITS file nor a text header"):
        read_wcs(tmp_path / "binary.hdr")


def test_wcs_text__round_trip_with_distortion():
    header = tan_header()
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_0_2=-2e-4)
    wcs = WCS(header)
    again = wcs_from_text(wcs_text(wcs))
    x, y = np.meshgrid(np.arange(0, 400, 50.0), np.arange(0, 400, 50.0))
    np.testing.assert_allclose(again.pixel_to_world_values(x, y), wcs.pixel_to_world_values(x, y), rtol=0, atol=1e-11)
