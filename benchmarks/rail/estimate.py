"""One RAIL estimator at its defaults: trained on one HDF5 table, its PDFs of another written as a qp ensemble.

    ENVIRONMENT/bin/python benchmarks/rail/estimate.py NAME SETTINGS.json TRAIN.hdf5 TEST.hdf5 PDF.hdf5 [CPU_SECONDS]

Run by the Python of an environment that has RAIL (benchmarks/rail/requirements.txt), by benchmarks/photoz_tables_rail.py; imports
nothing of this project. SETTINGS describe the table (names of its columns, limiting magnitudes, range of redshift), see
:func:`stages`. Stopped by the system after CPU_SECONDS. The last line printed is a JSON object: CPU seconds of training and of
estimating, version of the estimator's package.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

ESTIMATORS: dict[str, tuple[str, str, str]] = {
    "flexzboost": ("flexzboost", "FlexZBoost", "pz-rail-flexzboost"),
    "knn": ("k_nearneigh", "KNearNeigh", "pz-rail-sklearn"),
    "neural_net": ("sklearn_neurnet", "SklNeurNet", "pz-rail-sklearn"),
    "dnf": ("dnf", "DNF", "pz-rail-dnf"),
    "gpz": ("gpz", "GPz", "pz-rail-gpz-v1"),
    "tpz": ("tpz_lite", "TPZlite", "pz-rail-tpz"),
    "cmnn": ("cmnn", "CMNN", "pz-rail-cmnn"),
    "bpz": ("bpz_lite", "BPZlite", "pz-rail-bpz"),
    "bpz_31": ("bpz_lite", "BPZlite", "pz-rail-bpz"),
    "train_z": ("train_z", "TrainZ", "pz-rail-base"),
}
"""Module of `rail.estimation.algos`, class name without Informer and Estimator, package."""
OWN: dict[str, dict[str, Any]] = {
    "bpz_31": {"spectra_file": "COSMOS_seds.list", "nt_array": [10, 5, 16]},
}
"""What departs from the defaults, by row: the templates that make the row."""


def stages(name: str, settings: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Informer, estimator and the settings that both know: what describes the table, else RAIL's defaults."""
    module, stem, _ = ESTIMATORS[name]
    algorithm = importlib.import_module(f"rail.estimation.algos.{module}")
    informer, estimator = getattr(algorithm, f"{stem}Informer"), getattr(algorithm, f"{stem}Estimator")
    given = {**settings, **OWN.get(name, {}), "output_mode": "return"}
    return informer, estimator, given


def known(stage: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The settings that the stage has."""
    return {key: value for key, value in given.items() if key in stage.config_options}


def main() -> int:
    name, settings_path, train_path, test_path, output = sys.argv[1:6]
    paths = [os.path.abspath(path) for path in (settings_path, train_path, test_path, output)]
    if len(sys.argv) > 6:
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[6]), int(sys.argv[6]) + 5))
    with open(paths[0]) as file:
        settings = json.load(file)
    os.chdir(tempfile.mkdtemp())  # some stages leave files where they run
    import tables_io

    informer, estimator, given = stages(name, settings)
    started = time.process_time()
    model = informer.make_stage(name="inform", **known(informer, given)).inform(tables_io.read(paths[1]))
    trained = time.process_time()
    stage = estimator.make_stage(name="estimate", model=model, **known(estimator, given))
    ensemble = stage.estimate(tables_io.read(paths[2])).data
    done = time.process_time()
    ensemble.set_ancil(None)
    ensemble.write_to(paths[3])
    package = ESTIMATORS[name][2]
    print(json.dumps({"fit_s": trained - started, "predict_s": done - trained, "version": f"{package} {version(package)}"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
