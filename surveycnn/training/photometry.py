"""Fluxes of labelled stamps, as the survey would have measured them."""

from __future__ import annotations

from surveycnn.sources.stamp_photometry import stamp_photometry as stamp_photometry
