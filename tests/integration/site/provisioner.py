"""A provisioner of its own: a "host" is the directory of a node, with a file that names its image.

What is not kept goes with the old image, as on a disk that is written anew.
"""

import json
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Do what standard input asks for."""
    work, asked = Path(sys.argv[1]), json.load(sys.stdin)
    if asked["action"] == "status":
        hosts = {p.stem: {"image": p.read_text(), "state": "up"} for p in work.glob("*.image")}
        print(json.dumps({"hosts": hosts}))
        return
    host, mark = work / asked["node"], work / f"{asked['node']}.image"
    if mark.exists() and mark.read_text() == asked["image"]:
        print(json.dumps({"changed": False, "comment": "runs on it already"}))
        return
    former = host.rename(work / f"{asked['node']}.former")
    host.mkdir()
    for path in asked["keep"]:
        kept = former / path.lstrip("/")
        if kept.exists():
            shutil.copytree(kept, host / path.lstrip("/"))
    shutil.rmtree(former)
    mark.write_text(asked["image"])
    print(json.dumps({"changed": True, "comment": f"from {asked['image']}"}))


main()
