"""Requests of the S3 protocol, signed with a user's EC2 credential (AWS Signature Version 4)."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

SERVICE = "s3"
ALGORITHM = "AWS4-HMAC-SHA256"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass(frozen=True)
class Credential:
    """An EC2 credential of Keystone. The secret is not part of ``repr``.

    :param region: part of what is signed; the gateway takes any
    """

    access: str
    secret: str = field(repr=False)
    region: str = "us-east-1"

    def signed(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        now: Callable[[], datetime.datetime] = _now,
    ) -> dict[str, str]:
        """Return the headers that make a request one of this credential's owner.

        Source: AWS General Reference, "Create a signed AWS API request".

        :param method: of HTTP
        :param url: without a query
        :param body: what is sent
        :param headers: further ones, which are signed too
        :param now: when it is sent, UTC; the gateway refuses what is a quarter of an hour off
        """
        parts = urlsplit(url)
        stamp = now().strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        sent = {
            **(headers or {}),
            "Host": parts.netloc,
            "X-Amz-Content-SHA256": digest,
            "X-Amz-Date": stamp,
        }
        lines = {name.lower(): value.strip() for name, value in sent.items()}
        names = ";".join(sorted(lines))
        request = "\n".join(
            [
                method,
                quote(parts.path or "/", safe="/-_.~"),
                "",
                *(f"{name}:{lines[name]}" for name in sorted(lines)),
                "",
                names,
                digest,
            ]
        )
        scope = f"{stamp[:8]}/{self.region}/{SERVICE}/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join([ALGORITHM, stamp, scope, hashed])
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        who = f"Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**sent, "Authorization": f"{ALGORITHM} {who}"}


def request(session: Any, who: Credential, method: str, url: str, body: bytes = b"") -> Any:
    """Send a request that ``who`` signed; return the answer.

    :param session: of keystoneauth; its own token is not sent
    :raises keystoneauth1.exceptions.HttpError: the gateway refuses
    """
    headers = who.signed(method, url, body)
    return session.request(url, method, authenticated=False, data=body, headers=headers)
