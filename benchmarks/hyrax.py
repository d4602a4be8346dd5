"""Ours beside Hyrax's `infer` (https://github.com/lincc-frameworks/hyrax) with a torch twin of the lens network.

    python -m benchmarks.hyrax survey.yaml --hyrax-env FOLDER [--sizes 1000 5000] [--batch 512] [--hyrax-workers 0 2] [--repeat 1]

Hyrax has no step from a mosaic to objects. So a mosaic is cropped or repeated to hold some number of sources, our survey runs
on it (mosaic files to published catalog, detection included), and Hyrax gets cut-out files of the same sources, one for each
band and object, at positions that cost it nothing. The cutting is charged to Hyrax and reported apart too. Models are loaded
and all has run once before a clock starts, on both sides. Hyrax is no dependency: FOLDER is an environment of its own, made
from benchmarks/hyrax_side/requirements.txt if absent.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.stats import spearmanr

from benchmarks.bare import read_array, subtract_background, to_flux
from benchmarks.environment import environment, table
from benchmarks.hyrax_twin import twin_weights
from benchmarks.mosaics import mosaic_of_size
from benchmarks.timed import Lap, Timed, lap, run_timed, start_up
from surveycnn.config import SurveyConfig, load_config
from surveycnn.inference.scaling import scale_stamps
from surveycnn.models.card import Card
from surveycnn.models.package import load_package, package_folder
from surveycnn.run.machine import n_cores
from surveycnn.sources.stamps import cut_stamps

SIDE = Path(__file__).resolve().parent / "hyrax_side"
FEW = 64
"""Objects on which Hyrax runs once before its clock starts."""
TOLERANCE = 1e-4
HEADER = ["side", "objects", "obj/s", "s", "CPU ms/obj", "bare loop, obj/s", "slowdown", "Spearman with ours"]


def python_of(folder: Path) -> Path:
    """Python of the environment in `folder`, which is made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making Hyrax's environment in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        requirements = str(SIDE / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
    return python


def side_px(n_sources: int, density: float) -> int:
    """Side of a mosaic that holds about `n_sources` at `density` (sources per pixel)."""
    return 64 * math.ceil(math.sqrt(n_sources / density) / 64)


def cut_files(config: SurveyConfig, card: Card, rows: Table, folder: Path) -> np.ndarray:
    """Write the cut-outs of all `rows` and their catalog into `folder`: what a user of Hyrax does before its first call.

    Returns
    -------
    (object, band, y, x) float32 nJy; 0 where there are no data, as the network would see it.
    """
    arrays = [read_array(image) for image in config.mosaics[0].images]
    for array in arrays:
        np.nan_to_num(array, copy=False, nan=0, posinf=0, neginf=0)
        subtract_background(array)
    image, scale = to_flux(config, arrays)
    bands = [image.band for image in config.mosaics[0].images]
    own = image[[bands.index(config.bands.get(band, band)) for band in card.bands]]
    stamps = cut_stamps(own, np.asarray(rows["y"]), np.asarray(rows["x"]), card.stamp_px, card.pixel_scale / scale)
    stamps = np.nan_to_num(np.ascontiguousarray(np.moveaxis(stamps, -1, 1)))
    names = []
    for number, stamp in enumerate(stamps):
        for index, band in enumerate(card.bands):
            name = f"{number}_{band}.fits"
            fits.writeto(folder / name, stamp[index])
            names.append((number, f"{index}_{band}", name))
    catalog = Table(rows=names, names=["object_id", "filter", "filename"])
    catalog.write(folder / "catalog.fits")
    catalog[: FEW * len(card.bands)].write(folder / "few.fits")
    return stamps


def run_hyrax(python: Path, folder: Path, weights: Path, arguments: argparse.Namespace, workers: int) -> dict[str, Any]:
    """What benchmarks/hyrax_side/infer.py says, with its outputs (object, value) as ``hyrax`` and ``bare``."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    result, log = folder / "result.npz", folder / "hyrax.log"
    options = ["--batch", arguments.batch, "--workers", workers, "--threads", n_cores()]
    command = [str(python), str(SIDE / "infer.py"), str(folder), str(weights), str(result), *map(str, options)]
    with log.open("w") as file:
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    lines = log.read_text().splitlines()
    if ended.returncode:
        raise SystemExit("\n".join([*lines[-30:], f"Hyrax failed with exit code {ended.returncode}"]))
    told = json.loads(lines[-1][lines[-1].rindex('{"n"') :])
    with np.load(result) as arrays:
        return told | {"outputs": {name: arrays[name] for name in arrays.files}}


def check_twin(card: Card, model: Any, stamps: np.ndarray, outputs: np.ndarray) -> float:
    """Largest difference of the twin's `outputs` (object, value) from the Keras model's, for `stamps` (object, band, y, x)."""
    scaled = scale_stamps(np.moveaxis(stamps, 1, -1), card.scaling, card.bands)
    difference = float(abs(np.asarray(model(scaled, training=False)) - outputs).max())
    if difference > TOLERANCE:
        raise SystemExit(f"the twin's outputs differ from Keras's by {difference:.2g}, allowed are {TOLERANCE:g}")
    return difference


def print_size(ours: Timed, bare_rate: float, cut: Lap, theirs: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """The table of one number of sources."""
    scores, n = np.asarray(ours.rows()["lens_score"]), ours.n_sources
    rows = [["ours, mosaic to catalog", n, *_cells(ours.seconds, ours.cpu, n, bare_rate), ""]]
    for workers, told in theirs:
        bare = n / told["bare_seconds"]
        agreement = f"{spearmanr(told['outputs']['hyrax'][:, 0], scores, nan_policy='omit').statistic:.4f}"
        name = f"Hyrax infer, {workers} workers"
        rows.append([name, n, *_cells(told["seconds"], told["cpu"], n, bare), agreement])
        whole = _cells(told["seconds"] + cut.seconds, told["cpu"] + cut.cpu, n, bare)
        rows.append([f"{name}, and the cutting", n, *whole, agreement])
    print(table(HEADER, rows))
    best = min(told["seconds"] for _, told in theirs)
    print(
        f"ours over Hyrax: {(best + cut.seconds) / ours.seconds:.2f} with the cutting, {best / ours.seconds:.2f} without; "
        f"the cutting took {cut.seconds:.1f} s",
        flush=True,
    )


def _cells(seconds: float, cpu: float, n: int, bare_rate: float) -> list[str]:
    rates = [f"{n / seconds:.1f}", f"{seconds:.1f}", f"{1e3 * cpu / n:.2f}", f"{bare_rate:.1f}"]
    return [*rates, f"{bare_rate * seconds / n:.2f}"]


def measure(
    config: SurveyConfig, python: Path, weights: Path, twin_of: tuple[Card, Any], arguments: argparse.Namespace, folder: Path
) -> None:
    """Run both sides on the mosaic of `config` and print."""
    from benchmarks.bare import forward_parts, load_predictors

    surveys, cuts, theirs = [], [], []
    for number in range(arguments.repeat):
        surveys.append(run_timed(config))
        cutouts = folder / f"cutouts_{number}"
        cutouts.mkdir()
        taken, stamps = lap(lambda cutouts=cutouts: cut_files(config, twin_of[0], surveys[0].rows(), cutouts))
        cuts.append(taken)
        np.save(cutouts / "stamps.npy", stamps)
        theirs += [(workers, run_hyrax(python, cutouts, weights, arguments, workers)) for workers in arguments.hyrax_workers]
    ours = min(surveys, key=lambda survey: survey.seconds)
    arrays = [read_array(image) for image in config.mosaics[0].images]
    forward = forward_parts(config, load_predictors(config), arrays, ours.rows())
    forward_s = sum(min(by_threads.values()).seconds for by_threads in forward.values())
    told = theirs[0][1]
    difference = check_twin(*twin_of, stamps[:FEW], told["outputs"]["bare"][:FEW])
    versions = f"hyrax {told['hyrax']}, torch {told['torch']}, batches of {arguments.batch}"
    print(f"\n{ours.n_sources} sources; {versions}; the twin's outputs are Keras's within {difference:.1g}\n")
    best = {workers: min((told for w, told in theirs if w == workers), key=lambda told: told["seconds"]) for workers, _ in theirs}
    print_size(ours, ours.n_sources / forward_s, min(cuts), list(best.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic gives the pixels")
    parser.add_argument("--hyrax-env", type=Path, required=True, help="folder of Hyrax's environment, made if absent")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000], help="numbers of sources, about")
    parser.add_argument("--batch", type=int, default=512, help="Hyrax's batch size; 512 is its default")
    parser.add_argument("--hyrax-workers", type=int, nargs="+", default=[0], help="Hyrax's num_workers; 0 is its default")
    parser.add_argument("--repeat", type=int, default=1, help="times that both sides run, alternately; the fastest is taken")
    parser.add_argument("--scratch", help="folder for temporary files")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    python = python_of(arguments.hyrax_env)
    print(environment(f"cluster threads, both sides on {n_cores()} cores"), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder, overrides = Path(name), [*arguments.overrides, "models=lens", "cluster=threads"]
        config = load_config(arguments.config, overrides)
        card, model = load_package(package_folder("lens"), golden=False)
        np.savez(folder / "weights.npz", **twin_weights(card, model))
        start_up(config, folder / "small")
        first = run_timed(mosaic_of_size(config, 1024, folder / "density", overrides))
        density = first.n_sources / 1024**2
        for n_sources in arguments.sizes:
            own = folder / str(n_sources)
            sized = mosaic_of_size(config, side_px(n_sources, density), own, overrides)
            measure(sized, python, folder / "weights.npz", (card, model), arguments, own)
            shutil.rmtree(own)


if __name__ == "__main__":
    main()
