"""Predictions of a photo-z model for tables: what users import."""

from surveycnn.photoz.package import PhotozModel as PhotozModel
from surveycnn.photoz.package import load_photoz as load_photoz
