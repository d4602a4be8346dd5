"""Training in a narrower arithmetic than the one that is saved: bfloat16 halves the bytes that a CPU or GPU has to move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surveycnn.models.backend import import_keras


def in_precision(precision: str | None, build: Callable[[], Any], train: Callable[[Any], None]) -> Any:
    """The network that `build` makes, trained by `train`, in float32; the weights are float32 throughout.

    Parameters
    ----------
    precision
        ``bfloat16`` trains a twin that computes in it; None or ``float32`` trains the network itself.
    """
    if precision in (None, "float32"):
        model = build()
        train(model)
        return model
    keras = import_keras()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        twin = build()
        train(twin)
    finally:
        keras.config.set_dtype_policy(policy)
    model = build()
    model.set_weights(twin.get_weights())
    return model
