"""Files are whole or not there, and what a killed process leaves is known by its name."""

from __future__ import annotations

import os

import pytest

from surveycnn import durable


def test_atomic_path__leaves_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"), durable.atomic_path(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError("in the middle")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", '{"b": [1,', "[1, 2]", "null"])
def test_read_json__round_trip_and_damage(tmp_path, text):
    durable.write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert durable.read_json(tmp_path / "a.json") == {"b": [1, 2]}
    (tmp_path / "a.json").write_text(text)
    assert durable.read_json(tmp_path / "a.json") is None


def test_write_json__is_on_the_disk_before_what_follows(tmp_path, monkeypatch):
    """The file, then its name, then the folder that holds the name."""
    done, replace, fsync = [], os.replace, os.fsync

    def note_replace(old, new):
        done.append("rename")
        replace(old, new)

    def note_sync(descriptor):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_sync)
    durable.write_json(tmp_path / "a.json", {})
    assert done[0].endswith(".partial") and done[1:] == ["rename", tmp_path.name]


def test_remove_partials__knows_its_own(tmp_path):
    mine = durable.partial_path(tmp_path / "plan.json")
    other = durable.partial_path(tmp_path / "notes.txt")
    kept = [tmp_path / name for name in (".plan.json.partial", "plan.json.01234567.partial", ".vimrc")]
    for path in (mine, other, *kept):
        path.touch()
    durable.remove_partials(tmp_path, "plan.json")
    assert sorted(tmp_path.iterdir()) == sorted([other, *kept])
    durable.remove_partials(tmp_path)
    durable.remove_partials(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == sorted(kept)
