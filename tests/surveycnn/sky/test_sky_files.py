import bz2
import gzip
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import file_sha256, header_bytes, is_remote, local_bytes, remote_size


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


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_local_bytes__digest_of_what_is_stored_comes_with_a_copy(suffix, compress):
    import fsspec

    url, content = f"memory://sky/digest.fits{suffix}", bytes(range(256)) * 100
    stored = compress(content) + (b"" if not suffix else b"\0" * 100)  # padding, which decompressors leave
    with fsspec.open(url, "wb") as stream:
        stream.write(stored)
    with local_bytes(url) as copy:
        assert copy.read() == content
        assert copy.sha256 == file_sha256(url) == hashlib.sha256(stored).hexdigest()


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


class _Refusing(BaseHTTPRequestHandler):
    """A web server that says how long a file is, and answers with the number in its name when it shall give it."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "5760")
        self.end_headers()

    def do_GET(self):
        self.send_response(int(self.path.strip("/").partition(".")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("reading", [file_sha256, local_bytes, header_bytes])
@pytest.mark.parametrize("status", ["403", "500"])
def test_local_bytes__server_that_gives_nothing(web, reading, status):
    assert remote_size(f"{web}/{status}.fits") == 5760
    message = rf"file 'http://.*/{status}.fits' cannot be fetched \({status}, .*\): check the address and the permissions"
    with pytest.raises(InputError, match=message):
        reading(f"{web}/{status}.fits")


def test_local_bytes__file_that_may_not_be_read(tmp_path):
    path = tmp_path / "g.fits"
    path.write_bytes(b"SIMPLE")
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"file '.*g.fits' may not be read \(Permission denied\): correct its permissions"):
            local_bytes(str(path))
    finally:
        if is_root:
            os.seteuid(0)
