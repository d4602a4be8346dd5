import numpy as np
import pytest

from surveycnn.sources.centroid import GRID_PER_PX, windowed_centroids


@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0])
def test_windowed_centroids__find_subpixel_positions(gaussian, sigma):
    rng = np.random.default_rng(1)
    image = np.zeros((300, 300))
    truth = np.array([(y, x) for y in range(30, 300, 60) for x in range(30, 300, 60)]) + rng.uniform(-0.5, 0.5, (25, 2))
    for y, x in truth:
        gaussian(image, y, x, 1000, sigma)
    peaks = np.round(truth).astype(np.int64)
    y, x, converged = windowed_centroids(image.astype(np.float32), peaks[:, 0], peaks[:, 1], 1.5)
    assert converged.all()
    np.testing.assert_allclose(np.column_stack([y, x]), truth, atol=2e-3)


def test_windowed_centroids__lie_on_the_grid_and_move_with_the_image(gaussian):
    image = np.random.default_rng(2).normal(0, 1, (60, 60))
    gaussian(image, 30.3, 28.8, 500, 2)
    image = image.astype(np.float32)
    y, x, _ = windowed_centroids(image, np.array([30]), np.array([29]), 1.5)
    assert (y * GRID_PER_PX) % 1 == 0 and (x * GRID_PER_PX) % 1 == 0
    shifted = np.zeros((400, 300), np.float32)
    shifted[301:361, 77:137] = image
    there = windowed_centroids(shifted, np.array([5, 331]), np.array([5, 106]), 1.5)
    assert there[0][1] == y[0] + 301 and there[1][1] == x[0] + 77


def test_windowed_centroids__stay_at_the_peak_where_there_is_no_light():
    image = np.full((30, 30), -1, np.float32)
    y, x, converged = windowed_centroids(image, np.array([3, 29]), np.array([4, 0]), 1.5)
    assert y.tolist() == [3, 29] and x.tolist() == [4, 0] and not converged.any()


def test_windowed_centroids__do_not_walk_to_a_brighter_neighbour(gaussian):
    image = np.zeros((60, 60))
    gaussian(image, 30, 36, 1e5, 2)
    y, x, converged = windowed_centroids(image.astype(np.float32), np.array([30]), np.array([30]), 1.5)
    assert (y[0], x[0], converged[0]) == (30, 30, False)


def test_windowed_centroids__none():
    y, x, converged = windowed_centroids(np.zeros((9, 9), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), 1.0)
    assert y.shape == x.shape == converged.shape == (0,)


def test_windowed_centroids__what_is_missing_does_not_push_them(gaussian):
    image, mask = np.zeros((60, 60)), np.zeros((60, 60), bool)
    gaussian(image, 30.2, 29.9, 1e4, 2)
    mask[:, 32:] = True
    image[mask] = 0
    peak = np.array([30]), np.array([30])
    y, x, converged = windowed_centroids(image, *peak, 1.5, mask)
    assert converged.all() and np.hypot(y[0] - 30.2, x[0] - 29.9) < 0.1
    y, x, _ = windowed_centroids(image, *peak, 1.5)
    assert np.hypot(y[0] - 30.2, x[0] - 29.9) > 0.2


def test_windowed_centroids__the_corner_of_the_image(gaussian):
    image = np.zeros((40, 40))
    gaussian(image, 0.3, 0.2, 1e4, 2)
    corner = np.array([0]), np.array([0])
    y, x, converged = windowed_centroids(image, *corner, 1.5, np.zeros(image.shape, bool))
    assert converged.all() and (y[0], x[0]) == (0, 0)


def test_windowed_centroids__neighbours_do_not_pull_them(gaussian):
    image = np.zeros((60, 60))
    gaussian(image, 30.2, 29.9, 1e4, 1.8)
    gaussian(image, 31, 37, 3e4, 1.8)
    segmentation = np.ones(image.shape, np.int32)
    segmentation[:, 34:] = 2
    peak = np.array([30]), np.array([30])
    y, x, _ = windowed_centroids(image, *peak, 1.5, None, segmentation)
    pulled_y, pulled_x, _ = windowed_centroids(image, *peak, 1.5)
    assert np.hypot(y[0] - 30.2, x[0] - 29.9) < 0.5 * np.hypot(pulled_y[0] - 30.2, pulled_x[0] - 29.9)
    assert np.hypot(y[0] - 30.2, x[0] - 29.9) < 0.15
