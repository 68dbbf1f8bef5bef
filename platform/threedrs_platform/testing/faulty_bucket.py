"""A bucket that fails on demand: moto's server behind a proxy that spoils requests."""

from __future__ import annotations

import logging
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSAL = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
FAULTS = ("refused", "reset", "unheard", "cut", "garbled", "silent")
"""Answered 503; ended without an answer, before or after it was done; an answer of which half the
body comes, or one with a wrong bit; no answer at all."""
OF_BODIES = ("cut", "garbled")
SILENCE_S = 5.0
"""How long a silent request is held; clients give up before."""
_NOT_PASSED_ON = {"transfer-encoding", "connection", "content-length", "server", "date"}


class FaultyBucket:
    """Context in which a bucket exists; its requests are spoilt as told."""

    name = "chaos"

    def __init__(self, seed: int = 0) -> None:
        self.refusal_rate = 0.0
        """Share of requests that are refused."""
        self.faults = Counter[str]()
        """How many requests met each fault."""
        self._refusing_until = 0.0
        self._chance = random.Random(seed)
        self._counting = threading.Lock()
        self._kinds: tuple[str, ...] = ()
        self._seen = self._next = self._every = 0

    def __enter__(self) -> FaultyBucket:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        self._server.start()
        upstream = self._server.get_host_and_port()
        self._proxy = _Proxy(("127.0.0.1", 0), _handler(self, upstream))
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        connection = HTTPConnection(*upstream)
        connection.request("PUT", f"/{self.name}")
        connection.getresponse().read()
        return self

    def __exit__(self, *exception: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
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

    def spoil(self, *kinds: str, first: int = 1, every: int = 7) -> None:
        """Spoil the request with number `first` from now on, and each `every`th after it.

        Args:
            kinds: of `FAULTS`, in turn; none to stop.
        """
        with self._counting:
            self._kinds, self._seen, self._next, self._every = kinds, 0, first, every

    def fault(self, method: str, path: str) -> str:
        """What is to happen to this request; empty for nothing."""
        if time.monotonic() < self._refusing_until or self._chance.random() < self.refusal_rate:
            self.faults["refused"] += 1
            return "refused"
        with self._counting:
            self._seen += 1
            if not self._kinds or self._seen < self._next:
                return ""
            is_object = method == "GET" and "list-type=" not in path
            # Who answers vouches for the bodies of objects only.
            fitting = [each for each in self._kinds if is_object or each not in OF_BODIES]
            if not fitting:
                return ""
            kind = fitting[sum(self.faults.values()) % len(fitting)]
            self._next = self._seen + self._every
            self.faults[kind] += 1
            return kind

    def forget(self, fault: str) -> None:
        """Take back that a fault has happened: there was nothing to spoil."""
        with self._counting:
            self.faults[fault] -= 1


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone away."""


def _handler(bucket: FaultyBucket, upstream: tuple[str, int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self._body()
            fault = bucket.fault(self.command, self.path)
            if fault == "refused":
                self._answer(503, {"Content-Type": "application/xml"}, REFUSAL)
                return
            if fault == "reset":
                self._hang_up()
                return
            status, headers, answer = self._ask(body)
            if fault == "silent":
                time.sleep(SILENCE_S)
            if fault in ("silent", "unheard"):
                self._hang_up()
                return
            if fault == "cut":
                headers["Content-Length"] = str(len(answer))
                answer = answer[: len(answer) // 2]
            elif fault == "garbled" and (status >= 300 or not answer):
                bucket.forget(fault)
            elif fault == "garbled":
                middle = len(answer) // 2
                answer = answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
            self._answer(status, headers, answer)
            self.close_connection |= fault == "cut"

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = HTTPConnection(*upstream)
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            kept = {n: v for n, v in response.getheaders() if n.lower() not in _NOT_PASSED_ON}
            if self.command == "HEAD":
                kept["Content-Length"] = response.getheader("Content-Length") or "0"
            answer = response.read()
            connection.close()
            return response.status, kept, answer

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

        def _hang_up(self) -> None:
            """End the connection at once, without an answer."""
            self.wfile.flush()
            self.close_connection = True
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
