"""A bucket that fails on demand: moto's server behind a proxy that refuses requests."""

from __future__ import annotations

import logging
import random
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSAL = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_NOT_PASSED_ON = {"transfer-encoding", "connection", "content-length", "server", "date"}


class FaultyBucket:
    """Context in which a bucket exists; its requests are refused as told."""

    name = "chaos"

    def __init__(self, seed: int = 0) -> None:
        self.refusal_rate = 0.0
        """Share of requests that are refused."""
        self.refused = 0
        self._refusing_until = 0.0
        self._chance = random.Random(seed)

    def __enter__(self) -> FaultyBucket:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
        self._server = ThreadedMotoServer(port=0)
        self._server.start()
        upstream = self._server.get_host_and_port()
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, upstream))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        connection = HTTPConnection(*upstream)
        connection.request("PUT", f"/{self.name}")
        connection.getresponse().read()
        return self

    def __exit__(self, *exception: object) -> None:
        self._proxy.shutdown()
        self._server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which boto3 finds the bucket."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "chaos",
            "AWS_SECRET_ACCESS_KEY": "chaos",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def refuse_for(self, seconds: float) -> None:
        """Refuse every request from now on for so long."""
        self._refusing_until = time.monotonic() + seconds

    def is_refusing(self) -> bool:
        """Whether this request is to fail."""
        refuses = time.monotonic() < self._refusing_until
        refuses = refuses or self._chance.random() < self.refusal_rate
        self.refused += refuses
        return refuses


def _handler(bucket: FaultyBucket, upstream: tuple[str, int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self._body()
            if bucket.is_refusing():
                self._answer(503, {"Content-Type": "application/xml"}, REFUSAL)
                return
            connection = HTTPConnection(*upstream)
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            kept = {n: v for n, v in response.getheaders() if n.lower() not in _NOT_PASSED_ON}
            if self.command == "HEAD":
                kept["Content-Length"] = response.getheader("Content-Length") or "0"
            self._answer(response.status, kept, response.read())
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
            return body

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
