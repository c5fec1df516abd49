"""A proxy between the clients of Google Cloud Storage and an emulator of it.

TensorFlow's ``gs://`` has Google's host names compiled in, but obeys ``HTTPS_PROXY`` and
``CURL_CA_BUNDLE``: it asks for a tunnel to these hosts, and the proxy is the host at its other end.
The Python clients send plain requests (``STORAGE_EMULATOR_HOST``). All are logged, may meet a
fault, and otherwise get the emulator's answer. Who asks for credentials gets some, as from the
metadata server of a machine in Google's cloud.
"""

import http.client
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

from tests.buckets.faults import CUT, RESET, Fault, Faults

HOSTS = ["storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com"]
_PROJECT, _ACCOUNT = "test-project", "tests@test-project.iam.gserviceaccount.com"
_TOKEN = {"access_token": "of-no-use", "expires_in": 3600, "token_type": "Bearer"}
_NOT_FORWARDED = {
    *("host", "connection", "proxy-connection", "expect"),
    *("accept-encoding", "content-length", "transfer-encoding"),
}
_NOT_RETURNED = {"connection", "content-length", "transfer-encoding", "date", "server"}


@dataclass(frozen=True)
class Exchange:
    """A request and what became of it."""

    client: Literal["tls", "plain"]  # at Google's addresses, as TensorFlow; at the emulator's
    method: str
    path: str
    outcome: int | str  # HTTP status, or how the connection ended
    authorised: bool = False  # with the token of our metadata server


class Proxy(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads = True

    def __init__(self, emulator_port: int, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator_port, self.tls = emulator_port, tls
        self.faults = Faults()
        self.one_at_a_time = threading.Lock()
        self.log: list[Exchange] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed in these tests, and connections are cut."""


class _Handler(BaseHTTPRequestHandler):
    """Serves a connection: first plain, and after CONNECT what comes through the tunnel."""

    server: Proxy
    protocol_version = "HTTP/1.1"
    tunnel = ""  # host at whose end we are

    def do_CONNECT(self) -> None:
        """Be the host that is asked for, if it is one of Google's storage."""
        host = self.path.partition(":")[0]
        if host not in HOSTS:
            self._answer(502, b"this proxy leads to storage only")
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.tunnel = host
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _handle(self) -> None:
        body = self._read_body()
        if "/token" in self.path and "/b/" not in self.path:
            self._answer_json(_TOKEN)
        elif self.path.startswith("/computeMetadata") or self.path == "/":
            self._answer_metadata()
        else:
            self._relay(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _relay(self, body: bytes) -> None:
        fault = self.server.faults.find(self.command, self.path)
        if fault is None:
            status, headers, content = self._ask_on_condition(body)
            self._note(status)
            self._answer(status, content, headers)
            return
        self._note(fault.action)
        self._spoil(fault, body)

    def _spoil(self, fault: Fault, body: bytes) -> None:
        if fault.action == RESET:
            # to linger for no time is to send RST
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
        elif fault.action == CUT:
            status, headers, content = self._ask_emulator(body)
            self._answer(status, content, headers, sent=len(content) // 2)
            self.close_connection = True
        else:
            message = f"the tests say {fault.action}"
            error = {"error": {"code": fault.action, "message": message}}
            self._answer(int(fault.action), json.dumps(error).encode(), _JSON)

    def _ask_on_condition(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Keep to ``ifGenerationMatch`` of writes and deletions, which the emulator ignores."""
        url = urlsplit(self.path)
        parameters = parse_qs(url.query)
        wanted = parameters.get("ifGenerationMatch")
        if wanted is None or self.command not in ("POST", "DELETE"):
            return self._ask_emulator(body)
        with self.server.one_at_a_time:
            path = url.path.removeprefix("/upload")
            if self.command == "POST":
                name = parameters.get("name") or [
                    json.loads(text) for text in re.findall(rb'"name": ("(?:[^"\\]|\\.)*")', body)
                ]
                path += f"/{quote(name[0], safe='')}"
            if self._generation(path) != wanted[0]:
                return 412, _JSON, b'{"error": {"code": 412, "message": "conditionNotMet"}}'
            return self._ask_emulator(body)

    def _generation(self, path: str) -> str:
        """The generation of an object; 0 if there is none."""
        connection = http.client.HTTPConnection(f"127.0.0.1:{self.server.emulator_port}")
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return json.loads(content)["generation"] if answer.status == 200 else "0"

    def _ask_emulator(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        # Without the client's Host header: the emulator builds the URLs that it stores from it.
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_FORWARDED}
        method = "GET" if self.command == "HEAD" else self.command
        home = f"127.0.0.1:{self.server.emulator_port}"
        connection = http.client.HTTPConnection(home, timeout=60)
        try:
            connection.request(method, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            returned = [(k, v) for k, v in answer.getheaders() if k.lower() not in _NOT_RETURNED]
        finally:
            connection.close()
        here = f"https://{self.tunnel}" if self.tunnel else f"http://{self.server.address}"
        returned = [(k, v.replace(f"http://{home}", here)) for k, v in returned]
        if any(k.lower() == "content-type" and "json" in v for k, v in returned):
            content = content.replace(f"http://{home}".encode(), here.encode())
        return answer.status, returned, content

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer_metadata(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/project/project-id"):
            self._answer(200, _PROJECT.encode(), _METADATA)
        elif "/service-accounts/" in path:
            account = {"email": _ACCOUNT, "aliases": ["default"], "scopes": ["cloud-platform"]}
            self._answer_json(account)
        else:
            self._answer(200 if path == "/" else 404, b"", _METADATA)

    def _answer_json(self, values: dict[str, Any]) -> None:
        self._answer(200, json.dumps(values).encode(), [_METADATA[0], *_JSON])

    def _answer(
        self,
        status: int,
        content: bytes,
        headers: Iterable[tuple[str, str]] = (),
        sent: int | None = None,
    ) -> None:
        """Answer; with `sent` only that many bytes of the content."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if sent is None else content[:sent])

    def _note(self, outcome: int | str) -> None:
        client: Literal["tls", "plain"] = "tls" if self.tunnel else "plain"
        authorised = self.headers.get("Authorization") == f"Bearer {_TOKEN['access_token']}"
        self.server.log.append(Exchange(client, self.command, self.path, outcome, authorised))

    def log_message(self, *_: object) -> None:
        """Say nothing; `Proxy.log` holds all."""


_METADATA = [("Metadata-Flavor", "Google"), ("Content-Type", "text/plain")]
_JSON = [("Content-Type", "application/json; charset=UTF-8")]
