import numpy as np
import pytest


def draw_gaussian(image, y, x, flux, sigma):
    """Add a round Gaussian to `image`, sampled at the pixel centres."""
    reach = int(6 * sigma) + 2
    y0, x0 = int(round(y)), int(round(x))
    rows = slice(max(y0 - reach, 0), y0 + reach + 1)
    cols = slice(max(x0 - reach, 0), x0 + reach + 1)
    yy, xx = np.mgrid[rows, cols][:, : image.shape[0] - rows.start, : image.shape[1] - cols.start]
    image[rows, cols] += flux * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture
def gaussian():
    return draw_gaussian


@pytest.fixture(scope="session")
def crowded_sky():
    """(3, 520, 600) image, its noise, and no masks: stars, galaxies, a large spiral's worth of clumps, and noise of 1 nJy."""
    rng = np.random.default_rng(42)
    clean = np.zeros((520, 600))
    for _ in range(500):
        draw_gaussian(clean, *rng.uniform(0, [519, 599]), 10 ** rng.uniform(1.5, 3.5), rng.uniform(1.2, 3))
    for _ in range(120):
        draw_gaussian(clean, *rng.normal([250, 300], 30), 10 ** rng.uniform(2, 3), rng.uniform(1.5, 4))
    draw_gaussian(clean, 250, 300, 2e5, 25)
    draw_gaussian(clean, 90.3, 480.2, 1e6, 4)
    image = np.stack([clean * scale + rng.normal(0, 1, clean.shape) for scale in (0.5, 1, 1.5)]).astype(np.float32)
    image[:, 400:410, 100:180] = np.nan
    rms = np.where(np.isnan(image), np.nan, np.float32(1)).astype(np.float32)
    return image, rms
