"""Horizon shows its login with style, lets in whom Keystone knows, and remembers them."""

from __future__ import annotations

import json
import re

from testinfra.host import Host

URL = "https://host.kitchen.test"

#: A browser in a few lines: logs in with a user and a password, then asks for a page;
#: prints [status, address, text] of what the login led to and of that page.
BROWSER = """
import http.cookiejar, json, re, sys, urllib.error, urllib.parse, urllib.request
url, user, password, page = json.load(sys.stdin)
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
def ask(path, data=None):
    headers = {"Referer": url + "/auth/login/", "Origin": url}
    try:
        answer = browser.open(urllib.request.Request(url + path, data, headers), timeout=60)
    except urllib.error.HTTPError as err:
        answer = err
    return [answer.status, answer.url, answer.read().decode()]
form = ask("/auth/login/")[2]
token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
region = re.search(r'name="region" value="([^"]*)"', form)
fields = {"csrfmiddlewaretoken": token, "username": user, "password": password,
          "region": region[1] if region else "default"}
print(json.dumps([ask("/auth/login/", urllib.parse.urlencode(fields).encode()), ask(page)]))
"""


def visit(host: Host, password: str, page: str = "/identity/") -> list[tuple[int, str, str]]:
    asked = json.dumps([URL, "admin", password, page])
    done = host.run("echo %s | python3 -c %s", asked, BROWSER)
    assert done.rc == 0, done.stderr
    return [(status, address, text) for status, address, text in json.loads(done.stdout)]


def code(host: Host, path: str, *options: str) -> str:
    """Status that an address answers with."""
    words = " ".join(options)
    return host.check_output(
        f"curl -s --path-as-is -o /dev/null -w '%{{http_code}}' {words} {URL}{path}"
    )


def stored(host: Host) -> int:
    """How often memcached was written to."""
    stats = host.check_output(
        "printf 'stats\\r\\nquit\\r\\n' | openssl s_client -quiet -connect host.kitchen.test:11211"
        " -CAfile /etc/saltern/pki/ca.crt 2>/dev/null"
    )
    found = dict(line.split()[1:3] for line in stats.splitlines() if line.startswith("STAT "))
    return int(found["cmd_set"])


def test_the_login_has_its_style(host: Host) -> None:
    page = host.check_output(f"curl -sf {URL}/auth/login/")
    files = set(re.findall(r'(?:href|src)=[\'"](/static/[^"\'?]+\.(?:css|js))[\'"]', page))
    assert {name.rpartition(".")[2] for name in files} == {"css", "js"}
    for name in files:
        assert code(host, name) == "200", name


def test_nothing_else_of_the_environment_is_served(host: Host) -> None:
    for path in ("/static/../pyvenv.cfg", "/static/%2e%2e/pyvenv.cfg", "/static/"):
        assert code(host, path) in ("400", "403", "404"), path


def test_whom_keystone_knows_is_let_in_and_remembered(host: Host) -> None:
    before = stored(host)
    # a login leads to the project's overview, which is Nova's; there is none here
    (_, led, _), (status, address, page) = visit(host, "kitchen-password-of-admin")
    assert led == f"{URL}/project/"
    assert (status, address) == (200, f"{URL}/identity/")
    assert "admin" in page
    assert stored(host) > before


def test_a_wrong_password_is_refused(host: Host) -> None:
    for _, address, _ in visit(host, "not-the-password"):
        assert "/auth/login/" in address


def test_another_name_is_refused(host: Host) -> None:
    assert code(host, "/auth/login/", "-H 'Host: other.test'") == "400"


def test_cookies_are_sent_over_tls_only(host: Host) -> None:
    headers = host.check_output(f"curl -sf -o /dev/null -D - {URL}/auth/login/").lower()
    cookies = [line for line in headers.splitlines() if line.startswith("set-cookie: csrftoken")]
    assert cookies
    assert all("secure" in line for line in cookies)


def test_its_settings_are_guarded(host: Host) -> None:
    settings = host.file("/etc/horizon/local_settings.py")
    assert (settings.user, settings.group, settings.mode) == ("root", "horizon", 0o640)


def test_it_comes_back_after_a_boot(host: Host) -> None:
    for unit in ("horizon", "horizon-cache"):
        assert host.service(unit).is_enabled
        assert host.service(unit).is_running
