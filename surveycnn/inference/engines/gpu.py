"""The GPU that engines run on, by name."""

from __future__ import annotations

from surveycnn.models.backend import import_keras


def gpu_name() -> str:
    """Name of the GPU that the Keras backend computes on."""
    backend = import_keras().backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return str(details.get("device_name", "GPU"))
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "GPU"
