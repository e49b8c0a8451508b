"""What the OpenStack suites ask of an instance: requests with a token, over verified TLS."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host

URL = "https://host.kitchen.test:5000/v3"

#: one HTTP request, run on the instance with nothing but Python; prints [status, headers, body]
REQUEST = """
import json, sys, urllib.error, urllib.request
method, url, headers, body = json.load(sys.stdin)
request = urllib.request.Request(url, body.encode() if body is not None else None, headers,
                                 method=method)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as err:
    answer = err
print(json.dumps([answer.status, dict(answer.headers), answer.read().decode("latin-1")]))
"""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def data(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Client:
    """A user of the APIs of one instance.

    :param host: the instance
    :param token: sent with each request
    """

    def __init__(self, host: Host, token: str = "") -> None:
        self.host = host
        self.token = token

    def request(
        self, method: str, url: str, data: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request; ``data`` is sent as JSON, text as it is."""
        kind = {"Content-Type": "application/json"} if data is not None else {}
        auth = {"X-Auth-Token": self.token} if self.token else {}
        body = data if data is None or isinstance(data, str) else json.dumps(data)
        asked = json.dumps([method, url, {**kind, **auth, **(headers or {})}, body])
        done = self.host.run("echo %s | python3 -c %s", asked, REQUEST)
        assert done.rc == 0, done.stderr
        return Answer(*json.loads(done.stdout))

    def ok(self, method: str, url: str, data: Any = None) -> Any:
        """Send a request that must succeed; return its data."""
        answer = self.request(method, url, data)
        assert answer.status < 300, (method, url, answer.status, answer.text[:500])
        return answer.data if answer.text else None


def credentials(user: str, password: str, project: str | None) -> dict[str, Any]:
    """Body of a request for a token."""
    domain = {"name": "Default"}
    who = {"name": user, "domain": domain, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
    if project:
        auth["scope"] = {"project": {"name": project, "domain": domain}}
    return {"auth": auth}


def login(
    host: Host, user: str = "admin", password: str = "kitchen-password-of-admin",
    project: str | None = "admin",
) -> Client:  # fmt: skip
    """Return a client with a token of that user."""
    answer = Client(host).request(
        "POST", f"{URL}/auth/tokens", credentials(user, password, project)
    )
    assert answer.status == 201, answer.text[:500]
    return Client(host, answer.headers["X-Subject-Token"])


def ensure_service_user(
    host: Host, name: str, password: str = "kitchen-password-of-service"
) -> None:
    """Make the account with which a service validates tokens."""
    admin = login(host)
    projects = admin.ok("GET", f"{URL}/projects?name=service")["projects"]
    if not projects:
        body = {"project": {"name": "service", "domain_id": "default"}}
        projects = [admin.ok("POST", f"{URL}/projects", body)["project"]]
    users = admin.ok("GET", f"{URL}/users?name={name}")["users"]
    if not users:
        body = {"user": {"name": name, "domain_id": "default", "password": password}}
        users = [admin.ok("POST", f"{URL}/users", body)["user"]]
    roles = {role["name"]: role["id"] for role in admin.ok("GET", f"{URL}/roles")["roles"]}
    if "service" not in roles:
        made = admin.ok("POST", f"{URL}/roles", {"role": {"name": "service"}})
        roles["service"] = made["role"]["id"]
    for role in ("admin", "service"):
        place = f"projects/{projects[0]['id']}/users/{users[0]['id']}/roles/{roles[role]}"
        admin.ok("PUT", f"{URL}/{place}")
