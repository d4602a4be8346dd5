"""Memory that a worker needs for a tile, added up before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surveycnn.config import TilingConfig
from surveycnn.models.card import Card

SOURCES_PER_BATCH = 512
"""Sources whose stamps are cut and scored at once: bounds the memory of stamps, whatever the crowding of the tile."""

BATCH_SIZE = 512
"""Largest batch that an engine chooses by itself, on a GPU."""

RUNTIME_BYTES = 900 * 2**20
"""Interpreter, TensorFlow, OpenVINO and the shipped models of one worker process, as measured."""

LARGEST_GROWTH = 2.25
"""Pixels of the widest window that a tile reads, over those of the configured one; one tile of a worker at a time."""

DETECTION_BYTES_PER_PIXEL = 40
"""Significance image, mask, and the trees of the deblending; up to 67 in extreme crowding, as measured."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what needs them."""

    per_thread: dict[str, int]
    """Bytes that every thread of a worker needs, by purpose."""
    growing: int = 0
    """Bytes that one thread of a worker needs besides, while its tile reads a wider window."""
    per_device: int = 0
    """Bytes of all weights and of the activations of one batch of the largest model; threads take turns at the device."""

    def per_worker(self, n_threads: int) -> int:
        """Bytes of a worker process with `n_threads` threads."""
        return RUNTIME_BYTES + n_threads * sum(self.per_thread.values()) + self.growing


def estimate_memory(tiling: TilingConfig, n_bands: int, cards: Sequence[Card]) -> MemoryEstimate:
    """Memory of one tile of `n_bands` bands in flight, and of one batch of stamps for the models of `cards`."""
    side = tiling.core_px + 2 * tiling.halo_px
    per_pixel_and_band = 4 + 4 + 1 + 1  # image, noise, masked, saturated
    stamps = max((card.stamp_px**2 * len(card.bands) * 4 for card in cards), default=0) * SOURCES_PER_BATCH
    pixels = {
        "window": side**2 * n_bands * per_pixel_and_band,
        "decoding": side**2 * n_bands * 4,
        "detection": side**2 * DETECTION_BYTES_PER_PIXEL,
    }
    return MemoryEstimate(
        pixels | {"stamps": 3 * stamps},  # as cut, scaled, and in the engine
        round((LARGEST_GROWTH - 1) * sum(pixels.values())),
        sum(4 * card.n_weights for card in cards) + BATCH_SIZE * max((card.activation_bytes for card in cards), default=0),
    )
