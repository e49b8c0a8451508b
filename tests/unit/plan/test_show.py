"""What people see of a plan before they approve it."""

from __future__ import annotations

from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.show import show

from .clusters import KNOWN, example, facts, small

CTL = [f"ctl0{number}.demo-core.test" for number in (1, 2, 3)]


def test_the_table_of_a_change():
    demo = example("demo-core")
    states = {"keystone.server": ("/etc/keystone/keystone.conf (file.managed)",)}
    told = {n: Touched(("keystone.server",), ("restart keystone-api",), states) for n in CTL}
    request = Request.read("change", "demo-core", {"slo": "keystone=0.01"})
    plan = make(request, demo, demo, facts(demo), told, KNOWN, {"control": [3, 5]})
    text = show(plan)
    lines = text.splitlines()
    assert lines[0] == (
        f"Plan {plan.hash[:12]}: change of demo-core: revision aaaaaaaaaaaa -> bbbbbbbbbbbb"
        " (slo=keystone:0.01)"
    )
    head, control, commit = (line.split() for line in lines[2:5])
    assert head == ["STAGE", "WAVES", "NODES", "API", "DATA", "GATES", "MINUTES", "WHAT"]
    assert control[:5] == ["control", "3", "ctl01-03", "none", "none"]
    assert control[-7:] == ["4", "keystone.server,", "drained,", "back", "until", "written", "to"]
    assert commit[0] == "commit"
    assert "  control/1, canary: ctl01: gate, drain, pin, apply, verify, release" in lines
    assert "  restart keystone-api on ctl01-03" in lines
    assert "  ctl01-03: /etc/keystone/keystone.conf (file.managed)" in lines
    assert any(line.endswith("from cfg01, at most 1.00% may fail") for line in lines)
    assert lines[-1] == f"Apply exactly this: salt-run rollout.apply {plan.hash[:12]}"


def test_a_part_says_that_the_cluster_stays():
    nodes = small({"a.x": ["n1", "n2"]})
    told = {name: Touched(("a.x",)) for name in nodes}
    plan = make(Request("change", "c", count=1), nodes, nodes, facts(nodes), told)
    assert "the nodes stay pinned, the cluster keeps its revision" in show(plan)
    assert "(count=1)" in show(plan)
