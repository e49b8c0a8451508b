"""What may be asked for, and what is refused with the place and the cure."""

from __future__ import annotations

import pytest

from saltern.errors import PlanError
from saltern.plan.request import Request


def test_a_request_from_a_command_line():
    request = Request.read(
        "change",
        "demo-core",
        {
            "nodes": "ctl02, ctl01",
            "roles": ["keystone.server"],
            "percent": "25%,50",
            "count": "2",
            "budget": 1,
            "rate": "20",
            "slo": "keystone=0.01,token=0",
            "probes": None,
            "predict": "True",
            "allow_absent": False,
            "lease_ttl": "90m",
            "accept_outage": "galera.server",
        },
    )
    assert (request.lease_ttl, request.accept_outage) == (5400.0, ("galera.server",))
    assert (request.nodes, request.roles) == (("ctl01", "ctl02"), ("keystone.server",))
    assert (request.percent, request.count, request.budget, request.rate) == ((25, 50), 2, 1, 20.0)
    assert request.slo == {"keystone": 0.01, "token": 0.0}
    assert (request.probes, request.predict, request.allow_absent) == (True, True, False)


@pytest.mark.parametrize(("told", "seconds"), [(7200, 7200), ("90", 90), ("60s", 60), ("2h", 7200)])
def test_a_time_is_seconds_or_has_a_unit(told, seconds):
    assert Request.read("change", "c", {"lease_ttl": told}).lease_ttl == seconds


def test_only_what_was_asked_beside_the_defaults_is_told():
    assert Request("change", "c").words() == {}
    words = Request.read("change", "c", {"nodes": "n1", "canary": 1, "slo": {"a": 0}}).words()
    assert words == {"nodes": ["n1"], "slo": {"a": 0.0}}


@pytest.mark.parametrize("told", [{"store": 3}, "{store: 3}", '{"store": 3}'])
def test_arguments_of_an_operation_are_a_mapping_however_they_are_written(told):
    given = {"operation": "ceph.osd.rebuild", "args": told}
    request = Request.read("operation", "c", given)
    assert (request.operation, request.arguments) == ("ceph.osd.rebuild", {"store": 3})
    assert request.words() == {"operation": "ceph.osd.rebuild", "args": {"store": 3}}


@pytest.mark.parametrize(
    ("workflow", "given", "sentence"),
    [
        ("explode", {}, "workflow: 'explode' is not one of deploy, change"),
        ("rollback", {}, "workflow: 'rollback' is not one of"),
        ("change", {"speed": 1}, "'speed' is no option of a plan. The options are accept_outage"),
        ("change", {"count": 0}, "count: 0 is not 1 or more"),
        ("change", {"count": "many"}, "count: 'many' is not a whole number"),
        ("change", {"count": 1.5}, "count: 1.5 is not a whole number"),
        ("change", {"canary": True}, "canary: True is not a whole number"),
        ("change", {"canary": -1}, "canary: -1 is not 0 or more"),
        ("change", {"percent": "50,25"}, "percent: .50, 25. is not rising shares"),
        ("change", {"percent": "100%"}, "percent: .100. is not rising shares"),
        ("change", {"rate": "nan"}, "rate: 'nan' is not a number"),
        ("change", {"soak": -1}, "soak: -1.0 is not seconds, 0 or more"),
        ("change", {"budget": None, "on_failure": "hope"}, "on_failure: 'hope' is not stop or"),
        ("change", {"roles": "keystone"}, "roles: 'keystone' is not service.role"),
        ("change", {"nodes": "ctl*"}, "nodes: 'ctl.' is not a name"),
        ("change", {"slo": "keystone"}, "slo: 'keystone' is not name=share"),
        ("change", {"slo": "keystone=2"}, "slo:keystone: 2.0 is not a share from 0 to 1"),
        ("change", {"slo": "a=0", "probes": "no"}, "probes: slo needs probes"),
        ("change", {"predict": "perhaps"}, "predict: 'perhaps' is not true or false"),
        ("change", {"lease_ttl": "90 min"}, "lease_ttl: '90 min' is not a number"),
        ("change", {"lease_ttl": "30"}, "lease_ttl: 30.0 is not a time of 60 s or more: 5400, 90m"),
        ("change", {"lease_ttl": "nan"}, "lease_ttl: 'nan' is not a number"),
        ("change", {"accept_outage": "galera"}, "accept_outage: 'galera' is not service.role"),
        ("deploy", {"accept_outage": "a.b"}, "accept_outage: a deploy takes nobody out of service"),
        (
            "scale-out",
            {"nodes": "n1", "on_failure": "rollback"},
            "on_failure: nodes that are added cannot be rolled back",
        ),
        ("deploy", {"nodes": "n1"}, "nodes: a deploy works on the whole cluster"),
        ("replace", {}, "nodes: replace works on nodes that are named.*Give nodes="),
        ("scale-out", {"nodes": "n1", "count": 1}, "count: scale-out works on nodes"),
        ("restart", {}, "roles: restart must be told what to restart"),
        ("reboot", {"roles": "a.b"}, "roles: a reboot concerns all roles"),
    ],
)
def test_what_does_not_fit_is_refused(workflow, given, sentence):
    with pytest.raises(PlanError, match=sentence):
        Request.read(workflow, "demo-core", given)


def test_a_request_needs_a_cluster():
    with pytest.raises(PlanError, match="cluster: '' is not the name of a cluster"):
        Request("change", "")
