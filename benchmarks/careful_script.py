"""A careful script, as a user would write without this package: whole images, SEP, batches of 64. For benchmarks/scripts.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table

from surveycnn.config import SurveyConfig
from surveycnn.models.backend import import_keras
from surveycnn.models.package import find_card, package_folder

CARD = find_card("lens")
SIZE = CARD.stamp_px
SOFTENING = np.array([CARD.scaling.softening[band] for band in CARD.bands], np.float32)
THRESHOLD, MIN_AREA = 3.0, 5
BATCH = 64

Images = list[tuple[str, float | None]]
"""Path of the image in each of the network's bands, and its AB zero point where the header has none."""


def images_of(config: SurveyConfig) -> Images:
    """The images that a user would name at the top of the script."""
    found = {image.band: (image.path, image.zeropoint) for image in config.mosaics[0].images}
    return [found[config.bands.get(band, band)] for band in CARD.bands]


def load() -> Any:
    """The network of the shipped lens model in Keras."""
    return import_keras().saving.load_model(package_folder("lens") / "model.keras", compile=False)


def run(images: Images, model: Any, output: Path) -> int:
    """Number of sources whose positions and scores are written to `output`."""
    # Read every band, subtract its background, and bring it to nJy.
    bands, significance = [], 0.0
    for path, zeropoint in images:
        data, header = fits.getdata(path, header=True)
        data = data.astype(np.float32)
        bad = ~np.isfinite(data)
        data[bad] = 0
        background = sep.Background(data, mask=bad)
        data -= background.back()
        data[bad] = 0
        significance = significance + data / np.float32(background.globalrms)
        bands.append(data * 10 ** ((31.4 - (zeropoint or header["MAGZP"])) / 2.5))

    # Detect on the sum of the bands.
    sep.set_extract_pixstack(1_000_000)
    found = sep.extract(significance, THRESHOLD, err=len(bands) ** 0.5, minarea=MIN_AREA)
    found = found[np.argsort(-found["flux"])]

    # Cut a stamp around each source; images are padded, so that none falls off the edge.
    padded = np.pad(np.stack(bands, axis=-1), ((SIZE, SIZE), (SIZE, SIZE), (0, 0)))
    stamps = np.empty((len(found), SIZE, SIZE, len(bands)), np.float32)
    for number, (y, x) in enumerate(zip(found["y"], found["x"], strict=True)):
        y0, x0 = (int(np.floor(position)) - SIZE // 2 + 1 + SIZE for position in (y, x))
        stamps[number] = padded[y0 : y0 + SIZE, x0 : x0 + SIZE]

    # Scale, predict, calibrate, write.
    raw = model.predict(np.arcsinh(stamps / SOFTENING), batch_size=BATCH, verbose=0)
    score = 1 / (1 + np.exp(-(raw[:, 0] / CARD.calibration.temperature + CARD.calibration.bias)))
    Table({"x": found["x"], "y": found["y"], "lens_score": score}).write(output, overwrite=True)
    return len(found)
