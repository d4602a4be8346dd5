"""Random numbers that are a function of a seed and the number of a source: the same whatever is drawn beside them.

The Philox 4x32 counter-based generator with ten rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
doi 10.1145/2063384.2063405), over arrays of counters; numpy's own is of one stream.
"""

from __future__ import annotations

import numpy as np

N_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(
    counter: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], key: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four 32-bit words, as uint64 arrays, of counters of four 32-bit words, as arrays that broadcast, and a key of two."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(N_ROUNDS):
        first, second = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (second >> _HALF) ^ c1 ^ np.uint64(k0),
            second & _LOW,
            (first >> _HALF) ^ c3 ^ np.uint64(k1),
            first & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, ids: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (id, n) of numbers between 0 and 1, both left out, for each of the 64-bit numbers `ids`.

    Parameters
    ----------
    seed
        From 0 to 2^64 - 1.
    """
    numbers = np.asarray(ids).astype(np.int64).view(np.uint64)[:, None]
    place = np.arange(n, dtype=np.uint64)[None, :]
    words = philox((numbers & _LOW, numbers >> _HALF, place, np.zeros((1, 1), np.uint64)), (seed & 0xFFFFFFFF, seed >> 32))
    shape = np.broadcast_shapes(numbers.shape, place.shape)
    a, b, c, d = (np.broadcast_to(word, shape) for word in words)
    return _unit(a, b), _unit(c, d)


def _unit(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """52 bits of two words as the middles of equal intervals: neither 0 nor 1 even after rounding."""
    bits = (high << np.uint64(20)) | (low >> np.uint64(12))
    return (bits.astype(np.float64) + 0.5) * 2.0**-52
