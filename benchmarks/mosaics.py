"""Mosaics of any size for the benchmarks: the pixels of a real or simulated one, cropped or repeated, so that all are equally
crowded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

from surveycnn.config import SurveyConfig, load_config
from surveycnn.sky.images import open_image
from surveycnn.sky.wcs import read_wcs

_ROWS = 256


def write_repeated(path: str, plane: int | None, wcs: str | None, zeropoint: float | None, target: Path, size: int) -> None:
    """A `size` x `size` image made of the pixels of another, cropped or repeated."""
    with open_image(path, plane) as image:
        pixels = image.read(0, min(size, image.ny), 0, min(size, image.nx)).astype(np.float32)
        header = read_wcs(wcs or image.header).to_header(relax=True)
        header.update({key: image.header[key] for key in ("MAGZP", "BUNIT") if key in image.header})
    if zeropoint is not None:
        header["MAGZP"] = zeropoint
    header.insert(0, ("SIMPLE", True))
    header.insert(1, ("BITPIX", -32))
    header.insert(2, ("NAXIS", 2))
    header.insert(3, ("NAXIS1", size))
    header.insert(4, ("NAXIS2", size))
    cols = np.arange(size) % pixels.shape[1]
    target.unlink(missing_ok=True)  # a stream is appended to what is there
    stream = fits.StreamingHDU(target, header)
    for y0 in range(0, size, _ROWS):
        stream.write(pixels[np.ix_(np.arange(y0, min(y0 + _ROWS, size)) % pixels.shape[0], cols)])
    stream.close()


def mosaic_of_size(config: SurveyConfig, size: int, folder: Path, overrides: Sequence[str] = (), **changes: Any) -> SurveyConfig:
    """Configuration of a survey on one mosaic of `size` px, whose images are written into `folder`, its output below it.

    Parameters
    ----------
    config
        Its first mosaic gives the pixels.
    overrides
        ``a.b=value``, as on the command line.
    changes
        Sections of the configuration that are replaced.
    """
    mosaic = config.mosaics[0]
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for image in mosaic.images:
        write_repeated(image.path, image.plane, mosaic.wcs, image.zeropoint, folder / f"{image.band}.fits", size)
        images.append({"band": image.band, "path": f"{image.band}.fits"})
    tree = config.model_dump(mode="json") | {
        "mosaics": [{"id": f"m{size}", "images": images}],
        "output": str(folder / "out"),
        "work_dir": "",
        **changes,
    }
    (folder / "survey.yaml").write_text(yaml.safe_dump(tree))
    return load_config(folder / "survey.yaml", list(overrides))
