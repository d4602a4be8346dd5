"""The rows of benchmarks/photoz_tables.py that RAIL's estimators make, in an environment of their own.

RAIL (https://github.com/LSSTDESC/rail) is no dependency of ours: benchmarks/rail/requirements.txt says what its environment
holds, benchmarks/rail/estimate.py is the one script that runs in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import qp

from benchmarks.photoz_tables_data import NOT_DETECTED, Sample, columns_of, write_hdf5
from benchmarks.photoz_tables_methods import Result

HERE = Path(__file__).resolve().parent / "rail"
ESTIMATORS = {
    "flexzboost": "RAIL FlexZBoost",
    "knn": "RAIL k nearest neighbours",
    "gpz": "RAIL GPz",
    "tpz": "RAIL TPZ",
    "neural_net": "RAIL scikit-learn neural net",
    "bpz": "RAIL BPZ, 8 SEDs",
    "bpz_31": "RAIL BPZ, 31 SEDs",
    "dnf": "RAIL DNF",
    "cmnn": "RAIL CMNN",
    "train_z": "RAIL trainZ: n(z) for every object",
}
NEEDS_FILTERS = {"bpz": "dc2", "bpz_31": "dc2"}
"""Template fits, and the sample whose filter curves RAIL ships."""
ONE_PROCESS = {"LOKY_MAX_CPU_COUNT": "1"}
"""Keeps joblib from starting processes, whose CPU seconds would be counted and limited apart."""


def python_of(folder: Path) -> Path:
    """Python of the environment in `folder`, which is made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making RAIL's environment in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        requirements = str(HERE / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
    return python


def settings_of(sample: Sample) -> dict[str, object]:
    """What an estimator must be told of a table; all else stays as RAIL has it."""
    magnitudes, errors = [f"mag_{band}" for band in sample.bands], [f"mag_err_{band}" for band in sample.bands]
    return {
        "bands": magnitudes,
        "err_bands": errors,
        "err_dict": {**dict(zip(magnitudes, errors, strict=True)), "redshift": None},
        "ref_band": f"mag_{sample.ref_band}",
        "mag_limits": {f"mag_{band}": limit for band, limit in sample.limits.items()},
        "nondetect_val": NOT_DETECTED,
        "replace_error_vals": [0.1] * len(sample.bands),
        "redshift_col": "redshift",
        "hdf5_groupname": "photometry",
        "zmin": 0.0,
        "zmax": sample.z_max,
    }


def rail(name: str, sample: Sample, python: Path, folder: Path, limit_s: int) -> Result:
    """An estimator of :data:`ESTIMATORS`; raises `CalledProcessError` where it fails or takes more than `limit_s` of CPU."""
    settings = folder / f"{sample.name}.json"
    settings.write_text(json.dumps(settings_of(sample)))
    tables = [folder / f"{sample.name}_{half}.hdf5" for half in ("train", "test")]
    for path, half in zip(tables, (sample.train, sample.test), strict=True):
        write_hdf5(columns_of(sample, half), path)
    output = folder / f"{sample.name}_{name}.hdf5"
    command = [str(python), str(HERE / "estimate.py"), name, str(settings), *map(str, tables), str(output), str(limit_s)]
    log = folder / f"{sample.name}_{name}.log"
    with log.open("w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **ONE_PROCESS})
    told = json.loads(log.read_text().splitlines()[-1])
    ensemble = qp.read(str(output))
    return Result(
        ESTIMATORS[name], told["version"], lambda some: ensemble[some].pdf(sample.grid), told["fit_s"], told["predict_s"]
    )
