"""A web server for one site on this machine."""

import re
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from shutil import copyfileobj
from urllib.parse import unquote, urlsplit

from phantom_edge.export.targets.web.site import INDEX
from phantom_edge.foundation.errors import EdgeError

HOST = "127.0.0.1"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
HEADERS = {
    # Threads of WebAssembly need a page that is isolated from other origins.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-cache",
}
REST = re.compile(r"bytes=(\d+)-")
"""The ranges that the page asks for: all from a byte on."""


class Handler(BaseHTTPRequestHandler):
    """Answers with the files of one site, and no others."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *words: object, files: Mapping[str, Path | bytes]) -> None:
        self.files = files
        super().__init__(*words)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """A file, or the rest of one."""
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        """The headers of a file."""
        self._answer(has_body=False)

    def log_message(self, format: str, *words: object) -> None:
        """Nothing: only the command line prints."""

    def _answer(self, *, has_body: bool) -> None:
        name = unquote(urlsplit(self.path).path).removeprefix("/") or INDEX
        source = self.files.get(name)
        if source is None or (isinstance(source, Path) and not source.is_file()):
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        wanted = REST.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if wanted and start >= size:
            headers = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
            return
        headers = {"Content-Type": TYPES.get(Path(name).suffix, "application/octet-stream")}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        self._head(status, headers | {"Content-Length": str(size - start)})
        if not has_body:
            return
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            file.seek(start)
            try:
                copyfileobj(file, self.wfile)
            except ConnectionError:  # the page was closed
                self.close_connection = True

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in (HEADERS | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()


def site_server(files: Mapping[str, Path | bytes], port: int) -> ThreadingHTTPServer:
    """A server of a site's files on this machine alone; port 0 is a free one. Raises EdgeError for one in use."""
    try:
        server = ThreadingHTTPServer((HOST, port), partial(Handler, files=files))
    except OSError as error:
        remedy = "give another one: --port 0 takes a free one"
        raise EdgeError(f"port {port} cannot be used ({error.strerror})", remedy) from error
    server.daemon_threads = True
    return server
