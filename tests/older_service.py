"""An S3 service over TLS that knows nothing of newer checksums, as many do not."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from typing_extensions import override


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    refuses: bool
    """Refuse uploads with a trailer, or else store them with it."""
    flips: bool
    """Damage what is stored."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        is_chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if is_chunked else self._body()
        if self.refuses and (is_chunked or self.headers.get("x-amz-trailer")):
            self._answer(411, _error("MissingContentLength"))
            return
        self.objects[self._path] = bytes(255 - byte for byte in body) if self.flips else body
        self._answer(200, ETag='"x"')

    def do_GET(self) -> None:
        query = parse_qs(urlparse(self.path).query)
        if "list-type" in query:
            bucket, prefix = f"/{self._path.split('/')[1]}/", query.get("prefix", [""])[0]
            found = {
                key.removeprefix(bucket): content
                for key, content in sorted(self.objects.items())
                if key.startswith(bucket + prefix)
            }
            entries = "".join(
                f"<Contents><Key>{key}</Key><Size>{len(content)}</Size></Contents>"
                for key, content in found.items()
            )
            self._answer(200, f"<ListBucketResult>{entries}</ListBucketResult>".encode())
        elif self._path in self.objects:
            self._answer(200, self.objects[self._path], ETag='"x"')
        else:
            self._answer(404, _error("NoSuchKey"))

    def do_POST(self) -> None:
        """Delete several objects: by the protocol only with the older checksum."""
        self._body()
        self._answer(400, _error("MissingContentMD5"))

    def do_DELETE(self) -> None:
        self.objects.pop(self._path, None)
        self._answer(204)

    @property
    def _path(self) -> str:
        return unquote(urlparse(self.path).path)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


@contextmanager
def older_service(folder: Path, kind: str) -> Generator[tuple[str, Path]]:
    """Run one; yields its address and the certificate that its clients are to trust.

    Args:
        folder: For its certificate.
        kind: ``refuses``, ``keeps`` or ``flips``.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    told = {"objects": {}, "refuses": kind == "refuses", "flips": kind == "flips"}
    handler = type("Handler", (_Handler,), told)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_address[1]}", cert
    finally:
        server.shutdown()
        server.server_close()
