"""What `benchmarks/photometry_truth.py` says of images made here."""

import sys

import numpy as np
import pytest

from benchmarks import photometry_truth
from surveycnn.errors import InputError

MAGS = {"g": 22.0, "r": 21.5, "i": 21.0, "z": 20.8, "y": 20.7}
N_CUTOUTS = 8


@pytest.fixture(scope="module")
def blends(tmp_path_factory):
    """Folder of cutouts of the form of HSC blends: an injected galaxy, and beside it a source of half its brightness."""
    folder = tmp_path_factory.mktemp("blends")
    rng = np.random.default_rng(4)
    rows, cols = np.indices((50, 60))
    for number in range(N_CUTOUTS):
        y, x = rng.uniform(24, 26), rng.uniform(24, 26)
        light = sum(
            share * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x - shift) ** 2) / 2.0**2) / (8 * np.pi)
            for shift, share in ((0, 1), (8, 0.5))
        )
        images = np.stack([light * 10 ** (0.4 * (27 - mag)) for mag in MAGS.values()])
        matched = np.zeros(1, [(f"{band}magVar", "f8") for band in MAGS] + [("y", "f8"), ("x", "f8"), ("sourceType", "S6")])
        matched[0] = (*MAGS.values(), y, x, b"galaxy")
        noise = rng.normal(0, 0.05, images.shape)
        arrays = {"images": (images + noise).astype("f4"), "variance": np.full(images.shape, 0.05**2, "f4")}
        np.savez(folder / f"{number}.npz", **arrays, mask=np.zeros(images.shape, "i4"), matched=matched)
    return folder


def rows_of(text, aperture, what):
    """Cells of the rows of a table, by band."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {line[2]: line[3:] for line in lines if line[:2] == [aperture, what]}


def test_photometry_truth__prints_bias_and_scatter(blends, monkeypatch, capsys):
    texts = {}
    for neighbours in ("replace", "keep"):
        monkeypatch.setattr(sys, "argv", ["photometry_truth", str(blends), "--neighbours", neighbours])
        photometry_truth.main()
        texts[neighbours] = capsys.readouterr().out
    assert f"{N_CUTOUTS} of {N_CUTOUTS} true sources found" in texts["replace"]
    apart, together = (rows_of(texts[key], "Kron-like", "galaxies, blended") for key in ("replace", "keep"))
    assert list(apart) == [*MAGS, "g - r", "r - i", "i - z"]
    for band in MAGS:
        assert apart[band][0] == str(N_CUTOUTS) and apart[band][3] == "0.0 %"
        assert abs(float(apart[band][1])) < 0.3 * abs(float(together[band][1]))
    assert abs(float(apart["g - r"][1])) < 0.02


def test_photometry_truth__folder_without_blends(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["photometry_truth", str(tmp_path)])
    with pytest.raises(InputError, match="holds no .npz files"):
        photometry_truth.main()


def test_statistics__of_a_known_scatter():
    rng = np.random.default_rng(1)
    true, error = np.full(4000, 1000.0), np.full(4000, 20.0)
    cells = photometry_truth.statistics(true, 1.1 * true + rng.normal(0, 20, 4000), error).split("|")
    assert float(cells[1]) == pytest.approx(-2.5 * np.log10(1.1), abs=2e-3)
    assert float(cells[2]) == pytest.approx(1.0857 * 20 / 1100, rel=0.1)
    assert float(cells[4]) == pytest.approx(5, abs=0.1) and float(cells[5]) == pytest.approx(1, abs=0.1)
    assert photometry_truth.statistics(true[:3], true[:3], error[:3]).startswith("3 |")
