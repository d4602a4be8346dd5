import bz2
import gzip
import hashlib

import pytest

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import file_sha256, is_remote, local_bytes


def test_split_path__cfitsio_forms():
    assert split_path("s3://b/r.fits[1]") == ("s3://b/r.fits", 1)
    assert split_path("a[b]/r.fits") == ("a[b]/r.fits", None)
    assert split_path("r.fits[SCI,2]") == ("r.fits", "SCI,2")


def test_is_remote__schemes():
    assert is_remote("https://a/b.fits") and not is_remote("/a/b.fits") and not is_remote("file:///a/b.fits")


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_local_bytes__plain_and_compressed(tmp_path, suffix, compress):
    content = bytes(range(256)) * 100
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(compress(content))
    with local_bytes(str(path)) as stream:
        assert stream.read() == content
        stream.seek(300)
        assert stream.read(2) == content[300:302]
    assert file_sha256(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_local_bytes__through_fsspec():
    import fsspec

    with fsspec.open("memory://sky/a.bin", "wb") as stream:
        stream.write(b"pixels")
    with local_bytes("memory://sky/a.bin") as stream:
        assert stream.read() == b"pixels"
    with pytest.raises(InputError, match="'memory://sky/b.bin' does not exist"):
        local_bytes("memory://sky/b.bin")


def test_local_bytes__missing(tmp_path):
    with pytest.raises(InputError, match="does not exist: correct the path"):
        local_bytes(str(tmp_path / "a.fits"))
    with pytest.raises(InputError, match="does not exist"):
        file_sha256(str(tmp_path / "a.fits"))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_local_bytes__damaged_compression(tmp_path, suffix, compress):
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(compress(bytes(range(256)) * 100)[:-20])
    with pytest.raises(InputError, match="is damaged or cut short"):
        local_bytes(str(path))
    path.write_bytes(b"not compressed at all")
    with pytest.raises(InputError, match="is damaged or cut short"):
        local_bytes(str(path))
