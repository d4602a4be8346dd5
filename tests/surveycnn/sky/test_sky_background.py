import numpy as np
import pytest

from surveycnn.sky.background import clipped_sky, evaluate_mesh, finish_mesh, mesh_shape, mesh_statistics


def test_clipped_sky__finds_level_and_noise_under_sources():
    rng = np.random.default_rng(1)
    values = rng.normal(100, 3, 16384)
    values[:300] += rng.exponential(200, 300)
    sky, rms = clipped_sky(values.astype(np.float32))
    assert sky == pytest.approx(100, abs=0.15)
    assert rms == pytest.approx(3, rel=0.03)


def test_clipped_sky__crowded_cell_takes_the_median():
    sky, rms = clipped_sky(np.concatenate([np.zeros(600), np.ones(400)]).astype(np.float32))
    assert (sky, rms) == (pytest.approx(0, abs=0.01), pytest.approx(0.49, abs=0.01))


def test_clipped_sky__agrees_with_clipping_the_sorted_values():
    values = np.random.default_rng(2).standard_t(3, 16384).astype(np.float32) * 5 + 1000
    kept = values.astype(np.float64)
    for _ in range(20):
        kept = kept[np.abs(kept - np.median(kept)) <= 3 * kept.std()]
    sky, rms = clipped_sky(values)
    assert sky == pytest.approx(2.5 * np.median(kept) - 1.5 * kept.mean(), abs=0.005 * kept.std())
    assert rms == pytest.approx(kept.std(), rel=0.003)


@pytest.mark.parametrize("n_equal", [1, 300, 1000])
def test_clipped_sky__many_equal_values(n_equal):
    values = np.random.default_rng(3).normal(0, 1, 1000).astype(np.float32)
    values[:n_equal] = 0
    sky, rms = clipped_sky(values)
    assert abs(sky) < 0.1
    assert rms == 0 if n_equal == 1000 else 0 < rms < 1.1


def test_mesh_statistics__ignores_nan_and_marks_empty_and_constant_cells():
    strip = np.random.default_rng(3).normal(5, 1, (64, 256)).astype(np.float32)
    strip[:32, :64] = np.nan
    strip[:60, 64:128] = np.nan
    strip[:, 128:192] = 0
    sky, rms = mesh_statistics(strip, 64)
    assert sky.shape == (1, 4)
    assert np.isnan(sky[0]).tolist() == np.isnan(rms[0]).tolist() == [False, True, True, False]
    assert sky[0, 0] == pytest.approx(5, abs=0.1)


def test_mesh_statistics__strips_give_the_same_as_the_whole():
    image = np.random.default_rng(4).normal(0, 1, (300, 200)).astype(np.float32)
    whole = mesh_statistics(image, 64)
    parts = [mesh_statistics(image[y : y + 128], 64) for y in range(0, 300, 128)]
    for k in range(2):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])


def test_finish_mesh__fills_gaps_and_cuts_single_high_cells():
    sky, rms = np.ones((5, 5)), np.full((5, 5), 2.0)
    sky[2, 2], sky[0, 0], rms[0, 0] = 50, np.nan, np.nan
    sky, rms = finish_mesh(sky, rms)
    assert (sky == 1).all() and (rms == 2).all()


def test_finish_mesh__nothing_to_fill_from():
    with pytest.raises(ValueError, match="no mesh cell has enough good pixels"):
        finish_mesh(np.full((2, 2), np.nan), np.full((2, 2), np.nan))


def test_evaluate_mesh__is_bit_equal_in_any_window():
    ny, nx = 701, 430
    mesh = np.random.default_rng(5).normal(100, 1, mesh_shape(ny, nx, 64)).astype(np.float32)
    whole = evaluate_mesh(mesh, 0, ny, 0, nx, 64)
    assert whole.dtype == np.float32 and whole.shape == (ny, nx)
    for y0, y1, x0, x1 in [(0, 5, 0, 5), (13, 200, 7, 301), (640, 701, 333, 430), (100, 101, 0, 430), (3, 700, 429, 430)]:
        window = evaluate_mesh(mesh, y0, y1, x0, x1, 64)
        assert window.tobytes() == whole[y0:y1, x0:x1].tobytes()


def test_evaluate_mesh__is_linear_between_centres_and_constant_beyond():
    mesh = np.array([[0.0, 64.0]])
    row = evaluate_mesh(mesh, 0, 1, 0, 128, 64)[0]
    assert row[0] == 0 and row[-1] == 64
    np.testing.assert_allclose(row[32:96], np.arange(32, 96) + 0.5 - 32, rtol=1e-6)


def test_evaluate_mesh__one_cell():
    assert (evaluate_mesh(np.array([[7.0]]), 3, 9, 1, 5) == 7).all()
