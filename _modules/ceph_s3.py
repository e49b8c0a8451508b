"""
Use an object gateway over S3
=============================

Nothing but Python's standard library is needed. Where the gateways are, and who is asking, is in a
file that only root reads::

    {"endpoints": ["https://rgw01.example.test:7480"], "access_key": "…", "secret_key": "…"}

A request goes to the endpoint that answered last, then to the others, until one answers with
something else than a failure of its own: as a client with several addresses does. Requests are
signed with AWS signature version 4; keys are in no argument, answer or log.
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import ssl
import time
import urllib.parse
import xml.etree.ElementTree

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "ceph_s3"

FILE = "/etc/ceph/s3.probe.json"
CA = "/etc/saltern/pki/ca.crt"
REGION = "default"
# Seconds until another endpoint is tried, where there is one.
CONNECT = 2.0
_SAFE = "-_.~"


def __virtual__():
    return __virtualname__


def signed(method, host, path, query, body, keys, stamp, region=REGION):
    """
    Return the headers of a request, with its signature (AWS signature version 4).

    method, host, path
        Of the request; the path is not quoted yet, the host has its port unless that is the usual
    query
        List of pairs
    body
        Bytes
    keys
        Access key and secret key
    stamp
        When it is sent, UTC, ``20260102T030405Z``
    region
        Of the bucket

    CLI Example:

    .. code-block:: bash

        salt cfg01 ceph_s3.signed GET s3.example.test / '[]' '' '[id, key]' 20260102T030405Z
    """
    body = body.encode() if isinstance(body, str) else body
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    target = (urllib.parse.quote(path, safe=f"/{_SAFE}"), _query(query))
    canonical = "\n".join([method, *target, *lines, "", names, digest])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    told = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys[1]}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{told}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers


def _query(pairs):
    quoted = [[urllib.parse.quote(str(word), safe=_SAFE) for word in pair] for pair in pairs]
    return "&".join("=".join(pair) for pair in sorted(quoted))


class Client:
    """A user of the gateways; :mod:`probe_ceph` keeps one."""

    def __init__(self, file=FILE, ca=CA):
        try:
            with open(file, encoding="utf-8") as stream:
                told = json.load(stream)
            self.endpoints = [urllib.parse.urlsplit(one) for one in told["endpoints"]]
            self.keys = (str(told["access_key"]), str(told["secret_key"]))
        except OSError as err:
            raise CommandExecutionError(f"{file} cannot be read: {err.strerror}.") from None
        except (ValueError, KeyError, TypeError):
            self.endpoints = []
        if not self.endpoints or not all(one.hostname for one in self.endpoints):
            raise CommandExecutionError(
                f"{file} does not name endpoints, access_key and secret_key: apply ceph.probe."
            )
        self.tls = ssl.create_default_context()
        if os.path.exists(ca):
            self.tls.load_verify_locations(ca)
        self.last = 0

    def ask(self, method, path, body=b"", query=(), timeout=10.0):
        """Status and body of the first answer; raises CommandExecutionError when there is none."""
        end, wrong = time.monotonic() + timeout, "no time was left"
        first = self.last
        for step in range(len(self.endpoints)):
            place = (first + step) % len(self.endpoints)
            if (left := end - time.monotonic()) <= 0:
                break
            try:
                status, told = self._once(self.endpoints[place], method, path, body, query, left)
            except (OSError, http.client.HTTPException) as err:
                wrong = getattr(err, "strerror", None) or str(err) or type(err).__name__
                continue
            if status < 500:
                self.last = place
                return status, told
            wrong = f"status {status}"
        names = ", ".join(one.netloc for one in self.endpoints)
        raise CommandExecutionError(f"No gateway answers ({names}): {wrong}.")

    def _once(self, url, method, path, body, query, left):
        wait = min(left, CONNECT) if len(self.endpoints) > 1 else left
        kind, more = http.client.HTTPConnection, {}
        if url.scheme == "https":
            kind, more = http.client.HTTPSConnection, {"context": self.tls}
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = signed(method, url.netloc, path, query, body, self.keys, stamp)
        target = urllib.parse.quote(path, safe=f"/{_SAFE}")
        if query:
            target += f"?{_query(query)}"
        end = time.monotonic() + left
        with contextlib.closing(kind(url.hostname, url.port, timeout=wait, **more)) as made:
            made.connect()
            made.sock.settimeout(max(0.1, end - time.monotonic()))
            made.request(method, target, body or None, {**headers, "Connection": "close"})
            answer = made.getresponse()
            return answer.status, answer.read()


def request(method, path, body="", query=None, file=FILE, timeout=10):
    """
    Make one request; return ``{"status", "body"}``, the body in bytes.

    Raises CommandExecutionError when no gateway answers, or without the file.

    method
        ``GET``, ``PUT``, ``DELETE``, ``HEAD``
    path
        ``/bucket/key``
    body
        Text or bytes
    query
        Parameters by name
    file
        Where the gateways and the keys are
    timeout
        Seconds for all endpoints together

    CLI Example:

    .. code-block:: bash

        salt cfg01 ceph_s3.request GET /
    """
    body = body.encode() if isinstance(body, str) else body
    pairs = sorted((query or {}).items())
    status, told = Client(file).ask(method, path, body, pairs, float(timeout))
    return {"status": status, "body": told}


def objects(bucket, file=FILE, timeout=10):
    """
    Return the keys of a bucket, sorted; None when there is no such bucket.

    Raises CommandExecutionError when it cannot be told.

    bucket
        Its name
    file, timeout
        As of :py:func:`request`

    CLI Example:

    .. code-block:: bash

        salt cfg01 ceph_s3.objects saltern-data
    """
    if not bucket or "/" in bucket:
        raise SaltInvocationError(f"{bucket!r} is no name of a bucket.")
    client, found, more = Client(file), [], True
    while more:
        query = [("list-type", "2")] + ([("start-after", found[-1])] if found else [])
        status, body = client.ask("GET", f"/{bucket}", b"", query, float(timeout))
        if status == 404:
            return None
        if status != 200:
            raise CommandExecutionError(f"Bucket {bucket} cannot be listed: status {status}.")
        tree = xml.etree.ElementTree.fromstring(body)  # noqa: S314  # of the site's own gateway
        keys = [one.text for one in tree.iterfind("{*}Contents/{*}Key")]
        more = bool(keys) and tree.findtext("{*}IsTruncated") == "true"
        found += keys
    return sorted(found)
