"""The writers and readers of the FITS table and of the Zarr store under one name."""

from __future__ import annotations

from surveycnn.catalogs.fits_table import read_fits as read_fits
from surveycnn.catalogs.fits_table import write_fits as write_fits
from surveycnn.catalogs.zarr_store import read_zarr as read_zarr
from surveycnn.catalogs.zarr_store import write_zarr as write_zarr
