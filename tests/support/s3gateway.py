"""A small S3 gateway for :func:`tests.support.web.served`: checks signatures, keeps objects."""

from __future__ import annotations

import http.server
import urllib.parse
from typing import Any

from saltern.modules import ceph_s3

#: of the examples in AWS's description of signature version 4
KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


class Gateway(http.server.BaseHTTPRequestHandler):
    """Serves ``objects``, lists two keys at a time; ``asked`` is told, ``status`` answers alone."""

    def handle_any(self) -> None:
        server: Any = self.server
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        path = urllib.parse.unquote(url.path)
        server.asked.append((self.command, path))
        signed = ceph_s3.signed(
            self.command, self.headers["Host"], path, query, body, KEYS, self.headers["x-amz-date"]
        )
        if server.status:
            self.answer(server.status)
        elif self.headers["Authorization"] != signed["Authorization"]:
            self.answer(403)
        else:
            self.answer(*self.work(server.objects, path, dict(query), body))

    do_HEAD = do_GET = do_PUT = do_DELETE = handle_any

    def work(self, objects: dict[str, bytes], path: str, query: Any, body: bytes) -> Any:
        if self.command == "PUT":
            objects[path] = body
            return (200,)
        if path not in objects:
            return (404,)
        if self.command == "DELETE":
            del objects[path]
            return (204,)
        if "list-type" not in query:
            return 200, objects[path]
        keys = sorted(one.removeprefix(f"{path}/") for one in objects if one.startswith(f"{path}/"))
        left = [key for key in keys if key > query.get("start-after", "")]
        told = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in left[:2])
        more = str(len(left) > 2).lower()
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return 200, (
            f'<ListBucketResult xmlns="{space}"><IsTruncated>{more}</IsTruncated>{told}'
            "</ListBucketResult>"
        ).encode()

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Be quiet."""
