"""Pictures of candidates: pixels of the right place, the right way up, and reasons where there are none."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from astropy.wcs import WCS
from PIL import Image

from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.report import chunks_of
from surveycnn.errors import InputError
from surveycnn.report.pixels import colour, colour_bands, compass
from surveycnn.report.stamps import Place, _Mosaic, cut_pictures, data_uri
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.tiling import Tile


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def test_cut__is_the_window_of_the_store(small_run):
    chunks = ChunkStore.open(WorkStore(small_run / "work").chunk_path("m1"))
    cut = _Mosaic(chunks, ("i", "r", "g")).cut(Place("m1", 200.4, 150.7))
    size = cut.shape[1]
    assert size == 128
    y0, x0 = (round(centre - (size - 1) / 2) for centre in (150.7, 200.4))
    window = chunks.read_window(Tile("m1", 0, 0, y0, y0 + size, x0, x0 + size, 0, chunks.ny, chunks.nx), ("i", "r", "g"))
    np.testing.assert_array_equal(cut, window.image)


def test_cut__beyond_the_edge_and_without_data(small_run):
    chunks = ChunkStore.open(WorkStore(small_run / "work").chunk_path("m1"))
    mosaic = _Mosaic(chunks, ("i", "r", "Y"))
    cut = mosaic.cut(Place("m1", 0.0, 0.0))
    assert np.isnan(cut[:, :60, :]).all() and np.isfinite(cut[:2, 70:, 70:]).all() and np.isnan(cut[2]).all()
    assert np.isnan(mosaic.cut(Place("m1", 9000.0, 0.0))).all()
    with pytest.raises(InputError, match="has no position"):
        mosaic.cut(Place("m1", np.nan, 0.0))


def test_pictures__of_sources_are_bright_in_the_middle(small_run):
    rows = open_catalog(small_run).where("is_primary and flux_r > 2000 and flags == 0").to_pandas().head(8)
    places = [Place(row.mosaic, row.x, row.y) for row in rows.itertuples()]
    found = cut_pictures(places, ("g", "r", "i", "z"), chunks_of(small_run))
    assert found.bands == ("i", "r", "g") and found.reason == "" and len(found.uris) == len(rows) > 3
    for uri in found.uris:
        values = picture(uri).sum(axis=2)
        assert values[60:68, 60:68].mean() > 2 * np.median(values) + 30


def test_pictures__say_why_there_are_none(small_run):
    found = cut_pictures([Place("../../etc", 1.0, 1.0), Place("m1", 99.0, 99.0)], ("r",), chunks_of(small_run))
    assert found.uris[0] is None and found.uris[1] is not None and found.bands == ("r",)
    assert "is no name of a mosaic" in found.reason


def test_colour__is_right_and_up():
    image = np.zeros((3, 32, 32), np.float32)
    image[0, 28, 16] = 100.0  # red, high y
    image[2, 16, 28] = 100.0  # blue, high x
    image[:, :4] = np.nan
    rgb = colour(image, np.ones(3), np.ones(3)).astype(int)
    assert rgb[3, 16, 0] > rgb[3, 16, 1] + 50  # high y is up
    assert rgb[15, 28, 2] > rgb[15, 28, 0] + 50
    assert len(np.unique(rgb[28:].reshape(-1, 3), axis=0)) == 1  # no data
    assert data_uri(colour(image, np.ones(3), np.ones(3)).astype(np.uint8)).startswith("data:image/webp;base64,")


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("u", "g", "r", "i", "Z"), ("i", "r", "g")),
        (("u", "g", "r"), ("r", "g", "u")),
        (("g", "z"), ("z", "g", "g")),
        (("VIS",), ("VIS",)),
        ((), ()),
    ],
)
def test_colour_bands(bands, expected):
    assert colour_bands(bands) == expected


class Sky:
    """What the compass asks a chunk store for."""

    def __init__(self, angle, mirrored, dec):
        self.nx = self.ny = 201
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval, self.wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, dec], [101.0, 101.0]
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        east = 1.0 if mirrored else -1.0
        # columns of the inverse: north is turned by `angle` to the left, east a quarter further, or on the other side
        pixels = np.array([[east * c, -s], [east * s, c]])
        self.wcs.wcs.cd = np.linalg.inv(pixels) * 1e-4


@pytest.mark.parametrize("angle", [-170.0, -30.0, 0.0, 90.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("dec", [-60.0, 2.0, 89.99])
def test_compass(angle, mirrored, dec):
    found, is_east_left = compass(Sky(angle, mirrored, dec))
    assert found == pytest.approx(angle, abs=1.0) and is_east_left is not mirrored
