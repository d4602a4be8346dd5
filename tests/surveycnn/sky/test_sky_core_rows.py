"""Rows of cores: what goes in as strips comes out as cores, from memory and from disk."""

import numpy as np
import pytest

from surveycnn.sky.core_rows import CoreRow
from surveycnn.sky.strips import Strip


@pytest.mark.parametrize("max_bytes", [0, 1 << 20])
@pytest.mark.parametrize(("ny", "nx", "core_px"), [(300, 250, 128), (100, 400, 128), (256, 256, 256), (130, 70, 64)])
@pytest.mark.parametrize("has_weight", [False, True])
def test_core_row__cores_are_those_of_the_image(tmp_path, ny, nx, core_px, max_bytes, has_weight):
    rng = np.random.default_rng(1)
    image, weight = rng.normal(size=(2, ny, nx)).astype(np.float32)
    bits = rng.integers(0, 4, (ny, nx)).astype(np.uint8)
    found = {"image": np.zeros_like(image), "weight": np.zeros_like(image), "bits": np.zeros_like(bits)}
    seen = np.zeros((ny, nx), int)
    with CoreRow(ny, nx, core_px, tmp_path, max_bytes) as row:
        for start in range(0, ny, 50):
            some = slice(start, start + 50)
            for y0, cores in row.append(Strip(start, image[some], weight[some] if has_weight else None, bits[some])):
                for x0, pixels in cores:
                    assert y0 % core_px == x0 % core_px == 0
                    assert ("weight" in pixels) == has_weight
                    height, width = pixels["image"].shape
                    place = (slice(y0, y0 + height), slice(x0, x0 + width))
                    seen[place] += 1
                    for name, values in pixels.items():
                        found[name][place] = values
    assert (seen == 1).all()
    np.testing.assert_array_equal(found["image"], image)
    np.testing.assert_array_equal(found["bits"], bits)
    if has_weight:
        np.testing.assert_array_equal(found["weight"], weight)
    assert not list(tmp_path.iterdir())
