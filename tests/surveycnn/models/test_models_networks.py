"""The networks: shapes, float32 outputs without an activation, and that they learn from all of the stamp."""

import numpy as np
import pytest

from surveycnn.models.backend import import_keras, import_openvino, is_installed
from surveycnn.models.committee import SYMMETRIES, committee, feature_network, view
from surveycnn.models.lens import build_lens
from surveycnn.models.merger import build_merger
from surveycnn.models.morphology import QUESTIONS, build_morphology
from surveycnn.models.photoz import aperture_colours, build_photoz

BUILDERS = {
    "lens": (build_lens, (64, 64, 3), 1),
    "merger": (build_merger, (64, 64, 3), 3),
    "morphology": (lambda: build_morphology(sum(map(len, QUESTIONS.values()))), (64, 64, 3), 16),
    "photoz": (build_photoz, (32, 32, 4), 15),
}


def inputs(model, stamps):
    """What a network takes: the stamps, and fluxes of 0 where it takes fluxes too."""
    others = [np.zeros((len(stamps), *tensor.shape[1:]), np.float32) for tensor in model.inputs[1:]]
    return [stamps, *others] if others else stamps


@pytest.mark.parametrize("task", BUILDERS)
def test_build__shapes_and_raw_outputs(task):
    build, shape, n_outputs = BUILDERS[task]
    model = build()
    assert model.inputs[0].shape[1:] == shape and model.output_shape[1:] == (n_outputs,)
    assert model.count_params() < 2_000_000
    last = model.layers[-1]
    assert last.activation is import_keras().activations.linear and last.compute_dtype == "float32"
    stamps = 5 * np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32)
    logits = np.asarray(model(inputs(model, stamps), training=False))
    assert len(np.unique(logits[:, 0])) == 64


@pytest.mark.parametrize("task", BUILDERS)
def test_build__sees_every_quarter_of_the_stamp(task):
    build, shape, _ = BUILDERS[task]
    model = build()
    blank = np.zeros((1, *shape), np.float32)
    for y in (8, -9):
        for x in (8, -9):
            lit = blank.copy()
            lit[0, y, x] = 5.0
            assert not np.allclose(model(inputs(model, lit)), model(inputs(model, blank)), atol=1e-7)


def test_aperture_colours__are_those_of_linear_fluxes():
    keras = import_keras()
    inputs = keras.Input((32, 32, 2))
    model = keras.Model(inputs, aperture_colours(inputs))
    y, x = np.mgrid[:32, :32] - 15.5
    blob = 50 * np.exp(-0.5 * (x**2 + y**2) / 3**2)
    stamps = np.stack([blob, 2.5 * blob], axis=-1)[None]
    features = np.asarray(model(np.arcsinh(stamps).astype(np.float32)))[0]
    assert features.shape == (2 * 4 + 4,)
    np.testing.assert_allclose(features[8:], np.log(2.5), atol=1e-3)


def test_build_photoz__starts_spread_over_redshift():
    model = build_photoz(3, start=(0.2, 0.6, 1.0))
    raw = np.asarray(model(inputs(model, np.zeros((1, 32, 32, 4), np.float32))))[0]
    np.testing.assert_allclose(raw[3:6], [0.2, 0.6, 1.0], atol=0.1)


def test_build_photoz__sees_each_flux_and_error():
    model = build_photoz()
    stamps, dark = np.zeros((1, 32, 32, 4), np.float32), np.zeros((1, 8), np.float32)
    for place in range(8):
        lit = dark.copy()
        lit[0, place] = 3.0
        assert not np.allclose(model([stamps, lit]), model([stamps, dark]), atol=1e-7)


def test_build_photoz__magnitudes_are_not_rounded_in_a_narrow_arithmetic():
    keras = import_keras()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_photoz()
    finally:
        keras.config.set_dtype_policy(policy)
    narrow = {layer.name for layer in model.layers if layer.compute_dtype == "bfloat16" and layer.weights}
    assert narrow and all(name.startswith(("conv2d", "batch_normalization")) for name in narrow)
    fluxes = np.array(
        [[8.0] * 4 + [0.0] * 4, [8.01] * 4 + [0.0] * 4], np.float32
    )  # 0.01 mag apart, an eighth of a bfloat16's step
    first, second = np.asarray(model([np.zeros((2, 32, 32, 4), np.float32), fluxes]))
    assert not np.array_equal(first, second)


def test_import_keras__is_silent_in_a_fresh_process():
    import subprocess
    import sys

    code = "from surveycnn.models.backend import import_keras; k = import_keras(); k.ops.zeros(3); print(k.backend.backend())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("tensorflow\n", "")


@pytest.mark.skipif(not is_installed("openvino"), reason="OpenVINO is not installed")
def test_import_openvino__telemetry_is_off():
    import_openvino()
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__.endswith("telemetry_stub")


def test_committee__mean_logit_and_distance_from_the_training_set():
    members = [build_lens(16, 2, widths=(4, 8)) for _ in range(2)]
    stamps = np.random.default_rng(1).normal(size=(400, 16, 16, 2)).astype(np.float32)
    features = np.concatenate([np.asarray(feature_network(member)(stamps)) for member in members], axis=1)
    mean, (values, vectors) = features.mean(axis=0), np.linalg.eigh(np.cov(features, rowvar=False) + 1e-3 * np.eye(32))
    whitening = (vectors / np.sqrt(values)) @ vectors.T
    finder = committee(members, mean, whitening)
    logit, distance = np.asarray(finder(stamps)).T
    each = [np.asarray(member(stamps, training=False))[:, 0] for member in members]
    np.testing.assert_allclose(logit, np.mean(each, axis=0), atol=1e-5)
    np.testing.assert_allclose(distance, (((features - mean) @ whitening) ** 2).mean(axis=1), rtol=1e-3)
    assert distance.mean() == pytest.approx(1.0, abs=0.15)
    far = np.asarray(finder(stamps[:20] + 30.0))[:, 1]
    assert far.min() > np.quantile(distance, 0.99)


def test_committee__views_are_averaged_and_make_it_symmetric():
    member = build_lens(16, 2, widths=(4, 8))
    stamps = np.random.default_rng(1).normal(size=(12, 16, 16, 2)).astype(np.float32)
    finder = {n: committee([member], np.zeros(16), np.eye(16), n_views=n) for n in (1, 2, 8)}
    alone, pair, all_views = (np.asarray(finder[n](stamps))[:, 0] for n in (1, 2, 8))
    mirrored = np.asarray(finder[1](stamps[:, ::-1]))[:, 0]
    np.testing.assert_allclose(pair, (alone + mirrored) / 2, atol=1e-6)
    assert np.abs(alone - mirrored).max() > 1e-4
    for changed in (stamps[:, ::-1], stamps[:, :, ::-1], np.swapaxes(stamps, 1, 2), np.rot90(stamps, axes=(1, 2))):
        np.testing.assert_allclose(np.asarray(finder[8](changed))[:, 0], all_views, atol=1e-5)


def test_symmetries__are_eight_different_ones():
    stamp = np.arange(9.0).reshape(1, 3, 3, 1)
    assert len({tuple(np.asarray(view(stamp, *symmetry)).ravel()) for symmetry in SYMMETRIES}) == 8
