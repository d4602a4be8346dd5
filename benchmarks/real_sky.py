"""The lens finder on skies that others made: samples of the lens finding challenge, and the best candidates of a catalog.

    python benchmarks/real_sky.py challenge FOLDER [--model lens]
    python benchmarks/real_sky.py candidates CONFIG -o top.png [--n 20]

FOLDER is a folder ``ground_based`` of the challenge's samples (Metcalf et al. 2019, A&A 625, A119): ``lens`` and ``nolens``,
each with Band1 to Band4 = R, I, G, U, 101 x 101 pixels of 0.2 arcsec. Its R, I, G stand for the finder's r, i, g. CONFIG is the
configuration of a survey that has been run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Row
from matplotlib.figure import Figure

from surveycnn.catalogs.query import open_catalog
from surveycnn.config import SurveyConfig, load_config
from surveycnn.inference.predictor import load_model
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sources.stamps import cut_stamps
from surveycnn.training.metrics import auroc

BAND_FOLDERS = {"g": "Band3", "r": "Band1", "i": "Band2"}
MISSING = 100.0
"""Value of pixels without data."""
NJY = 10 ** (0.4 * 31.4)
"""nJy per data unit: AB maggies, to which the sky's noise of 1.3e-12 fits that of KiDS."""
STAMP_PX = 64
PIXEL_SCALE = 0.2
SHOWN = ("source_id", "x", "y", "flux_i", "lens_logit", "lens_score", "lens_prob", "lens_domain", "flags")


def read_challenge(folder: Path, kind: str) -> tuple[list[str], np.ndarray]:
    """Names and stamps (object, y, x, band) in nJy of ``lens`` or ``nolens``."""
    names = sorted(path.name.rsplit("-", 1)[1].removesuffix(".fits") for path in (folder / kind / "Band1").glob("*.fits"))
    stamps = []
    for name in names:
        bands = [fits.getdata(next((folder / kind / band).glob(f"*-{name}.fits"))) for band in BAND_FOLDERS.values()]
        stamps.append(np.stack(bands, axis=-1).astype(np.float64))
    images = np.stack(stamps)
    return names, np.where(images == MISSING, np.nan, images * NJY).astype(np.float32)


def challenge(folder: Path, model: str) -> None:
    """Print the score of every stamp, best first."""
    predictor = load_model(model)
    rows, is_lens = [], []
    for kind in ("lens", "nolens"):
        names, stamps = read_challenge(folder, kind)
        predicted = predictor.predict(stamps)
        for index, name in enumerate(names):
            rows.append((float(predicted["lens_logit"][index]), float(predicted["lens_score"][index]), kind, name))
            is_lens.append(kind == "lens")
    logit = np.array([row[0] for row in rows])
    print(f"{model} on {len(rows)} ground stamps: AUROC {auroc(logit, np.array(is_lens)):.3f}")
    for row in sorted(rows, reverse=True):
        print(f"{row[2]:7} {row[3]}  logit {row[0]:7.2f}  score {row[1]:.3f}")


def candidates(config_path: str, output: Path, n: int) -> None:
    """Draw the stamps with the highest lens probabilities of a catalog, and print their rows."""
    config = load_config(config_path)
    table = open_catalog(config.output_path).top(n, by="lens_logit").to_table()
    columns = 5
    figure = Figure(figsize=(2.0 * columns, 2.25 * int(np.ceil(len(table) / columns))))
    for number, row in enumerate(table):
        axes = figure.add_subplot(int(np.ceil(len(table) / columns)), columns, number + 1)
        axes.imshow(colour_image(_stamp(config, row)), origin="lower")
        axes.set_title(f"{number + 1}: {row['lens_logit']:.1f}, flags {row['flags']}", fontsize=8)
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(output, dpi=110)
    table[[name for name in SHOWN if name in table.colnames]].pprint_all()


def _stamp(config: SurveyConfig, row: Row) -> np.ndarray:
    """(y, x, band) nJy around a row of the catalog, bands i, r, g as red, green and blue."""
    store = ChunkStore.open(WorkStore(config.work_path).chunk_path(str(row["mosaic"])))
    bands = [config.bands.get(band, band) for band in ("i", "r", "g")]
    core = 512
    tile = store.grid(halo_px=64, core_px=core).tile(int(row["y"]) // core, int(row["x"]) // core)
    window = store.read_window(tile, bands)
    y, x = np.array([row["y"] - window.y0]), np.array([row["x"] - window.x0])
    return cut_stamps(window.image, y, x, STAMP_PX, PIXEL_SCALE / window.pixel_scale)[0]


def colour_image(stamp: np.ndarray) -> np.ndarray:
    """(y, x, 3) in [0, 1] of (y, x, 3) fluxes, after Lupton et al. (2004, PASP 116, 133)."""
    filled = np.nan_to_num(stamp)
    noise = 1.4826 * np.median(np.abs(filled - np.median(filled, axis=(0, 1))), axis=(0, 1))
    scaled = filled / np.maximum(noise, 1e-6)
    total = np.maximum(scaled.mean(axis=2, keepdims=True), 0.5)
    stretched = scaled * np.arcsinh(total / 5.0) / total
    return np.clip(stretched / max(float(np.percentile(stretched, 99.7)), 1e-3), 0.0, 1.0)


def main() -> int:
    """Exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("challenge")
    first.add_argument("folder", type=Path)
    first.add_argument("--model", default="lens")
    second = commands.add_parser("candidates")
    second.add_argument("config")
    second.add_argument("-o", "--output", type=Path, required=True)
    second.add_argument("--n", type=int, default=20)
    given = parser.parse_args()
    if given.command == "challenge":
        challenge(given.folder, given.model)
    else:
        candidates(given.config, given.output, given.n)
    return 0


if __name__ == "__main__":
    sys.exit(main())
