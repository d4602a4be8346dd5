"""Photometry and redshifts in the tables of users: what values mean, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import Table

from surveycnn.errors import InputError
from surveycnn.photoz.tables import (
    mapped_columns,
    photometry_of,
    read_table,
    redshifts_of,
)


def columns(**values) -> pa.Table:
    """Table of arrays or lists."""
    return pa.table({name: pa.array(column) for name, column in values.items()})


# photometry


def test_photometry_of__fluxes_and_magnitudes_are_the_same():
    flux, flux_err = np.array([10.0, 3630.780547701003, 0.5]), np.array([1.0, 2.0, 0.25])
    mag, mag_err = 31.4 - 2.5 * np.log10(flux), flux_err / flux * 2.5 / np.log(10)
    assert mag[1] == pytest.approx(22.5)
    left = photometry_of(columns(flux_u=flux, flux_err_u=flux_err), ["u"])
    right = photometry_of(columns(mag_u=mag, mag_err_u=mag_err), ["u"])
    np.testing.assert_allclose(left.flux, right.flux, rtol=1e-12)
    np.testing.assert_allclose(left.flux_err, right.flux_err, rtol=1e-12)
    np.testing.assert_array_equal(left.flux[:, 0], flux)
    assert left.bands == ("u",) and left.flux.dtype == np.float64 and len(left) == 3


@pytest.mark.parametrize(
    ("mag", "mag_err", "flux"),
    [
        (31.4, 0.1, 1.0),
        (99.0, 0.1, 0.0),
        (99.0, 26.6, 0.0),
        (99.0, -99.0, 0.0),
        (np.inf, np.inf, 0.0),
        (np.nan, 0.1, 0.0),
        (24.0, 99.0, 0.0),
        (24.0, np.nan, 0.0),
        (None, None, 0.0),
        (-99.0, 0.0, np.nan),
        (-99.0, np.nan, np.nan),
        (-np.inf, 0.1, np.nan),
    ],
)
def test_photometry_of__magnitudes_of_what_was_not_seen(mag, mag_err, flux):
    types = pa.float64()
    found = photometry_of(pa.table({"mag_u": pa.array([mag], types), "mag_err_u": pa.array([mag_err], types)}), ["u"])
    np.testing.assert_array_equal(found.flux, [[flux]])
    assert np.isfinite(found.flux_err[0, 0]) == (flux == 1.0)


def test_photometry_of__missing_fluxes_are_nan_in_both():
    found = photometry_of(columns(flux_u=[1.0, None, 3.0, -4.0], flux_err_u=[0.1, -1.0, None, 0.4]), ["u"])
    np.testing.assert_array_equal(found.flux[:, 0], [1.0, np.nan, np.nan, -4.0])
    np.testing.assert_array_equal(found.flux_err[:, 0], [0.1, np.nan, np.nan, 0.4])


@pytest.mark.parametrize("kind", ["int16", "int64", ">f4", ">i4", "float16", "uint8"])
def test_photometry_of__any_numbers(tmp_path, kind):
    Table({"mag_u": np.array([20, 22], dtype=kind), "mag_err_u": np.array([1, 1], dtype=kind)}).write(tmp_path / "t.fits")
    found = photometry_of(read_table(tmp_path / "t.fits"), ["u"])
    np.testing.assert_allclose(found.flux[:, 0], 10 ** (-0.4 * (np.array([20.0, 22.0]) - 31.4)))


def test_photometry_of__nullable_integers_that_are_missing_are_no_data():
    table = pa.Table.from_pandas(pd.DataFrame({"flux_u": pd.array([5, None], dtype="Int64"), "flux_err_u": [1.0, 1.0]}))
    np.testing.assert_array_equal(photometry_of(table, ["u"]).flux[:, 0], [5.0, np.nan])


@pytest.mark.parametrize(("unit", "factor"), [("uJy", 1e3), ("Jy", 1e9), ("nJy", 1.0), ("mgy", 10 ** (0.4 * 31.4))])
def test_photometry_of__converts_declared_units(tmp_path, unit, factor):
    Table({"flux_u": [2.0], "flux_err_u": [1.0]}, units=[unit, unit]).write(tmp_path / "t.ecsv")
    found = photometry_of(read_table(tmp_path / "t.ecsv"), ["u"])
    np.testing.assert_allclose([found.flux[0, 0], found.flux_err[0, 0]], [2 * factor, factor], rtol=1e-12)


def test_photometry_of__refuses_units_that_are_no_flux(tmp_path):
    Table({"flux_u": [2.0], "flux_err_u": [1.0]}, units=["adu", "adu"]).write(tmp_path / "t.ecsv")
    with pytest.raises(InputError, match="column 'flux_u' has the unit 'adu', expected nJy, a unit that can be converted"):
        photometry_of(read_table(tmp_path / "t.ecsv"), ["u"])


def test_photometry_of__takes_fluxes_of_a_band_with_both_unless_magnitudes_are_mapped():
    table = columns(flux_u=[1.0], flux_err_u=[0.1], mag_u=[22.5], mag_err_u=[0.1], m=[30.4])
    assert photometry_of(table, ["u"]).flux[0, 0] == 1.0
    assert photometry_of(table, ["u"], {"mag_u": "m"}).flux[0, 0] == pytest.approx(10**0.4)
    assert photometry_of(table, ["u"], {"mag_u": "m", "flux_u": "flux_u"}).flux[0, 0] == 1.0


def test_photometry_of__bands_in_the_order_asked_for():
    table = columns(flux_g=[1.0], flux_err_g=[0.1], mag_u=[31.4 - 2.5], mag_err_u=[0.1])
    np.testing.assert_allclose(photometry_of(table, ["u", "g"]).flux, [[10.0, 1.0]])
    np.testing.assert_allclose(photometry_of(table, ["g", "u"]).flux, [[1.0, 10.0]])


@pytest.mark.parametrize(
    ("table", "mapping", "message"),
    [
        ({"x": [1.0]}, {}, r"no photometry of the band 'u': expected flux_u and .* found x; map other names with --column"),
        ({}, {}, "found no column"),
        (
            {"flux_u": [1.0]},
            {},
            "no column 'flux_err_u', which goes with 'flux_u': found flux_u; map it with --column flux_err_u=",
        ),
        ({"mag_u": [1.0]}, {"mag_u": "m"}, "no column 'm' for mag_u: found mag_u; map it with --column mag_u=COLUMN"),
        (
            {"mag_u": [1.0]},
            {"mag_g": "m"},
            "cannot map 'mag_g' to the column 'm': known are flux_u, flux_err_u, mag_u, mag_err_u",
        ),
        ({"flux_u": ["1", "b"], "flux_err_u": [1.0, 1.0]}, {}, r"'flux_u' holds text \('b' in row 1, counted from 0\), expected"),
        ({"flux_u": [[1.0]], "flux_err_u": [1.0]}, {}, "column 'flux_u' is of type list<.*>, expected one number per row"),
        ({"flux_u": [True], "flux_err_u": [1.0]}, {}, "column 'flux_u' is of type bool, expected one number per row"),
        (
            {"flux_u": [1.0] * 4, "flux_err_u": [1.0, -1.0, 0.0, 2.0]},
            {},
            r"'flux_err_u': 2 of 4 values are 0 or negative, .* the first in row 1, counted from 0 \(-1\)",
        ),
        ({"mag_u": [20.0], "mag_err_u": [0.0]}, {}, r"'mag_err_u': 1 of 1 values are 0 or negative"),
        ({"flux_u": [1.0, np.inf], "flux_err_u": [1.0, 1.0]}, {}, r"'flux_u': 1 of 2 values are infinite, the first in row 1"),
        ({"flux_u": [1.0], "flux_err_u": [np.inf]}, {}, r"'flux_err_u': 1 of 1 values are infinite"),
    ],
)
def test_photometry_of__says_what_is_wrong(table, mapping, message):
    with pytest.raises(InputError, match=message):
        photometry_of(columns(**table), ["u"], mapping)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([], "the bands are ''"),
        (["u", ""], "the bands are 'u,', expected names with commas between them"),
        (["u", "g r"], "the bands are 'u,g r'"),
        (["u", "g", "u"], "the bands 'u,g,u' name u twice"),
    ],
)
def test_photometry_of__refuses_bands_that_are_none(bands, message):
    with pytest.raises(InputError, match=message):
        photometry_of(columns(), bands)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, -0.2, -9.0], r"'z': 2 of 3 values are negative, the first in row 1, counted from 0 \(-0.2\): leave out objects"),
        ([0.1, np.nan], r"'z': 1 of 2 values are missing or infinite, the first in row 1"),
        ([0.1, None], r"'z': 1 of 2 values are missing or infinite"),
        ([np.inf], r"'z': 1 of 1 values are missing or infinite"),
        (["0.1", "n/a"], r"column 'z' holds text \('n/a' in row 1"),
    ],
)
def test_redshifts_of__says_what_is_no_redshift(values, message):
    with pytest.raises(InputError, match=message):
        redshifts_of(columns(z=values), "z")


def test_redshifts_of__a_missing_column_names_those_found():
    with pytest.raises(InputError, match=r"the table has no column 'z' for the redshifts: did you mean 'zs'\? found id, zs"):
        redshifts_of(columns(id=[1], zs=[0.1]), "z")
    many = columns(**{f"c{number}": [1] for number in range(40)})
    with pytest.raises(InputError, match="c29 and 10 more"):
        redshifts_of(many, "z")


@pytest.mark.parametrize(
    ("patterns", "pairs", "message"),
    [
        ({"mag": "mag_lsst"}, [], "the pattern 'mag_lsst' of mag columns has no {band} in it, as in 'mag_{band}_lsst'"),
        ({}, ["mag_u"], "cannot read the column 'mag_u': expected NAME=COLUMN"),
        ({}, ["=m"], "expected NAME=COLUMN"),
        ({}, ["mag_u="], "expected NAME=COLUMN"),
        ({}, ["magu=m"], "cannot map 'magu' to the column 'm': known are flux_u"),
    ],
)
def test_mapped_columns__refuses_what_maps_nothing(patterns, pairs, message):
    with pytest.raises(InputError, match=message):
        mapped_columns(["u"], patterns, pairs)


# real data

DC2 = Path(__file__).parents[4] / "shared/data/photoz_dc2/test_dc2_training_9816.hdf5"


@pytest.mark.skipif(not DC2.is_file(), reason="the DC2 sample is not beside the checkout")
def test_photometry_of__the_dc2_sample():
    table = read_table(DC2)
    patterns = {"mag": "mag_{band}_lsst", "mag_err": "mag_err_{band}_lsst"}
    found = photometry_of(table, list("ugrizy"), mapped_columns(list("ugrizy"), patterns))
    assert found.flux.shape == (10225, 6)
    assert np.isfinite(found.flux).all()
    np.testing.assert_array_equal(found.flux == 0, np.isnan(found.flux_err))
    assert redshifts_of(table, "redshift").max() < 4
