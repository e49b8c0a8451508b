"""Catalogues for tests: a small one as plain data, and random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from saltern.release.lifecycle import Catalogue, build
from saltern.release.observe import Request

URL = "https://docs.example.org/"


def lifecycle(versions: int | dict[str, Any], reach: Any = 1, **more: Any) -> dict[str, Any]:
    """The lifecycle of a product whose versions are v1, v2 and so on, or as given."""
    if isinstance(versions, int):
        versions = {f"v{number}": {} for number in range(1, versions + 1)}
    return {
        "title": more.pop("title", "It"),
        "roles": more.pop("roles", []),
        "hops": {"reach": reach, "reason": "so", "source": URL},
        "versions": versions,
        **more,
    }


def rule(name: str, of: str, needs: str, rows: dict[str, Any]) -> dict[str, Any]:
    """A rule between two products."""
    return {
        "name": name, "of": of, "needs": needs, "rows": rows, "reason": "so", "source": URL,
    }  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> tuple[Catalogue, Request]:
    """A random catalogue of up to four products, one of which may provide others, and a request.

    What runs breaks no rule more often than not; nothing else is promised.
    """
    names = ["a", "b", "c", "os"][: draw(st.integers(2, 4))]
    counts = {name: draw(st.integers(2, 4)) for name in names}
    data: dict[str, dict[str, Any]] = {}
    for name in names:
        versions = {f"v{number}": {"next": []} for number in range(1, counts[name] + 1)}
        order = list(versions)
        for place, version in enumerate(order):
            later = order[place + 1 :]
            if later:
                versions[version]["next"] = draw(
                    st.lists(st.sampled_from(later), unique=True, max_size=2)
                )
            if name == "os":
                versions[version]["provides"] = {
                    one: f"v{draw(st.integers(1, counts[one]))}" for one in names[:2]
                }
        data[name] = lifecycle(versions, "listed", title=name.upper())
        if draw(st.booleans()):
            data[name]["exception"] = {
                "name": "stop", "what": "it stops", "reason": "so", "source": URL,
            }  # fmt: skip
    rules = []
    for number in range(draw(st.integers(0, 4))):
        of, needs = draw(st.permutations(names))[:2]
        rows = {
            f"v{version}": [
                f"v{n}"
                for n in draw(st.lists(st.integers(1, counts[needs]), unique=True, min_size=1))
            ]
            for version in draw(st.lists(st.integers(1, counts[of]), unique=True, min_size=1))
        }
        rules.append(rule(f"r{number}", of, needs, rows))
    data[names[0]]["rules"] = rules
    now = {name: f"v{draw(st.integers(1, max(1, counts[name] - 1)))}" for name in names}
    wanted = draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=2))
    goal = {name: f"v{draw(st.integers(1, counts[name]))}" for name in wanted}
    own = draw(st.sets(st.sampled_from(names), max_size=1))
    allow = draw(st.sets(st.sampled_from(names), max_size=1))
    return build(data), Request(now, goal, frozenset(own), frozenset(allow))
