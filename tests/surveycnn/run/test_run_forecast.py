"""Forecasts: from a sample and from finished tiles; and the cuts that a sample is made of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from small_sky import ZEROPOINT, small_wcs, write_small_sky

from surveycnn.cli import main
from surveycnn.commands.overview import plan_text
from surveycnn.config import load_config
from surveycnn.errors import ConfigError
from surveycnn.run.forecast import window_pixels
from surveycnn.run.plan import make_plan
from surveycnn.run.sample import SampleWindow, sample_config, sample_windows
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import pixel_positions, sky_positions, wcs_from_text

STAGES = ("start_up", "ingest", "infer", "publish")


def check(found, n_sources: int) -> None:
    assert n_sources / 2 < found["sources"] < 2 * n_sources
    for seconds in (found["seconds"], found["seconds_left"]):
        assert tuple(seconds) == STAGES
        assert all(value >= 0 for value in seconds.values())
    assert 0 < found["tile_bytes"] < 1e7
    assert 0 < found["catalog_bytes"] < 1e7


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr("surveycnn.run.forecast.PUBLISHED_ROWS", 500)


def planned(capsys, *options: str) -> dict:
    """What ``surveycnn plan --time --json`` prints."""
    assert main(["plan", *options, "--time", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_plan__with_time_runs_a_sample(sky, small_run, tmp_path, capsys):
    output = f"output={tmp_path / 'out'}"
    found = planned(capsys, str(sky / "survey.yaml"), "--set", "models=lens", "--set", output)["forecast"]
    assert found["origin"].startswith("a sample that was run: 1 of 256 x 256 px of mosaic m1")
    assert found["seconds"] == found["seconds_left"]
    check(found, len(fits.getdata(small_run / "catalog.fits")))
    assert not (tmp_path / "out").exists(), "a forecast leaves nothing behind"


def test_plan__with_time_believes_finished_tiles(sky, small_run, capsys):
    record = planned(capsys, str(sky / "survey.yaml"), "--set", f"output={small_run}")
    found = record["forecast"]
    n_sources = len(fits.getdata(small_run / "catalog.fits"))
    assert found["origin"] == f"4 finished tiles of this run, {n_sources} sources"
    assert found["sources"] == n_sources
    assert found["seconds_left"]["ingest"] == found["seconds_left"]["infer"] == 0
    check(found, n_sources)
    text = plan_text(record)
    assert f"forecast: {n_sources} sources; start-up " in text
    assert "ingest 0 s, infer 0 s, publish " in text
    assert "an estimate from 4 finished tiles of this run" in text


def test_sample_config__cuts_pixels_and_wcs(sky, tmp_path):
    plan = make_plan(load_config(sky / "survey.yaml", ["models=lens"]))
    mosaic, window = plan.mosaics[0], SampleWindow(100, 356, 130, 386)
    config = sample_config(plan, mosaic, [window], tmp_path)
    cut = make_plan(config).mosaics[0].inputs
    assert (cut.ny, cut.nx, cut.bands) == (256, 256, mosaic.inputs.bands)
    np.testing.assert_array_equal(
        fits.getdata(cut.images[1].path), fits.getdata(sky / f"{cut.bands[1]}.fits")[100:356, 130:386].astype("f4")
    )
    here = sky_positions(wcs_from_text(cut.wcs_header), np.array([3.0]), np.array([5.0]))
    there = sky_positions(wcs_from_text(mosaic.inputs.wcs_header), np.array([133.0]), np.array([105.0]))
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9)


def test_sample_config__refuses_remote_files(sky, tmp_path):
    plan = make_plan(load_config(sky / "survey.yaml", ["models=lens"]))
    mosaic = plan.mosaics[0]
    far = mosaic.inputs.images[0].model_copy(update={"path": "https://example.org/g.fits"})
    mosaic = replace(mosaic, inputs=replace(mosaic.inputs, images=(far, *mosaic.inputs.images[1:])))
    with pytest.raises(ConfigError, match=r"time cannot be forecast from 'https://example.org/g.fits': it is remote"):
        sample_config(plan, mosaic, sample_windows(448, 512, 256), tmp_path)


def test_sample_windows__lie_apart_in_a_large_mosaic():
    first, second = sample_windows(8192, 8192, 1024)
    assert first.y1 < second.y0
    assert first.x1 < second.x0
    assert second.y1 <= 8192


def test_window_pixels__is_the_sum_over_tiles():
    grid = TileGrid("m", 700, 500, 256, 96)
    assert window_pixels(grid) == sum((t.oy1 - t.oy0) * (t.ox1 - t.ox0) for t in grid)


def test_sample_config__cuts_a_band_on_its_own_grid(tmp_path):
    rng = np.random.default_rng(4)
    write_small_sky(tmp_path, ny=448, nx=512, rng=rng)
    header = small_wcs(300, 340, pixel_scale=0.3).to_header()
    header["MAGZP"] = ZEROPOINT
    fits.writeto(tmp_path / "z.fits", rng.normal(50, 1, (300, 340)).astype("f4"), header, overwrite=True)
    plan = make_plan(load_config(tmp_path / "survey.yaml", ["models=lens"]))
    config = sample_config(plan, plan.mosaics[0], [SampleWindow(96, 352, 128, 384)], tmp_path)
    cut = make_plan(config).mosaics[0].inputs
    (grid,) = (grid for grid in cut.grids if grid)
    assert 170 < grid.ny < 300 and 170 < grid.nx < 300
    corners = np.array([0, 0, 255, 255]), np.array([0, 255, 0, 255])
    x, y = pixel_positions(wcs_from_text(grid.wcs_header), *sky_positions(wcs_from_text(cut.wcs_header), *corners))
    assert x.min() >= 0 and y.min() >= 0 and x.max() <= grid.nx - 1 and y.max() <= grid.ny - 1
