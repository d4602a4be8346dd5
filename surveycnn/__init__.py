"""Deep networks over whole survey skies: FITS mosaics in, a queryable catalog out."""

from __future__ import annotations

import importlib
import os as _os
from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.1.0"

# A wheel holds flows/, catalogs/ and deploy/ inside this package; a checkout keeps them beside it.
_checkout = _Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout))

# No library shall report what is done with it, here, in workers and in Prefect's server; what the user has set stays.
_os.environ.setdefault("DO_NOT_TRACK", "1")
_os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

# Resolved on first use: TensorFlow, Dask and Prefect take seconds to import.
_PUBLIC = {
    "open_catalog": "surveycnn.catalogs.query",
    "load_model": "surveycnn.inference.load",
    "save_model": "surveycnn.training.own_model",
    "scale_stamps": "surveycnn.training.own_model",
    "load_photoz": "surveycnn.photoz.predict",
    "load_config": "surveycnn.config",
    "run_survey": "surveycnn.run.survey",
    "cutouts": "surveycnn.run.cutouts",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'surveycnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
