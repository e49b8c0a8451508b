"""Writes are refused from the dump of a service's databases until its schema is proven."""

from __future__ import annotations

import pytest

from saltern.errors import PlanError
from saltern.plan.make import make
from saltern.plan.request import Request
from saltern.plan.show import show
from saltern.plan.undo import losses, undo
from saltern.rollout.ports import Lease
from tests.unit.plan.clusters import KNOWN, example, facts, touched
from tests.unit.plan.test_undo import records


@pytest.fixture(scope="module")
def demo():
    return example("demo")


def plan(demo, paces=None, **more):
    request = Request.read("upgrade", "demo", more)
    told = touched(demo, "keystone.server")
    return make(request, demo, demo, facts(demo), told, KNOWN, {}, paces or {})


def test_the_fence_is_around_the_dump_and_the_proof(demo):
    made = plan(demo, fence=True)
    (stage,) = [stage for stage in made.stages if stage.name == "finalize"]
    (wave,) = stage.waves
    kinds = [step.kind for step in wave.steps]
    assert kinds == ["gate", "drain", "runner", "call", "verify", "release"]
    drain, call = wave.steps[1], wave.steps[3]
    assert [(c.fun, c.arg) for c in drain.calls] == [("haproxy_fence.raise", ("keystone",))]
    assert [(c.fun, c.arg) for c in drain.undo] == [("haproxy_fence.lower", ("keystone",))]
    assert drain.nodes == call.nodes, "a retry there fences again"
    assert "no earlier upgrade tells how long" in show(made)
    assert "12 s each" in show(plan(demo, {"finalize": [0.2]}, fence=True))
    assert made.limits["fence"] is True


def test_nobody_is_fenced_unless_it_is_asked_for(demo):
    assert "drain" not in {s.kind for x, _, s in plan(demo).steps() if x.name == "finalize"}
    with pytest.raises(PlanError, match="nothing to fence"):
        Request.read("change", "demo", {"fence": "true"})


def test_a_rollback_fences_while_the_dump_is_loaded(demo):
    made = plan(demo, fence=True)
    back = undo(made, records(made), rollout="r1")
    (wave,) = [w for s in back.stages if s.name == "finalize" for w in s.waves]
    assert [step.kind for step in wave.steps] == ["drain", "runner", "release"]


@pytest.mark.parametrize(
    ("released", "told"),
    [
        (None, "since is lost: writes were refused from 1970-01-01 00:00:50Z on."),
        (70.0, "01:10Z is lost; from 1970-01-01 00:00:50Z until then writes were refused."),
    ],
)
def test_what_is_lost_follows_from_the_leases(demo, released, told):
    made = plan(demo, fence=True)
    known = records(made)
    (step,) = [s for x, _, s in made.steps() if x.name == "finalize" and s.kind == "drain"]
    lease = Lease("l", "r1", step.id, "ctl01", "x", step.undo, 50.0, 99.0, released)
    assert any(sentence.endswith(told) for sentence in losses(made, known, leases=[lease]))
    assert any("since 1970" in sentence for sentence in losses(made, known))
