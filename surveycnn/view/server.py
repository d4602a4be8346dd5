"""The server of the view: on this machine's loopback alone, for whoever knows the token in its address."""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import socketserver
import sys
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from surveycnn.errors import InputError, UserError
from surveycnn.view.answers import JSON, Answer, Answers

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
"""Names by which a browser may call us; another one is that of an attacker, made to point here."""
POLICY = "; ".join(
    [
        "default-src 'none'",
        "img-src 'self' data:",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
IDLE_SECONDS = 60
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class ViewServer(ThreadingHTTPServer):
    """Answers the page of one catalog; `serve_forever` runs until it is interrupted.

    Parameters
    ----------
    port
        0 for a free one.

    Raises
    ------
    InputError
        Where the port cannot be had.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, answers: Answers, port: int = 0):
        self.answers, self.token = answers, secrets.token_urlsafe(24)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise InputError(
                    f"port {port} of {LOOPBACK} is in use: give another with --port N, or none for a free one"
                ) from None
            raise InputError(
                f"port {port} of {LOOPBACK} cannot be had ({error}): give one above 1023 with --port N, or none for a free one"
            ) from None

    def server_bind(self) -> None:
        """Bind without asking the network for the name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault; anything else is shown in the terminal."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "surveycnn", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in HOSTS:
            return self._refuse(HTTPStatus.FORBIDDEN, f"this server is called {' or '.join(HOSTS)}")
        try:
            address = urlsplit(self.path)
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "the request cannot be understood")
        token, _, name = address.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.server.token.encode()):
            return self._refuse(HTTPStatus.FORBIDDEN, "open the address that the command has printed")
        try:
            answer = self.server.answers.answer(name, dict(parse_qsl(address.query, keep_blank_values=True, max_num_fields=30)))
        except UserError as error:
            # a mistake in a field of the page is answered, and no failure that a browser would note
            return self._refuse(HTTPStatus.BAD_REQUEST if name == "tile" else HTTPStatus.OK, str(error))
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "the request cannot be understood")
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server has failed: its terminal says how")
        if answer is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        self._send(HTTPStatus.OK, answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol, methods that are not known among them."""
        self.close_connection = True
        is_method = code == HTTPStatus.NOT_IMPLEMENTED
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED if is_method else code, "only GET is answered" if is_method else "no request")

    def _refuse(self, code: int, message: str) -> None:
        self._send(code, Answer(json.dumps({"error": message}).encode(), JSON))

    def _send(self, code: int, answer: Answer) -> None:
        self.send_response(code)
        is_text = answer.kind.startswith("text/") or answer.kind == JSON
        self.send_header("Content-Type", answer.kind + ("; charset=utf-8" if is_text else ""))
        self.send_header("Content-Length", str(len(answer.body)))
        # the token is new with every server, so that no address means two things
        self.send_header("Cache-Control", "private, max-age=86400, immutable" if answer.is_lasting else "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: addresses hold the token."""
