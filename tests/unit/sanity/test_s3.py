"""Signatures of S3 are those of the protocol's own example."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("openstack")

from saltern.sanity.s3 import Credential

# AWS, "Signature Calculations for the Authorization Header", example GET Object
ACCESS = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
URL = "https://examplebucket.s3.amazonaws.com/test.txt"
SIGNATURE = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"


def then() -> datetime.datetime:
    return datetime.datetime(2013, 5, 24, tzinfo=datetime.timezone.utc)


def test_the_example_of_the_protocol() -> None:
    headers = Credential(ACCESS, SECRET).signed(
        "GET", URL, headers={"Range": "bytes=0-9"}, now=then
    )
    assert headers["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={ACCESS}/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature={SIGNATURE}"
    )
    assert headers["X-Amz-Date"] == "20130524T000000Z"


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [("PUT", URL, b""), ("GET", f"{URL}x", b""), ("GET", URL, b"x")],
)
def test_each_part_is_signed(method: str, url: str, body: bytes) -> None:
    who = Credential(ACCESS, SECRET)
    one = who.signed("GET", URL, now=then)["Authorization"]
    assert who.signed(method, url, body, now=then)["Authorization"] != one
    assert who.signed("GET", URL, now=then)["Authorization"] == one


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(Credential(ACCESS, SECRET))
