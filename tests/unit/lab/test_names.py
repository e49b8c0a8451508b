"""Names on the machine: unique per lab, short enough for the kernel, safe as paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltern.errors import PreflightError
from saltern.lab import names

labs = st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True)
hosts = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)


@given(hosts)
def test_a_port_name_fits_the_kernel(host: str) -> None:
    assert 0 < len(names.port_name(host)) <= names.INTERFACE_MAX


@given(labs, labs)
def test_two_labs_share_no_name(one: str, other: str) -> None:
    same = names.host_namespace(one, "ctl01") == names.host_namespace(other, "ctl01")
    assert same == (one == other)


def test_long_hosts_that_start_alike_get_different_ports() -> None:
    assert names.port_name("controller-east-1") != names.port_name("controller-east-2")


@pytest.mark.parametrize("bad", ["", "../etc", "Demo", "a b", "1st", "a" * 42, "x/y", "-a"])
def test_a_lab_name_is_never_a_path(bad: str) -> None:
    with pytest.raises(PreflightError, match="no lab name"):
        names.lab_tag(bad)


@pytest.mark.parametrize("bad", ["", "..", "a.b", "switch", "A"])
def test_a_host_name_is_never_a_path_nor_the_switch(bad: str) -> None:
    with pytest.raises(PreflightError, match="no host name"):
        names.host_namespace("demo", bad)


def test_an_address_without_prefix_is_a_24() -> None:
    assert str(names.interface("10.1.2.3").network) == "10.1.2.0/24"
    assert str(names.interface("10.1.2.3/16").network) == "10.1.0.0/16"


def test_a_wrong_address_is_named() -> None:
    with pytest.raises(PreflightError, match=r"'10\.1\.2\.300' is no IPv4 address"):
        names.interface("10.1.2.300")


def test_address_collisions_and_strangers_are_told() -> None:
    told = names.address_problems({"a": "10.0.0.1", "b": "10.0.0.1", "c": "10.9.0.1"})
    assert told[0] == "hosts a and b have the same address 10.0.0.1"
    assert "different networks: 10.0.0.0/24 (a), 10.9.0.0/24 (c)" in told[1]
    assert names.address_problems({"a": "10.0.0.1", "b": "10.0.0.2"}) == []
