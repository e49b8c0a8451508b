"""Ask Keystone for a token four times a second; one JSON line per request.

Runs on the deployment node, with the administrator's clouds.yaml, until its standard input ends.
Each request opens a new connection, as a new client would, and gives up after five seconds.
"""

import json
import ssl
import sys
import threading
import time
import urllib.request

import yaml

with open("/etc/openstack/clouds.yaml") as stream:
    cloud = next(iter(yaml.safe_load(stream)["clouds"].values()))
auth = cloud["auth"]
user = {
    "name": auth["username"],
    "domain": {"name": auth.get("user_domain_name", "Default")},
    "password": auth["password"],
}
project = {
    "name": auth["project_name"],
    "domain": {"name": auth.get("project_domain_name", "Default")},
}
body = json.dumps(
    {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
    }
).encode()
stop = threading.Event()
context = ssl.create_default_context(cafile=cloud.get("cacert"))
url = auth["auth_url"].rstrip("/") + "/auth/tokens"
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    begun = time.time()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            seen = answer.status == 201 and bool(answer.headers["X-Subject-Token"])
            detail = ""
    except OSError as err:
        seen, detail = False, str(err)
    print(json.dumps([time.time(), seen, detail]), flush=True)
    time.sleep(max(0, begun + 0.25 - time.time()))
