"""Names of sources: what is refused where two of them could be the same."""

import pytest

from surveycnn.errors import ConfigError, InputError
from surveycnn.sources.identity import check_mosaic_keys, check_mosaic_size, mosaic_key, source_ids

SAME = "field36375", "field40565"
"""The first two names of their kind whose sha256 begin with the same 29 bits."""


def test_check_mosaic_keys__names_the_pair_that_gives_the_same_numbers():
    assert mosaic_key(SAME[0]) == mosaic_key(SAME[1])
    check_mosaic_keys(["field1", SAME[0], "field2"])
    with pytest.raises(ConfigError, match=r"ids 'field36375' and 'field40565' give the same source numbers: rename one of them"):
        check_mosaic_keys(["field1", SAME[0], "field2", SAME[1]])


def test_source_ids__of_the_last_pixel_that_fits_and_of_a_mosaic_with_one_more():
    side = 1 << 17
    last = source_ids("m1", [side - 1], [side - 2], side, side - 1)[0]
    assert last - (mosaic_key("m1") << 34) == side * (side - 1) - 1 < 1 << 34
    message = r"mosaic 'm1' has 131072 x 131072 pixels, more than 17179869184: cut it into several mosaics"
    with pytest.raises(InputError, match=message):
        source_ids("m1", [0], [0], side, side)
    with pytest.raises(InputError, match=message):
        check_mosaic_size("m1", side, side)
