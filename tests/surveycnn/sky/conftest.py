import pytest
from astropy.wcs import WCS


@pytest.fixture
def tan_wcs():
    """0.2 arcsec per pixel, north up, (30, -20) degrees at pixel x = 9, y = 5."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [30.0, -20.0], [10.0, 6.0]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs
