"""Checks of the dashboard: what a browser does to log in, see a page of one's own and leave."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from saltern.sanity.client import BoundedSession, CheckError, Context

#: The form to log in, the page that lists the catalogue of who is logged in, and the way out.
LOGIN, PAGE, LOGOUT = "auth/login/", "project/api_access/", "auth/logout/"


class _Fields(HTMLParser):
    """Names and values of a page's input fields."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name")
        if tag == "input" and name and given.get("type") not in ("submit", "checkbox"):
            self.found[name] = given.get("value") or ""


def login(context: Context, member: str) -> str:
    """Log the administrator in, open a page that needs the session, and log out.

    On one member directly, or through the virtual address.
    """
    url = context.target.dashboard
    if not url:
        raise CheckError("the pillar of the dashboard has no horizon:server:url")
    if member:
        parts = urlsplit(url)
        # without the port that goes without saying: the page compares names with where it was asked
        port = f":{parts.port}" if parts.port else ""
        url = parts._replace(netloc=f"{member}{port}").geturl()
    browser = BoundedSession(verify=context.target.credentials.cacert or True, app_name="saltern")

    def ask(method: str, path: str, **kwargs: Any) -> Any:
        browser.deadline = context.session.deadline
        answer = browser.request(
            urljoin(url, path), method, authenticated=False, raise_exc=False, redirect=False,
            headers={"Referer": url}, **kwargs,
        )  # fmt: skip
        if answer.status_code not in (200, 302):
            raise CheckError(f"{urljoin(url, path)} answers {answer.status_code}")
        return answer

    who = context.target.credentials
    form = _Fields()
    form.feed(ask("GET", LOGIN).text)
    missing = {"username", "password", "csrfmiddlewaretoken"} - set(form.found)
    if missing:
        raise CheckError(f"the page to log in has no field {', '.join(sorted(missing))}")
    given = {**form.found, "username": who.username, "password": who.password}
    if "domain" in given:
        given["domain"] = who.user_domain
    answer = ask("POST", LOGIN, data=given)
    if answer.status_code != 302:
        raise CheckError(f"{who.username} is not let in")
    if LOGIN in answer.headers.get("Location", ""):
        raise CheckError("the form is refused: the page takes it for another site's (CSRF)")
    context.undo("session of the dashboard", lambda: ask("GET", LOGOUT))
    page = ask("GET", PAGE)
    if page.status_code != 200:
        raise CheckError(f"the session is not kept: /{PAGE} leads back to the login")
    if urlsplit(who.url).netloc not in page.text:
        raise CheckError("the page of the catalogue does not show Keystone")
    ask("GET", LOGOUT)
    if ask("GET", PAGE).status_code == 200:
        raise CheckError("the session lives on after the logout")
    return "logged in, catalogue shown, logged out"
