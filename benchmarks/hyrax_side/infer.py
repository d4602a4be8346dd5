"""Hyrax's `infer` on cut-out files, and torch's bare loop on the same stamps in memory.

    ENVIRONMENT/bin/python benchmarks/hyrax_side/infer.py FOLDER WEIGHTS.npz RESULT.npz [--batch 512] [--workers 0] [--threads 2]

Run by the Python of an environment that has Hyrax (benchmarks/hyrax_side/requirements.txt), by benchmarks/hyrax.py; imports
nothing of this project. FOLDER holds the cut-outs, ``catalog.fits`` (object_id, filter, filename: one row per object and band)
and ``few.fits``, the first of its objects, on which all is tried once before the clock starts. ``stamps.npy`` beside them holds
the same pixels (object, band, y, x). The last line printed is a JSON object: seconds, numbers, versions.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from twin import Twin

_register_fake = torch.library.register_fake


def _tolerant(name, *args, **kwargs):  # noqa: ANN001, ANN202
    """A CPU build of torch does not have torchvision's compiled operators, of which Hyrax uses none."""
    if isinstance(name, str) and name.startswith("torchvision::"):
        return lambda function: function
    return _register_fake(name, *args, **kwargs)


torch.library.register_fake = _tolerant

import hyrax  # noqa: E402
from hyrax.models.model_registry import hyrax_model  # noqa: E402

WEIGHTS = "SURVEYCNN_TWIN_WEIGHTS"
"""Environment variable with the path of the weights: Hyrax makes the model by itself."""


@hyrax_model
class LensTwin(Twin):
    """The twin as Hyrax wants a model."""

    def __init__(self, config, data_sample=None):  # noqa: ANN001
        super().__init__(dict(np.load(os.environ[WEIGHTS])))
        self.config = config

    def forward(self, batch):  # noqa: ANN001, ANN202
        return super().forward(batch[0] if isinstance(batch, (tuple, list)) else batch)

    def infer_batch(self, batch):  # noqa: ANN001, ANN202
        return self(batch)

    def train_batch(self, batch):  # noqa: ANN001, ANN202
        raise TypeError("the twin has the weights of the lens finder and is not trained")

    @staticmethod
    def prepare_inputs(data_dict):  # noqa: ANN001, ANN205
        import numpy as np

        return (np.asarray(data_dict["data"]["image"], dtype=np.float32), np.zeros(0, np.int64))


def hyrax_of(folder: Path, catalog: str, side: int, batch: int, workers: int) -> hyrax.Hyrax:
    """Hyrax, told what to infer and with what; all else as it comes."""
    weights = folder / "twin" / "weights.pth"
    weights.parent.mkdir(exist_ok=True)
    torch.save(Twin(dict(np.load(os.environ[WEIGHTS]))).state_dict(), weights)
    found = hyrax.Hyrax(setup_logging=False)
    settings = {
        "general": {"results_dir": str(folder / "results")},
        "model": {"name": "LensTwin"},
        "data_loader": {"batch_size": batch, "num_workers": workers},
        "data_set": {"filter_catalog": str(folder / catalog), "crop_to": [side, side], "transform": False},
        "infer": {"model_weights_file": str(weights)},
    }
    for section, values in settings.items():
        for key, value in values.items():
            found.config[section][key] = value
    request = {
        "dataset_class": "FitsImageDataset",
        "data_location": str(folder),
        "fields": ["image"],
        "primary_id_field": "object_id",
    }
    found.set_config("data_request", {"infer": {"data": request}})
    return found


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(who.ru_utime + who.ru_stime for who in used)


def bare_loop(stamps: np.ndarray, batch: int) -> tuple[float, np.ndarray]:
    """Seconds of the forward passes alone, and the outputs (object, value)."""
    twin = Twin(dict(np.load(os.environ[WEIGHTS]))).eval()
    with torch.inference_mode():
        twin(torch.from_numpy(stamps[:batch]))
        started = time.perf_counter()
        outputs = [twin(torch.from_numpy(stamps[start : start + batch])).numpy() for start in range(0, len(stamps), batch)]
        return time.perf_counter() - started, np.concatenate(outputs)


def outputs_of(results, n_objects: int) -> np.ndarray:  # noqa: ANN001
    """(object, value) in the order of the object ids, 0, 1, ..."""
    ids = np.array([int(results.get_object_id(k)) for k in range(len(results))])
    rows = (results[k] for k in range(len(results)))
    values = np.stack([np.asarray(row["data"] if isinstance(row, dict) else row) for row in rows])
    if len(ids) != n_objects:
        raise SystemExit(f"Hyrax gave {len(ids)} results, expected {n_objects}")
    return values[np.argsort(ids)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    os.environ[WEIGHTS] = str(arguments.weights.resolve())
    torch.set_num_threads(arguments.threads)
    stamps = np.load(folder / "stamps.npy")
    result = arguments.result.resolve()
    os.chdir(folder)
    shape = (stamps.shape[-1], arguments.batch, arguments.workers)
    hyrax_of(folder, "few.fits", *shape).infer()
    found = hyrax_of(folder, "catalog.fits", *shape)
    started, cpu = time.perf_counter(), cpu_seconds()
    results = found.infer()
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    bare_seconds, bare = bare_loop(stamps, arguments.batch)
    np.savez(result, hyrax=outputs_of(results, len(stamps)), bare=bare)
    versions = {name: version(name) for name in ("hyrax", "torch")}
    print(json.dumps({"n": len(stamps), "seconds": seconds, "cpu": cpu, "bare_seconds": bare_seconds} | versions))


if __name__ == "__main__":
    main()
