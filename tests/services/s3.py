"""An S3 server of moto's on loopback, with one bucket, which counts what is fetched from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "sky"
DENIED = "denied/"
"""Prefix of keys that nobody may read."""
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class S3Server:
    """A running server; `environment` is what a client needs to reach it."""

    endpoint: str
    fetched: list[tuple[str, int]] = field(default_factory=list)
    """Key and bytes of each GET of an object."""

    @property
    def environment(self) -> dict[str, str]:
        return KEYS | {"AWS_ENDPOINT_URL": self.endpoint}

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )

    def upload(self, folder: Path, prefix: str = "") -> None:
        """Put all files below `folder` into the bucket."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"{prefix}{path.relative_to(folder)}")

    def bytes_fetched(self) -> dict[str, int]:
        """Bytes by key since the last call."""
        found: dict[str, int] = {}
        for key, size in self.fetched:
            found[key] = found.get(key, 0) + size
        self.fetched.clear()
        return found


class _Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server on a free port of loopback, with the bucket :data:`BUCKET`."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app = DomainDispatcherApplication(create_backend_app)
    log: list[tuple[str, int]] = []

    def counting(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(f"/{BUCKET}/{DENIED}"):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code></Error>"] if environ["REQUEST_METHOD"] == "GET" else []
        body = list(app(environ, start_response))
        if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].count("/") > 1:
            log.append((environ["PATH_INFO"].removeprefix(f"/{BUCKET}/"), sum(map(len, body))))
        return body

    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)  # moto is a client of itself
    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        found = S3Server(f"http://127.0.0.1:{server.server_port}", log)
        found.client().create_bucket(Bucket=BUCKET)
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
