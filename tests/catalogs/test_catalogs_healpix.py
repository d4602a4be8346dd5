import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_judges import skies

from surveycnn.catalogs.healpix import CELL_ORDER, CELL_SHIFT, healpix_index, partition, pixel_range


@settings(deadline=None, max_examples=30)
@given(skies(), st.integers(1, 50))
def test_partition__covers_the_sky_and_every_row_once(sky, max_rows):
    index = np.sort(healpix_index(sky.ra, sky.dec))
    pixels = partition(*np.unique(index >> CELL_SHIFT, return_counts=True), max_rows)
    edges = [pixel_range(*pixel) for pixel in pixels]
    assert edges[0][0] == 0 and edges[-1][1] == pixel_range(0, 11)[1]
    assert all(left[1] == right[0] for left, right in zip(edges, edges[1:], strict=False))
    counts = [np.count_nonzero((index >= low) & (index < high)) for low, high in edges]
    assert all(count <= max_rows or order == CELL_ORDER for count, (order, _) in zip(counts, pixels, strict=True))


@settings(deadline=None, max_examples=20)
@given(skies())
def test_healpix_index__same_as_hats(sky):
    from hats.pixel_math import compute_spatial_index

    assert np.array_equal(healpix_index(sky.ra, sky.dec), compute_spatial_index(sky.ra, sky.dec))
