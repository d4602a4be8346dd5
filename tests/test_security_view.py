"""The server of the view: whom it answers, and that no request reaches files, other methods or a trace."""

from __future__ import annotations

import http.client
import json
import threading

import psutil
import pytest

from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.report import chunks_of
from surveycnn.view.answers import Answers
from surveycnn.view.server import ViewServer


@pytest.fixture(scope="module")
def server(small_run):
    with ViewServer(Answers(open_catalog(small_run), chunks_of(small_run), "runs/small")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def called(server, path, method="GET", **headers):
    """Status, headers and body of one request; `path` as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_view__listens_on_loopback_alone(server):
    places = [one.laddr for one in psutil.Process().net_connections(kind="inet") if one.status == psutil.CONN_LISTEN]
    assert [place.ip for place in places if place.port == server.server_port] == ["127.0.0.1"]


def test_view__needs_the_token(server):
    wrong = "x" * len(server.token)
    for path in ("/", "/catalog", "/view.js", f"/{wrong}/", f"/{wrong}/catalog", f"/{server.token[:-1]}/catalog", "/%E9/"):
        status, _, body = called(server, path)
        assert status == 403 and server.token.encode() not in body
    assert called(server, f"/{server.token}/catalog")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1]:80", "localhost.evil:8080"]
)
def test_view__refuses_other_names(server, host):
    status, _, body = called(server, f"/{server.token}/catalog", Host=host)
    assert status == 403 and "error" in json.loads(body)


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:1", "localhost"])
def test_view__answers_through_a_tunnel(server, host):
    assert called(server, f"/{server.token}/catalog", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "NONSENSE"])
def test_view__only_get(server, method):
    assert called(server, f"/{server.token}/catalog", method)[0] == 405


@pytest.mark.parametrize(
    "name",
    [
        *("../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "vendor/README.md", "vendor/openseadragon.min.js", "/etc/passwd"),
        *("view.py", ".", "..", "provenance.json", "work/plan.json", "%00", "view.html", "_json"),
    ],
)
def test_view__no_path_reaches_the_files(server, name):
    assert called(server, f"/{server.token}/{name}")[0] == 404


@pytest.mark.parametrize(
    "query",
    [
        "mosaic?mosaic=../../../../etc",
        "mosaic?mosaic=/etc/passwd",
        "mosaic?mosaic=m1%00",
        "mosaic",
        "source?id=abc",
        "source?id=" + "9" * 400,
        "source?id=-9223372036854775808",
        "cursor?mosaic=m1&x=nan&y=1e999",
        "sources?mosaic=m1&x0=0&y0=0&x1=9&y1=9&by=flux_r&where=__import__('os').system('true')",
        "sources?mosaic=m1&x0=0&y0=0&x1=9&y1=9&by=flux_r&where=" + "(" * 5000,
        "sources?mosaic=m1&x0=inf&y0=0&x1=9&y1=9&by=flux_r",
        "go?to=" + "%F0%9F%8C%99" * 50,
        "go?to=1e308%201e308",
        "tile?mosaic=m1&bands=i,r,g&scale=report&level=99999999999&row=0&col=0",
        "tile?mosaic=m1&bands=i,r,g&scale=report&level=0&row=-1&col=0",
        "tile?" + "&".join(f"a{i}=1" for i in range(100)),
    ],
)
def test_view__mistakes_are_json_without_a_trace(server, query, capsys):
    status, headers, body = called(server, f"/{server.token}/{query}")
    assert status in (200, 400) and headers["Content-Type"].startswith("application/json")
    assert set(json.loads(body)) == {"error"} and b"Traceback" not in body and b".py" not in body
    assert "Traceback" not in capsys.readouterr().err


def test_view__headers(server):
    for name in ("", "catalog", "view.js", "nothing"):
        _, headers, _ = called(server, f"/{server.token}/{name}")
        assert (
            headers["Content-Security-Policy"].startswith("default-src 'none'")
            and "unsafe" not in headers["Content-Security-Policy"]
        )
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and "Access-Control-Allow-Origin" not in headers
        assert "Python" not in (headers["Server"] or "")


def test_view__publishes_nothing_into_the_catalog(server, small_run):
    before = {path: path.stat().st_mtime_ns for path in small_run.rglob("*")}
    for name in ("catalog", "mosaic?mosaic=m1", "tile?mosaic=m1&bands=i,r,g&scale=report&level=1&row=0&col=0"):
        assert called(server, f"/{server.token}/{name}")[0] == 200
    assert {path: path.stat().st_mtime_ns for path in small_run.rglob("*")} == before
