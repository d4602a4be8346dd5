"""Which engine computes: the candidates on this machine, and the timing that decides between several.

The choice is made once per run (:mod:`surveycnn.run.worker`): engines agree to about 1e-5, and a catalog must not depend on which
worker came to a tile.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.inference import engines

RATE_SECONDS = 0.3
"""Length of a timing; the first batch, which may compile, is not part of it."""


@dataclass(frozen=True)
class EngineChoice:
    """All that decides what a network is computed with."""

    kind: str
    """One of `surveycnn.inference.engines.KINDS`."""
    precision: str
    batch_size: int
    """Stamps a forward pass."""
    xla: bool = False
    """Whether TensorFlow compiles with XLA; the other kinds compile in their own way."""

    def __str__(self) -> str:
        return f"{self.kind} {self.precision}" + (" with XLA" if self.xla else "")


def engine_candidates(kind: str, precision: str, batch_size: str | int) -> tuple[EngineChoice, ...]:
    """What could compute on this machine, given the words of a configuration; one alone where it is known which wins.

    On a CPU it is known (:func:`surveycnn.inference.engines.resolve_kind`), and XLA, which there is slower than TensorFlow's own
    kernels, is no candidate. On a GPU TensorFlow is tried with XLA and without.

    Raises
    ------
    ModelError
        Where the engine is not to be had or a word is not known.
    """
    kind = engines.resolve_kind(kind)
    if precision not in ("auto", *engines.PRECISIONS):
        raise ModelError(f"precision {precision!r} is not known: expected auto, {', '.join(engines.PRECISIONS)}")
    is_on_gpu = kind != "openvino" and engines.has_gpu()
    if batch_size == "auto":
        on_cpu = engines.OPENVINO_BATCH if kind == "openvino" else engines.CPU_BATCH
        batch_size = engines.GPU_BATCH if is_on_gpu else on_cpu
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ModelError(f"batch_size is {batch_size!r}, expected auto or a whole number from 1")
    # never less than float32 by itself: catalogs of different machines agree, and bfloat16 moves scores by up to 0.06
    plain = EngineChoice(kind, "float32" if precision == "auto" else precision, batch_size)
    return (plain, replace(plain, xla=True)) if kind == "tensorflow" and is_on_gpu else (plain,)


def stamps_per_s(engine: engines.Engine, examples: Sequence[np.ndarray], seconds: float = RATE_SECONDS) -> float:
    """Stamps per second of the forward pass alone, from the fastest of a few batches.

    Parameters
    ----------
    engine
        One that has computed a batch before.
    examples
        Inputs of the network (object, ...), repeated to fill a batch.
    """
    batch = [np.resize(values, (engine.batch_size, *values.shape[1:])).astype(np.float32) for values in examples]
    fastest, stop = np.inf, time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        engine(*batch)
        fastest = min(fastest, time.perf_counter() - started)
        if time.perf_counter() >= stop:
            return engine.batch_size / fastest


def device_name(kind: str) -> str:
    """Name of what an engine computes on, for people."""
    if kind != "openvino" and engines.has_gpu():
        from surveycnn.inference.engines.gpu import gpu_name

        return gpu_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
