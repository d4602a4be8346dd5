"""Replacing the entries of a folder: old or new at every moment, by one publisher at a time, whoever reads meanwhile."""

import errno
import fcntl
import json
import subprocess
import sys
import threading

import pytest

from surveycnn.catalogs.publishing import swap
from surveycnn.errors import CatalogError


def test_finish__nothing_to_do(tmp_path):
    assert swap.finish(tmp_path) is False


def test_replace_entries__removes_what_was_left(tmp_path):
    """Retired entries whose successors are there, the staging folder of a killed publisher, entries that are links."""
    for folder in (swap.OLD, swap.STAGING):
        (tmp_path / folder / "a").mkdir(parents=True)
    (tmp_path / swap.STAGING / swap.LOCK).touch()
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    (tmp_path / "b").symlink_to(tmp_path)
    with swap.replace_entries(tmp_path, ("a", "b")) as staging:
        assert [path.name for path in staging.iterdir()] == [swap.LOCK]
        (staging / "a").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").is_dir()


HOLDS = """
import sys
from pathlib import Path
from surveycnn.catalogs.publishing import swap

with swap.replace_entries(Path(sys.argv[1]), ("a",)) as staging:
    (staging / "a").write_text("new")
    print("staged", flush=True)
    sys.stdin.read()
"""


def test_replace_entries__one_publisher_at_a_time(tmp_path):
    """The second is refused and disturbs nothing; also when the first is killed in the middle, the next one goes on."""
    for is_killed in (False, True):
        first = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert first.stdout is not None and first.stdout.readline() == "staged\n"
        with pytest.raises(CatalogError, match="another process publishes into .*: wait for it"):
            swap.replace_entries(tmp_path, ("a",)).__enter__()
        if is_killed:
            first.kill()
        first.communicate("")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.name == "a"] == [("a", "new")]
    with swap.replace_entries(tmp_path, ("a",)) as staging:
        (staging / "a").write_text("newer")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "newer"


def test_finish__waits_for_whoever_moves(tmp_path):
    """A reader that comes while entries are moved waits for the end of it, and moves nothing a second time."""
    ready = tmp_path / swap.READY
    ready.mkdir()
    (ready / swap.ENTRIES).write_text(json.dumps({"new": ["a"], "removed": []}))
    (ready / "a").write_text("new")
    with (ready / swap.ENTRIES).open("r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        reader = threading.Thread(target=swap.finish, args=(tmp_path,))
        reader.start()
        reader.join(0.2)
        assert reader.is_alive() and (ready / "a").exists()
        (ready / "a").rename(tmp_path / "a")
        (ready / swap.ENTRIES).unlink()
    reader.join()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_finish__where_files_cannot_be_locked(tmp_path, monkeypatch):
    """There, time alone tells a killed publisher from one at work."""
    ready = tmp_path / swap.READY
    ready.mkdir()
    (ready / swap.ENTRIES).write_text(json.dumps({"new": ["a"], "removed": []}))
    (ready / "a").write_text("new")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(swap.fcntl, "flock", no_locks)
    monkeypatch.setattr(swap, "PATIENCE_SECONDS", 0.05)
    assert swap.finish(tmp_path) and (tmp_path / "a").read_text() == "new"
    with swap.replace_entries(tmp_path, ("a",)) as staging:
        (staging / "a").write_text("newer")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "newer"


def test_finish__without_permission_says_who_can(tmp_path, monkeypatch):
    ready = tmp_path / swap.READY
    ready.mkdir()
    (ready / swap.ENTRIES).write_text("{}")
    monkeypatch.setattr(swap, "PATIENCE_SECONDS", 0.05)

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")  # root is never refused by a file system

    monkeypatch.setattr(swap, "_lock", refused)
    with pytest.raises(CatalogError, match=r"was interrupted, and this process cannot complete it \(Permission denied\): run"):
        swap.finish(tmp_path)


def test_read_settled__reads_again_what_was_replaced_meanwhile(tmp_path):
    """Also where the reader fails on what has just gone; what fails on a catalog at rest is its own failure."""
    seen = []

    def read():
        seen.append((tmp_path / "a").read_text())
        if len(seen) == 1:
            with swap.replace_entries(tmp_path, ("a",)) as staging:
                (staging / "a").write_text("new")
            raise KeyError("half of it")
        return seen[-1]

    (tmp_path / "a").write_text("old")
    assert swap.read_settled(tmp_path, read) == "new" and seen == ["old", "new"]
    with pytest.raises(ZeroDivisionError):
        swap.read_settled(tmp_path, lambda: 1 / 0)

    def replaced():
        with swap.replace_entries(tmp_path, ("a",)) as staging:
            (staging / "a").touch()

    with pytest.raises(CatalogError, match="is being replaced all the time"):
        swap.read_settled(tmp_path, replaced)
