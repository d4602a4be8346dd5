"""HEALPix order-29 indices (nested) of sky positions: the order of the rows and the partitions of the catalog.

HATS has the same arithmetic, but takes seconds to import; the indices are those of the same library, so they agree bit by bit.
"""

from __future__ import annotations

import numpy as np

ORDER = 29


def healpix_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """HEALPix indices, int64, of shape (n,), of positions in degrees.

    >>> healpix_index([10.0], [0.0]).tolist()
    [1271539390176974501]
    """
    import cdshealpix
    from astropy.coordinates import Latitude, Longitude

    lon = Longitude(np.asarray(ra, dtype=np.float64), unit="deg")
    lat = Latitude(np.asarray(dec, dtype=np.float64), unit="deg")
    return cdshealpix.lonlat_to_healpix(lon, lat, ORDER).astype(np.int64)


def pixel_range(order: int, pixel: int) -> tuple[int, int]:
    """Half-open range of order-29 indices inside `pixel` of `order`.

    >>> pixel_range(29, 5), pixel_range(28, 1)
    ((5, 6), (4, 8))
    """
    shift = 2 * (ORDER - order)
    return pixel << shift, (pixel + 1) << shift


def partition(index: np.ndarray, max_rows: int, max_order: int) -> list[tuple[int, int, int, int]]:
    """Pixels (order, pixel, start, stop) that cut the sorted `index` into row ranges of at most `max_rows` rows.

    A pixel is divided into its four children while it holds more rows and is below `max_order`. The pixels cover the whole sky,
    those without rows have start == stop. The ranges follow one another, as the rows do.
    """
    done = []
    stack = [(0, pixel, *np.searchsorted(index, pixel_range(0, pixel))) for pixel in reversed(range(12))]
    while stack:
        order, pixel, start, stop = stack.pop()
        if stop - start <= max_rows or order == max_order:
            done.append((order, pixel, int(start), int(stop)))
            continue
        children = [4 * pixel + child for child in range(4)]
        edges = [np.searchsorted(index, pixel_range(order + 1, child)) for child in children]
        stack += [(order + 1, child, *edge) for child, edge in zip(reversed(children), reversed(edges), strict=True)]
    return done
