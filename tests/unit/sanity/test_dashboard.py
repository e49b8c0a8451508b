"""The check of the dashboard, in front of a page that asks for a login as Horizon does."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

pytest.importorskip("openstack")

from saltern.sanity import dashboard
from saltern.sanity.client import CheckError, Context, Deadline
from saltern.sanity.target import Credentials, Target

PASSWORD = "the-password"
KEYSTONE = "https://api.example.test:5000/v3"


@dataclass
class Pages:
    """What the double shows; the faults are what a test asks for."""

    sessions: set[str] = field(default_factory=set)
    form: str = (
        '<input type="hidden" name="csrfmiddlewaretoken" value="{token}">'
        '<input type="hidden" name="region" value="default">'
        '<input name="username"><input type="password" name="password"><input type="submit">'
    )
    token: str = "a-token"
    forgets: bool = False
    stays: bool = False
    down: bool = False
    suspicious: bool = False
    catalogue: str = f"<td>{KEYSTONE}</td>"


class Handler(BaseHTTPRequestHandler):
    """GET and POST of a login, one page behind it, and a logout."""

    pages: Pages

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, code: int, text: str = "", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def _session(self) -> str:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("sessionid")
        return cookie.value if cookie and cookie.value in self.pages.sessions else ""

    def do_GET(self) -> None:
        pages, path = self.pages, self.path.strip("/") + "/"
        if pages.down:
            self._answer(503)
        elif path == dashboard.LOGIN:
            form = pages.form.format(token=pages.token)
            self._answer(200, form, Set_Cookie=f"csrftoken={pages.token}; Path=/")
        elif path == dashboard.LOGOUT:
            if not pages.stays:
                pages.sessions.discard(self._session())
            self._answer(302, Location="/auth/login/")
        elif path == dashboard.PAGE and self._session():
            self._answer(200, pages.catalogue)
        else:
            self._answer(302, Location="/auth/login/")

    def do_POST(self) -> None:
        pages = self.pages
        length = int(self.headers["Content-Length"])
        sent = {
            name: value[0] for name, value in parse_qs(self.rfile.read(length).decode()).items()
        }
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("csrftoken")
        known = cookie and sent.get("csrfmiddlewaretoken") == pages.token
        if not known or pages.suspicious:
            self._answer(302, Location=f"/{dashboard.LOGIN}?csrf_failure=Referer")
        elif (sent.get("username"), sent.get("password")) != ("admin", PASSWORD):
            self._answer(200, "Invalid credentials.")
        else:
            made = secrets.token_hex(8)
            if not pages.forgets:
                pages.sessions.add(made)
            self._answer(302, Location="/", Set_Cookie=f"sessionid={made}; Path=/")


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def url(pages: Pages) -> Iterator[str]:
    handler = type("Handler", (Handler,), {"pages": pages})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def context(url: str, password: str = PASSWORD) -> Context:
    target = Target(
        cluster="c1",
        credentials=Credentials(url=KEYSTONE, username="admin", password=password),
        region="RegionOne",
        interface="public",
        members={"horizon.server": ("ctl01.example.test",)},
        dashboard=url,
    )
    return Context(target, Deadline(10))


def test_a_user_logs_in_and_out(url: str, pages: Pages) -> None:
    asked = context(url)
    assert dashboard.login(asked, "") == "logged in, catalogue shown, logged out"
    assert pages.sessions == set()
    assert asked.clean_up(5) == []


def test_a_member_is_asked_itself(url: str) -> None:
    port = url.rstrip("/").rpartition(":")[2]
    asked = context(f"http://nowhere.invalid:{port}/")
    assert dashboard.login(asked, "127.0.0.1").startswith("logged in")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"down": True}, "auth/login/ answers 503"),
        (
            {"form": "<p>Something went wrong</p>"},
            "no field csrfmiddlewaretoken, password, username",
        ),
        ({"suspicious": True}, "takes it for another site's"),
        ({"forgets": True}, "the session is not kept"),
        ({"catalogue": "<p>Nothing here</p>"}, "does not show Keystone"),
        ({"stays": True}, "lives on after the logout"),
    ],
)
def test_faults_are_told(url: str, pages: Pages, fault: dict[str, object], why: str) -> None:
    for name, value in fault.items():
        setattr(pages, name, value)
    with pytest.raises(CheckError, match=why):
        dashboard.login(context(url), "")


def test_a_wrong_password_is_told_without_it(url: str) -> None:
    with pytest.raises(CheckError, match="admin is not let in") as told:
        dashboard.login(context(url, "another-password"), "")
    assert "another-password" not in str(told.value)


def test_a_session_is_ended_after_a_fault(url: str, pages: Pages) -> None:
    pages.catalogue = "<p>Nothing here</p>"
    asked = context(url)
    with pytest.raises(CheckError):
        dashboard.login(asked, "")
    assert pages.sessions
    assert asked.clean_up(5) == []
    assert pages.sessions == set()


def test_a_cluster_without_its_url_is_told() -> None:
    with pytest.raises(CheckError, match="no horizon:server:url"):
        dashboard.login(context(""), "")
