"""A PostgreSQL of a test's own, from Debian's packages: on a socket in a private folder, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MISSING = "PostgreSQL is not installed here: apt-get install postgresql"
_OWNER = "postgres"


def find_programs() -> Path | None:
    """Folder with the programs of the newest PostgreSQL of this machine."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if folders:
        return folders[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def postgres(database: str = "prefect") -> Iterator[str]:
    """URL for SQLAlchemy with asyncpg of an empty database."""
    programs = find_programs()
    assert programs is not None, MISSING
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the name of a socket has 107 characters at most
    owner = _OWNER if os.geteuid() == 0 else None  # it refuses to run as root
    if owner:
        os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
    server = None
    try:
        run = {"user": owner, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
        initdb = [
            programs / "initdb",
            "--auth=trust",
            "--username=prefect",
            "--encoding=UTF8",
            "--no-sync",
            "-D",
            folder / "data",
        ]
        subprocess.run(initdb, **run)
        command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, user=owner, cwd=folder, stderr=log)
        _create(programs, folder, database, server)
        yield f"postgresql+asyncpg://prefect@/{database}?host={folder}"
    finally:
        if server is not None:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()
            server.wait()
        shutil.rmtree(folder)


def _create(programs: Path, folder: Path, database: str, server: subprocess.Popen[bytes]) -> None:
    from fault_injection import wait_for

    def created() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        command = [programs / "createdb", "-h", folder, "-U", "prefect", database]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    wait_for(created)
