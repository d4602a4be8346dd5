"""One tile: pure, complete, empty where there is nothing, flagged where a model should not be trusted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveycnn.catalogs.columns import domain_column_name
from surveycnn.catalogs.flags import has_flag
from surveycnn.config import EngineConfig, load_config
from surveycnn.run.plan import make_plan
from surveycnn.run.scoring import magnitudes
from surveycnn.run.stages import RunTile, empty_parts
from surveycnn.run.store import WorkStore
from surveycnn.run.tile import DetectionSettings, detection_maps, process_tile
from surveycnn.run.widen import reopen_window
from surveycnn.sky.chunks import ChunkStore


@pytest.fixture(scope="module")
def parts(small_run, sky):
    """A tile of the small sky with its window, models and settings."""
    plan = make_plan(load_config(sky / "survey.yaml", [f"output={small_run}"]))
    mosaic = plan.mosaics[0]
    settings = DetectionSettings(mosaic.detection_bands, 3.0, 5)
    store = WorkStore(small_run / "work")
    tile = mosaic.grid.tile(0, 1)
    window = ChunkStore.open(store.chunk_path("m1")).read_window(tile)
    function = RunTile(str(store.root), settings, mosaic.models, EngineConfig(), None)
    return tile, window, function.tile_models, settings


def test_process_tile__gives_the_same_rows_twice(parts):
    first, second = process_tile(*parts), process_tile(*parts)
    assert first.sizes["source"] > 10
    assert first.equals(second)


def test_process_tile__owns_its_core_only(parts):
    tile, window, models, settings = parts
    rows = process_tile(tile, window, models, settings)
    assert (rows["x"].values >= tile.x0 - 3).all() and (rows["x"].values < tile.x1 + 3).all()
    assert (np.diff(rows["source_id"].values) > 0).all()


def test_process_tile__without_sources_has_every_column_and_loads_nothing_twice(parts):
    tile, window, models, settings = parts
    empty = process_tile(tile, window, models, DetectionSettings(settings.bands, 1000.0, 5))
    full = process_tile(*parts)
    assert empty.sizes["source"] == 0
    assert {name: array.dtype for name, array in empty.data_vars.items()} == {name: a.dtype for name, a in full.data_vars.items()}


def test_process_tile__names_its_steps(parts):
    seen: list[str] = []

    @contextmanager
    def step(name: str):
        seen.append(name)
        yield

    process_tile(*parts, step)
    assert seen[:3] == ["detect", "measure", "load"]
    assert set(seen) == {"detect", "measure", "load", "stamps", "predict", "forward"}


def test_process_tile__flags_sources_unlike_a_models_training_set(parts):
    tile, window, models, settings = parts
    rows = process_tile(tile, window, models, settings)
    cards = [model.predictor.card for model in models()]
    for card in cards:
        magnitude = magnitudes(rows[f"flux_{card.domain.band}"].values)
        outside = ~((magnitude >= card.domain.magnitude[0]) & (magnitude <= card.domain.magnitude[1]))
        unlike = rows[domain_column_name(card.task)].values > 1 if card.has_distance else np.zeros(len(outside), bool)
        np.testing.assert_array_equal(has_flag(rows["flags"].values, f"outside_domain_{card.task}"), outside | unlike)
    assert any(card.has_distance for card in cards)


def test_empty_parts__finds_blocks_without_data(parts):
    tile, window, _, settings = parts
    assert empty_parts(tile, window, detection_maps(window, settings)) == []
    image = window.image.copy()
    image[:, 64 - window.y0 : 128 - window.y0, 256 - window.x0 : 320 - window.x0] = np.nan
    maps = detection_maps(replace(window, image=image), settings)
    assert empty_parts(tile, window, maps) == [(64, 128, 256, 320)]


def test_reopen_window__of_a_tile_that_needed_a_wider_one_has_the_same_pixels(parts, small_run):
    tile, window, _, _ = parts
    chunks = ChunkStore.open(WorkStore(small_run / "work").chunk_path("m1"))
    wide = chunks.read_window(replace(tile, halo=160))
    for halo, expected in ((96, window), (160, wide)):
        with reopen_window(chunks, tile, halo, ["r", "z"]) as again:
            np.testing.assert_array_equal(again.image, expected.image[[1, 3]])
            assert (again.y0, again.x0) == (expected.y0, expected.x0)
    assert wide.image.shape != window.image.shape


@given(st.floats(1e-3, 1e12))
def test_magnitudes__and_back(flux):
    assert np.isclose(10 ** (-0.4 * (magnitudes(np.array([flux]))[0] - 31.4)), flux)


def test_magnitudes__of_no_light_is_nan():
    assert np.isnan(magnitudes(np.array([0.0, -1.0, np.nan]))).all()


def test_process_tile__dust_of_the_milky_way_changes_redshifts_and_no_flux(parts):
    tile, window, models, settings = parts
    clear = process_tile(tile, window, models, settings)
    dusty = process_tile(tile, window, lambda: [replace(model, ebv=0.2) for model in models()], settings)
    changed = {str(name) for name in clear.data_vars if not clear[name].equals(dusty[name])}
    assert {"z_phot", "pz_mean", "pz_domain"} <= changed
    assert all(name.startswith(("z_", "pz_")) or name in ("flags", "_flags_photoz") for name in changed)


def test_process_tile__flags_stamps_with_missing_pixels(parts):
    """Those beside the hole of the small sky and at its edges, and no others."""
    tile, window, models, settings = parts
    rows = process_tile(tile, window, models, settings)
    reach = 32.5  # half a stamp
    missing = np.pad(np.isnan(window.image).any(axis=0), 60, constant_values=True)
    incomplete = []
    for y, x in zip(rows["y"].values - window.y0 + 60, rows["x"].values - window.x0 + 60, strict=True):
        square = (slice(int(y - reach) + 1, int(y + reach)), slice(int(x - reach) + 1, int(x + reach)))
        incomplete.append(bool(missing[square].any()))
    found = has_flag(rows["flags"].values, "stamp_incomplete")
    assert 0 < found.sum() < len(found)
    assert (found != np.array(incomplete)).mean() < 0.05  # a pixel more or less at the rim of a stamp
