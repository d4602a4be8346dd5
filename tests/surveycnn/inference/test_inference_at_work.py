"""Threads that share an engine: the numbers are those of one thread alone, bit for bit."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from surveycnn.inference.at_work import at_work, n_at_work
from surveycnn.inference.load import load_model


@pytest.mark.parametrize("model", ["lens", "photoz"])
def test_engine__shared_by_threads_gives_the_same_bits(model):
    predictor = load_model(model, engine="openvino", n_threads=2)
    rng = np.random.default_rng(3)
    stamps = rng.normal(0, 20, (40, *predictor.card.input_shape)).astype(np.float32)
    alone = predictor.predict_raw(stamps)
    meet = Barrier(2)

    def predict(_):
        with at_work():
            meet.wait()
            assert n_at_work() == 2
            raw = predictor.predict_raw(stamps)
            meet.wait()
        return raw

    with ThreadPoolExecutor(2) as pool:
        for raw in pool.map(predict, range(2)):
            np.testing.assert_array_equal(raw, alone)
    assert n_at_work() == 0


def test_engine__is_shared_by_threads_that_are_at_no_work():
    predictor = load_model("lens", engine="openvino", n_threads=2)
    stamps = np.ones((20, *predictor.card.input_shape), np.float32)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: predictor.predict_raw(stamps), range(4)))
    for raw in results[1:]:
        np.testing.assert_array_equal(raw, results[0])
