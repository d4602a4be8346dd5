"""Training sets: what augmentation keeps, and that batches repeat."""

import numpy as np
import pytest

from surveycnn.models.package import find_card
from surveycnn.training.data import (
    EXTRA_FLUX_NOISE,
    LabelledStamps,
    aperture_magnitudes,
    augment,
    batches,
    centre_cut,
    read_set,
    sky_noise,
    targets_of,
    write_set,
)


@pytest.fixture(scope="module")
def lens():
    return find_card("lens")


def test_write_set__comes_back(blobs, tmp_path):
    data = blobs("morphology", 5, 1)
    write_set(tmp_path / "set", data)
    back = read_set(tmp_path / "set")
    assert (back.task, back.bands, len(back)) == (data.task, data.bands, 5)
    np.testing.assert_array_equal(back.stamps, data.stamps)
    for question in data.labels:
        np.testing.assert_array_equal(back.labels[question], data.labels[question])


def test_augment__every_symmetry_and_the_order_kept(lens):
    stamps = np.zeros((400, 64, 64, 3), np.float32)
    stamps[:, 20, 27] = 1000 * (1 + np.arange(400))[:, None]
    out, *no_fluxes = augment(stamps, lens, np.random.default_rng(0))
    assert no_fluxes == [None, None]
    np.testing.assert_allclose(np.nanmax(out, axis=(1, 2)), stamps.max(axis=(1, 2)), rtol=0.06)
    peaks = np.array([np.unravel_index(np.nanargmax(stamp[..., 0]), (64, 64)) for stamp in out])
    corners = np.array([[20, 27], [20, 36], [43, 27], [43, 36], [27, 20], [27, 43], [36, 20], [36, 43]])
    nearest = np.abs(peaks[:, None] - corners[None]).max(axis=2)
    assert nearest.min(axis=1).max() <= 2
    assert len(np.unique(nearest.argmin(axis=1))) == 8
    assert stamps[0, 20, 27, 0] == 1000  # the input stays


def test_augment__noise_is_added_and_shifts_bring_in_no_data(lens):
    out, _, _ = augment(np.zeros((64, 64, 64, 3), np.float32), lens, np.random.default_rng(1))
    scatter = np.nanstd(out, axis=(1, 2, 3))
    assert 0 <= scatter.min() < 0.2 * scatter.max() and scatter.max() > 0.1
    missing = np.isnan(out)
    assert missing[:, 2:-2, 2:-2].sum() == 0 and missing.any()


def test_augment__fluxes_get_the_gain_of_the_stamps_and_noise_of_their_errors(lens):
    stamps = np.full((500, 64, 64, 3), 1e6, np.float32)
    flux, error = np.full((500, 3), 1e4), np.full((500, 3), 1e-6)
    out, bright, kept = augment(stamps, lens, np.random.default_rng(2), (flux, error))
    np.testing.assert_allclose(np.nanmean(out, axis=(1, 2)) / 1e6, bright / 1e4, rtol=2e-4)
    assert kept is error and np.all(flux == 1e4)
    _, noisy, _ = augment(stamps, lens, np.random.default_rng(2), (0 * flux, 0 * flux + 10.0))
    scatter = noisy.std()
    assert 10 * EXTRA_FLUX_NOISE / np.sqrt(3) == pytest.approx(scatter, rel=0.1)


def test_batches__repeat_and_change_with_the_epoch(blobs, lens):
    data = blobs("lens", 40, 0)
    first, second = (batches(data, lens, batch_size=16, seed=3) for _ in range(2))
    assert len(first) == 2
    np.testing.assert_array_equal(first[1][0], second[1][0])
    second.epoch = 1
    assert not np.array_equal(first[1][0], second[1][0])
    assert first[0][0].shape == (16, 64, 64, 3) and first[0][1].shape == (16, 1)
    assert np.isfinite(first[0][0]).all()


def test_batches__use_every_stamp_once_an_epoch(blobs, lens):
    data = blobs("lens", 32, 0)
    marked = LabelledStamps("lens", data.bands, data.stamps, {"is_lens": np.arange(32)})
    dataset = batches(marked, lens, batch_size=8, seed=0)
    seen = np.concatenate([dataset[index][1][:, 0] for index in range(len(dataset))])
    np.testing.assert_array_equal(np.sort(seen), np.arange(32))


def test_targets_of__merger_time_of_others_is_zero(blobs):
    card = find_card("merger")
    data = blobs("merger", 50, 0)
    target = targets_of(data, card)
    is_merger = data.labels["is_merger"]
    assert np.all(target[~is_merger] == 0) and np.isfinite(target).all()
    back = card.outputs.time_mean + card.outputs.time_scale * target[is_merger, 1]
    np.testing.assert_allclose(back, data.labels["time_myr"][is_merger], rtol=1e-4)


def test_targets_of__votes_in_the_order_of_the_card(blobs):
    data = blobs("morphology", 6, 0)
    card = find_card("morphology")
    votes = np.concatenate([data.labels[question] for question in card.outputs.questions], axis=1)
    np.testing.assert_array_equal(targets_of(data, card), votes)


def test_sky_noise__of_each_band(blobs):
    noise = sky_noise(blobs("photoz", 60, 0))
    assert list(noise) == ["g", "r", "i", "z"]
    assert all(value == pytest.approx(2, rel=0.05) for value in noise.values())


def test_aperture_magnitudes__of_a_known_flux():
    stamps = np.zeros((2, 64, 64, 1))
    stamps[0, 30, 33] = 100.0
    stamps[1] = -1
    np.testing.assert_allclose(aperture_magnitudes(stamps)[:, 0], [26.4, np.nan], atol=1e-6)


def test_centre_cut__odd_margins():
    stamps = np.arange(7 * 9).reshape(1, 7, 9, 1)
    np.testing.assert_array_equal(centre_cut(stamps, 4), stamps[:, 1:5, 2:6])
