"""The models on skies that others made: what they say, printed and drawn beside the stamps.

    python -m benchmarks.real_sky challenge FOLDER [--model lens]
    python -m benchmarks.real_sky candidates CONFIG -o top.png [--n 20]
    python -m benchmarks.real_sky blends FOLDER -o blends.png [--beyond nothing|sky] [--n 36] [--by-eye labels.csv]
    python -m benchmarks.real_sky galaxies CONFIG -o galaxies.png [--n 24] [--stars 3] [--wide 40] [--by-eye labels.csv] [--fresh]

``challenge``: FOLDER is a folder ``ground_based`` of the samples of the lens finding challenge (Metcalf et al. 2019, A&A 625,
A119): ``lens`` and ``nolens``, each with Band1 to Band4 = R, I, G, U, 101 x 101 pixels of 0.2 arcsec. Its R, I, G stand for the
finder's r, i, g. ``candidates``: CONFIG is the configuration of a survey that has been run. ``blends``: FOLDER holds cutouts of
the Hyper Suprime-Cam survey (benchmarks/real_sky_blends.py). ``galaxies``: CONFIG is the configuration of a survey, which is run
or brought to its end, with the morphology and the merger models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from matplotlib.figure import Figure

from benchmarks.real_sky_answers import ByEye, answer_lines, label_at, read_by_eye
from benchmarks.real_sky_blends import (
    PIXEL_SCALE,
    aperture_flux,
    brightest_covered,
    coverage,
    is_same,
    read_blends,
    with_sky_around,
)
from benchmarks.real_sky_picture import Shown, colour_image, draw_picture
from benchmarks.real_sky_survey import choose, cut_around, magnitude, window_around
from surveycnn.catalogs.query import open_catalog
from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import InputError, UserError
from surveycnn.inference.load import load_model
from surveycnn.run.survey import run_survey
from surveycnn.training.metrics import auroc

BAND_FOLDERS = {"g": "Band3", "r": "Band1", "i": "Band2"}
MISSING = 100.0
"""Value of pixels without data."""
NJY = 10 ** (0.4 * 31.4)
"""nJy per data unit: AB maggies, to which the sky's noise of 1.3e-12 fits that of KiDS."""
STAMP_PX = 64
STAMP_SCALE = 0.2
"""arcsec per pixel; with :data:`STAMP_PX` what the shipped models take."""
SHOWN = ("source_id", "x", "y", "flux_i", "lens_logit", "lens_score", "lens_prob", "lens_domain", "flags")
APERTURE_ARCSEC = 2.0
LEAST_COVERED = 0.5
"""Share of a stamp below which a model gives no number."""
LEGEND = "left the models' stamp of 12.8 arcsec, right {:g} arcsec of sky; @ share of volunteers who are asked the question"


def read_challenge(folder: Path, kind: str) -> tuple[list[str], np.ndarray]:
    """Names and stamps (object, y, x, band) in nJy of ``lens`` or ``nolens``."""
    names = sorted(path.name.rsplit("-", 1)[1].removesuffix(".fits") for path in (folder / kind / "Band1").glob("*.fits"))
    stamps = []
    for name in names:
        bands = [fits.getdata(next((folder / kind / band).glob(f"*-{name}.fits"))) for band in BAND_FOLDERS.values()]
        stamps.append(np.stack(bands, axis=-1).astype(np.float64))
    images = np.stack(stamps)
    return names, np.where(images == MISSING, np.nan, images * NJY).astype(np.float32)


def challenge(given: argparse.Namespace) -> None:
    """Print the score of every stamp, best first."""
    predictor = load_model(given.model)
    rows, is_lens = [], []
    for kind in ("lens", "nolens"):
        names, stamps = read_challenge(given.folder, kind)
        predicted = predictor.predict(stamps)
        for index, name in enumerate(names):
            rows.append((float(predicted["lens_logit"][index]), float(predicted["lens_score"][index]), kind, name))
            is_lens.append(kind == "lens")
    logit = np.array([row[0] for row in rows])
    print(f"{given.model} on {len(rows)} ground stamps: AUROC {auroc(logit, np.array(is_lens)):.3f}")
    for row in sorted(rows, reverse=True):
        print(f"{row[2]:7} {row[3]}  logit {row[0]:7.2f}  score {row[1]:.3f}")


def candidates(given: argparse.Namespace) -> None:
    """Draw the stamps with the highest lens probabilities of a catalog, and print their rows."""
    config = load_config(given.config)
    table = open_catalog(config.output_path).top(given.n, by="lens_logit").to_table()
    columns = 5
    figure = Figure(figsize=(2.0 * columns, 2.25 * int(np.ceil(len(table) / columns))))
    for number, row in enumerate(table):
        axes = figure.add_subplot(int(np.ceil(len(table) / columns)), columns, number + 1)
        axes.imshow(colour_image(_survey_images(config, row, STAMP_PX * STAMP_SCALE)[0]), origin="lower")
        axes.set_title(f"{number + 1}: {row['lens_logit']:.1f}, flags {row['flags']}", fontsize=8)
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(given.output, dpi=110)
    table[[name for name in SHOWN if name in table.colnames]].pprint_all()


def blends(given: argparse.Namespace) -> None:
    """Draw the brightest peak of each blend with the models' answers, the brightest first."""
    margin = int(np.ceil(STAMP_PX * STAMP_SCALE / PIXEL_SCALE)) if given.beyond == "sky" else 0
    all_blends = read_blends(given.folder)
    found = []
    for blend in all_blends:
        filled = with_sky_around(blend, margin) if margin else blend
        peak = brightest_covered(filled, STAMP_PX, STAMP_SCALE, LEAST_COVERED, given.real)
        if peak is not None:
            y, x = map(float, blend.peaks[peak])
            stamp = cut_around(filled.image, y + margin, x + margin, STAMP_PX, STAMP_SCALE / PIXEL_SCALE)
            found.append((aperture_flux(blend.image, y, x, APERTURE_ARCSEC / PIXEL_SCALE), (blend, y, x), peak, stamp))
    if not found:
        raise InputError(f"none of {len(all_blends)} blends has a peak with half a stamp of data: give --beyond sky")
    found = sorted(found, key=lambda one: -one[0])
    found = [one for k, one in enumerate(found) if not any(is_same(one[1], other[1]) for other in found[:k])][: given.n]
    answers = _predicted(given.models, np.stack([one[-1] for one in found]))
    by_eye, objects = _by_eye(given), []
    for (flux, (blend, y, x), peak, stamp), row in zip(found, answers, strict=True):
        covered = coverage(cut_around(blend.image, y, x, STAMP_PX, STAMP_SCALE / PIXEL_SCALE)[None])[0]
        lines = [*answer_lines(row), f"the cutout fills {covered:.0%} of the stamp"]
        lines += [f"injected: {blend.injected[peak]}"] if blend.injected[peak] else []
        title = f"{blend.name[-9:]} {x:.0f} {y:.0f}  i {magnitude(np.array(flux)):.1f}"
        wide = cut_around(blend.image, y, x, int(given.wide / PIXEL_SCALE), 1.0)
        objects.append(_shown(title, stamp, wide, given.wide, lines, label_at(by_eye, blend.name, x, y)))
    _report(objects, f"{len(found)} sources of {len(all_blends)} blends, beyond the cutouts: {given.beyond}", given)


def galaxies(given: argparse.Namespace) -> None:
    """Run a survey and draw its brightest and largest galaxies, and some stars, with the catalog's answers."""
    config = load_config(given.config)
    run_survey(config, fresh=given.fresh)
    table = open_catalog(config.output_path).to_table()
    rows = choose(
        {name: np.asarray(table[name]) for name in ("flux_i", "flux_radius", "flags")}, given.n, given.stars, given.faintest
    )
    by_eye, objects = _by_eye(given), []
    for index, kind in [(index, kind) for kind, some in zip(("", "point "), rows, strict=True) for index in some]:
        row = table[int(index)]
        answers = {name: row[name] for name in table.colnames if name.startswith(("morph_", "merger_", "flags"))}
        mag = float(magnitude(np.array(row["flux_i"])))
        title = f'{kind}{row["x"]:.0f} {row["y"]:.0f}  i {mag:.1f}  r {row["flux_radius"]:.1f}"'
        label = label_at(by_eye, str(row["mosaic"]), float(row["x"]), float(row["y"]))
        stamp, wide = _survey_images(config, row, given.wide)
        objects.append(_shown(title, stamp, wide, given.wide, answer_lines(answers), label))
    _report(objects, f"{config.name}: {len(objects)} of {len(table)} sources", given)


def _survey_images(config: SurveyConfig, row: Any, wide_arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Stamp as the models get it, and a wider sky in the mosaic's own pixels, both (y, x, band)."""
    window = window_around(config, row, max(wide_arcsec, STAMP_PX * STAMP_SCALE) / 2)
    y, x = float(row["y"]) - window.y0, float(row["x"]) - window.x0
    stamp = cut_around(window.image, y, x, STAMP_PX, STAMP_SCALE / window.pixel_scale)
    return stamp, cut_around(window.image, y, x, int(wide_arcsec / window.pixel_scale), 1.0)


def _predicted(models: list[str], stamps: np.ndarray) -> list[dict[str, float]]:
    """Columns of all `models` for each stamp."""
    columns: dict[str, np.ndarray] = {}
    for model in models:
        predictor = load_model(model)
        card = predictor.card
        if (card.stamp_px, card.pixel_scale, card.bands) != (STAMP_PX, STAMP_SCALE, ["g", "r", "i"]):
            raise InputError(
                f"model {card.name!r} takes {card.stamp_px} px of {card.pixel_scale} arcsec in {', '.join(card.bands)}: "
                f"expected {STAMP_PX} px of {STAMP_SCALE} arcsec in g, r, i"
            )
        columns |= {str(name): values.values for name, values in predictor.predict(stamps).data_vars.items()}
    return [{name: float(values[index]) for name, values in columns.items()} for index in range(len(stamps))]


def _shown(title: str, stamp: np.ndarray, wide: np.ndarray, wide_arcsec: float, lines: list[str], label: str) -> Shown:
    return Shown(title, stamp, wide, STAMP_PX * STAMP_SCALE / wide_arcsec, lines, label)


def _by_eye(given: argparse.Namespace) -> ByEye:
    return read_by_eye(given.by_eye) if given.by_eye else ()


def _report(objects: list[Shown], heading: str, given: argparse.Namespace) -> None:
    """Draw the objects and print their lines."""
    for number, shown in enumerate(objects, 1):
        print(" | ".join([f"{number:3d} {shown.title}", *shown.lines, f"by eye: {shown.by_eye or '-'}"]))
    for path in draw_picture(objects, f"{heading}; {LEGEND.format(given.wide)}", given.output):
        print(path)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_sky", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(function: Callable[[argparse.Namespace], None], what: str, kind: Callable[[str], Any]) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=(function.__doc__ or "").splitlines()[0])
        added.add_argument(what, type=kind)
        added.set_defaults(function=function)
        return added

    command(challenge, "folder", Path).add_argument("--model", default="lens")
    drawn = {function: command(function, what, kind) for function, what, kind in _DRAWN}
    for function, added in drawn.items():
        added.add_argument("-o", "--output", type=Path, required=True)
        added.add_argument("--n", type=int, default={candidates: 20, blends: 36, galaxies: 24}[function])
    for function, wide in ((blends, 16.0), (galaxies, 40.0)):
        drawn[function].add_argument("--wide", type=float, default=wide, help="side of the wider sky, arcsec")
        drawn[function].add_argument("--by-eye", type=Path, help="CSV file: mosaic (or blend), x, y, label")
    drawn[blends].add_argument("--beyond", choices=("nothing", "sky"), default="nothing", help="what lies beyond a cutout")
    drawn[blends].add_argument("--real", action="store_true", help="leave out sources that were injected into the images")
    drawn[blends].add_argument("--models", nargs="+", default=["morphology", "merger"])
    drawn[galaxies].add_argument("--stars", type=int, default=3)
    drawn[galaxies].add_argument("--faintest", type=float, default=20.0, help="AB magnitude in i")
    drawn[galaxies].add_argument("--fresh", action="store_true", help="start the survey over")
    return parser


_DRAWN: tuple[tuple[Callable[[argparse.Namespace], None], str, Callable[[str], Any]], ...] = (
    (candidates, "config", str),
    (blends, "folder", Path),
    (galaxies, "config", str),
)


def main() -> int:
    """Exit code: 0, or 2 where the input cannot be used."""
    given = arguments().parse_args()
    try:
        given.function(given)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
