"""Headers as cameras and surveys write them, with distortions of the real size."""

from __future__ import annotations

from astropy.io import fits

PLACE = {"CRVAL1": 359.97, "CRVAL2": -30.1, "CRPIX1": 1000.33333333333, "CRPIX2": 2000.12345678901}
STEPS = {"CD1_1": -7.123456789012345e-5, "CD1_2": 1.23456789012345e-6, "CD2_1": 1.1123456789e-6, "CD2_2": 7.2123456789012e-5}
SIP = {
    **{"A_ORDER": 3, "A_2_0": 2.123456789012e-6, "A_1_1": -3.1e-6, "A_0_3": 1.2345678901234e-10},
    **{"B_ORDER": 3, "B_2_0": 1e-6, "B_0_2": -4e-6, "B_1_2": 3e-10},
}
TPV = {
    **{"PV1_0": -1.234567890123e-3, "PV1_1": 1.012345678901, "PV1_2": 4.5e-3, "PV1_4": -1.1e-2, "PV1_5": 2.2e-3},
    **{"PV1_6": -6e-3, "PV1_7": 8.1e-3, "PV1_8": -4.4e-3, "PV1_9": 7.7e-3, "PV1_10": -2.1e-3},
    **{"PV2_0": 2e-3, "PV2_1": 1.013, "PV2_2": -3e-3, "PV2_4": -9e-3, "PV2_5": 1e-2, "PV2_6": -4e-3, "PV2_7": 9e-3},
}
ZPN = {"PV2_1": 1.0, "PV2_3": 42.1234567890123, "PV2_5": -10234.56789012}


def header(projection: str = "TAN", axes: tuple[str, str] = ("RA--", "DEC-"), **cards: object) -> fits.Header:
    """Header of 4000 x 4000 pixels of 0.26 arcsec, with `cards` put in; those that are None are left out."""
    ctypes = {f"CTYPE{n}": f"{axis}-{projection}" for n, axis in enumerate(axes, 1)}
    found = {"NAXIS": 2, "NAXIS1": 4000, "NAXIS2": 4000} | ctypes | PLACE | STEPS | cards
    return fits.Header([(key, value) for key, value in found.items() if value is not None])


NO_CD = dict.fromkeys(STEPS)
PROJECTIONS = {
    **{name: header(name) for name in ("TAN", "SIN", "ZEA", "STG", "ARC", "CAR", "AIT", "MOL")},
    "SIP": header("TAN-SIP", **SIP),
    "SIP, not announced": header("TAN", **SIP),
    "SIP announced, none there": header("TAN-SIP"),
    "SIP and PV": header("TAN-SIP", **SIP, **TPV),
    "TPV": header("TPV", **TPV),
    "TPV as SCAMP writes it": header("TAN", **TPV),
    "TPV and SIP": header("TPV", **TPV, **SIP),
    "ZPN": header("ZPN", **ZPN),
    "slant SIN": header("SIN", PV2_1=0.01, PV2_2=-0.02),
    "declination first": header("TAN", ("DEC-", "RA--"), CRVAL1=-30.1, CRVAL2=359.97),
    "CROTA2": header(**NO_CD, CDELT1=-7.1234e-5, CDELT2=7.9e-5, CROTA2=31.123456789),
    "PC and LONPOLE": header(
        **NO_CD, CDELT1=-7.2e-5, CDELT2=7.3e-5, PC1_1=0.8123456789, PC1_2=0.6, PC2_1=-0.6, PC2_2=0.8, LONPOLE=171.123456789
    ),
    "south up": header(CD1_1=7.2e-5, CD2_2=-7.2e-5, CD1_2=0.0, CD2_1=0.0),
    "arcsec": header(
        CUNIT1="arcsec", CUNIT2="arcsec", CRVAL1=3600 * 10.0, CRVAL2=3600 * 2.0, CD1_1=-0.26, CD2_2=0.26, CD1_2=0.0, CD2_1=0.0
    ),
    "cut far from the reference": header(CRPIX1=-123456.789012345, CRPIX2=12345.67890123456),
    "spectral axis": header(NAXIS=3, NAXIS3=7, CTYPE3="WAVE", CRPIX3=1.0, CRVAL3=5e-7, CDELT3=1e-9),
    "SIP and an axis of one": header("TAN-SIP", NAXIS=3, NAXIS3=1, CTYPE3="FREQ", CRPIX3=1.0, CRVAL3=1e9, CDELT3=1e6, **SIP),
    "north pole": header(CRVAL2=90.0),
    "south pole": header(CRVAL2=-90.0),
    "galactic": header("TAN", ("GLON", "GLAT")),
    "ecliptic": header("TAN", ("ELON", "ELAT"), EQUINOX=2000.0),
    "FK5": header(RADESYS="FK5", EQUINOX=2000.0),
    "FK4": header(RADESYS="FK4", EQUINOX=1950.0),
}
