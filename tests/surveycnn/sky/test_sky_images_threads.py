"""Tile-compressed images read by several threads at once: the decoder keeps its state in globals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from astropy.io import fits

from surveycnn.sky.images import open_image


def read(path: str) -> np.ndarray:
    with open_image(path) as image:
        return image.read(0, image.ny, 0, image.nx)


def test_read__of_hcompressed_images_in_threads_is_that_of_one_thread(tmp_path):
    rng = np.random.default_rng(1)
    paths = []
    for number in range(4):
        hdu = fits.CompImageHDU(
            rng.normal(100, 10, (512, 512)).astype("f4"), compression_type="HCOMPRESS_1", tile_shape=(16, 512), quantize_level=16
        )
        paths.append(str(tmp_path / f"{number}.fits"))
        hdu.writeto(paths[-1])
    alone = [read(path) for path in paths]
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(read, paths))
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
