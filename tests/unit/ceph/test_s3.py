"""Requests to the gateways: signed as AWS says, tried elsewhere, telling no keys."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from saltern.modules import ceph_s3
from tests.support.s3gateway import KEYS, Gateway
from tests.support.web import served

HOST, STAMP = "examplebucket.s3.amazonaws.com", "20130524T000000Z"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        (
            [("max-keys", "2"), ("prefix", "J")],
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            [("lifecycle", "")],
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
    ],
)
def test_a_request_is_signed_as_in_the_published_examples(query: Any, signature: str) -> None:
    headers = ceph_s3.signed("GET", HOST, "/", query, b"", KEYS, STAMP, region="us-east-1")
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"
    )


@pytest.fixture
def gateways() -> Iterator[list[Any]]:
    """Two gateways of one store."""
    objects: dict[str, bytes] = {}
    asked: list[Any] = []
    with (
        served(Gateway, objects=objects, asked=asked, status=0) as one,
        served(Gateway, objects=objects, asked=[], status=0) as two,
    ):
        yield [one, two]


@pytest.fixture
def file(gateways: list[Any], tmp_path: Path) -> Path:
    path = tmp_path / "s3.json"
    write(path, [server.server_address[1] for server in gateways])
    return path


def write(path: Path, ports: list[int], secret: str = KEYS[1]) -> None:
    endpoints = [f"http://127.0.0.1:{port}" for port in ports]
    told = {"endpoints": endpoints, "access_key": KEYS[0], "secret_key": secret}
    path.write_text(json.dumps(told))


def test_what_was_put_is_got(file: Path) -> None:
    assert ceph_s3.request("PUT", "/b", file=str(file))["status"] == 200
    assert ceph_s3.request("PUT", "/b/a key~1", b"\0\xff", file=str(file))["status"] == 200
    assert ceph_s3.request("GET", "/b/a key~1", file=str(file)) == {
        "status": 200,
        "body": b"\0\xff",
    }
    assert ceph_s3.request("GET", "/b/none", file=str(file))["status"] == 404


def test_a_bucket_is_listed_to_its_end(file: Path) -> None:
    assert ceph_s3.objects("b", file=str(file)) is None
    for name in ("", "/e", "/a", "/d", "/c", "/b"):
        ceph_s3.request("PUT", f"/b{name}", file=str(file))
    assert ceph_s3.objects("b", file=str(file)) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("bucket", ["", "a/b"])
def test_what_is_no_bucket_is_refused(file: Path, bucket: str) -> None:
    with pytest.raises(SaltInvocationError, match="no name of a bucket"):
        ceph_s3.objects(bucket, file=str(file))


def test_a_wrong_key_is_an_answer(file: Path, gateways: list[Any]) -> None:
    write(file, [gateways[0].server_address[1]], secret="another secret key")
    assert ceph_s3.request("GET", "/b", file=str(file))["status"] == 403
    with pytest.raises(CommandExecutionError, match="cannot be listed: status 403") as told:
        ceph_s3.objects("b", file=str(file))
    assert "another" not in str(told.value)


def test_another_gateway_is_asked_while_one_fails_and_then_stayed_with(
    file: Path, gateways: list[Any]
) -> None:
    client = ceph_s3.Client(str(file))
    gateways[0].status = 503
    assert client.ask("PUT", "/b")[0] == 200
    gateways[0].status = 0
    assert client.ask("GET", "/b")[0] == 200
    assert gateways[0].asked == [("PUT", "/b")], "not asked again"
    gateways[1].status = 500
    assert client.ask("GET", "/b")[0] == 200


def test_a_gateway_that_is_gone_is_passed_over(file: Path, gateways: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = server.getsockname()[1]
    write(file, [gone, gateways[1].server_address[1]])
    assert ceph_s3.request("PUT", "/b", file=str(file))["status"] == 200
    write(file, [gone])
    with pytest.raises(CommandExecutionError, match=rf"127.0.0.1:{gone}\): Connection refused"):
        ceph_s3.request("GET", "/b", file=str(file))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"endpoints": [], "access_key": "a", "secret_key": "b"}',
     '{"endpoints": ["nowhere"], "access_key": "a", "secret_key": "very secret"}'],
)  # fmt: skip
def test_a_file_that_lacks_something_is_refused_without_showing_it(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "s3.json"
    path.write_text(content)
    with pytest.raises(CommandExecutionError, match="does not name endpoints") as told:
        ceph_s3.request("GET", "/", file=str(path))
    assert "very" not in str(told.value)
    path.unlink()
    with pytest.raises(CommandExecutionError, match="cannot be read: No such file"):
        ceph_s3.request("GET", "/", file=str(path))
