"""Boot the guest in a QEMU, in namespaces of its own; print as JSON what was seen. Standard library
only: it runs in a root file system with QEMU and dnsmasq, as

    unshare --net --pid --mount-proc --fork --kill-child python3 guest_drill.py DISK

Network: a tap with DHCP by dnsmasq (MTU, classless routes) and metadata by a small HTTP server.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

#: What the console has to tell, in time, before a drill goes on.
PATIENCE = 180.0
HOSTNAME = "probe-1.example.test"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyOfATest someone@example.test"
MARKER = "marker 7f3a"
METADATA = {
    "uuid": "2b6fbd3c-6a3e-4a52-9b3e-000000000001",
    "hostname": HOSTNAME,
    "name": "probe-1",
    "meta": {"role": "probe", "echo_port": "7007"},
    "public_keys": {"key": KEY},
}
PAGES = {
    "/openstack/latest/meta_data.json": json.dumps(METADATA),
    "/openstack/latest/user_data": f"{MARKER}\nsecond line\n",
    "/latest/meta-data/public-keys/0/openssh-key": KEY + "\n",
}
WORK = Path("/tmp/drill")


class Metadata(http.server.BaseHTTPRequestHandler):
    """Refuses the first request, as a service that is not ready yet does."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        page = PAGES.get(self.path) if type(self).asked > 1 else None
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write((page or "").encode())

    def log_message(self, *_args: object) -> None:
        """The guest's console is the log."""


def network() -> None:
    """A tap that answers as a tenant network does."""
    for words in (
        "link set lo up",
        "tuntap add dev tap0 mode tap",
        "addr add 10.9.0.1/24 dev tap0",
        "addr add 169.254.169.254/32 dev tap0",
        "link set tap0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    subprocess.run(
        [
            *("dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--user=root"),
            *("--bind-interfaces", "--dhcp-range=10.9.0.50,10.9.0.50,255.255.255.0"),
            *("--dhcp-leasefile=/tmp/drill/leases", "--pid-file=/tmp/drill/dnsmasq.pid"),
            "--dhcp-option=option:mtu,1400",
            "--dhcp-option=option:classless-static-route,169.254.169.254/32,10.9.0.1,0.0.0.0/0,10.9.0.1",
        ],
        check=True,
    )
    server = http.server.ThreadingHTTPServer(("169.254.169.254", 80), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Machine:
    """A QEMU without KVM; its console is a file, its monitor a socket."""

    def __init__(self, disk: str) -> None:
        self.console = WORK / "console"
        copy = WORK / "disk.raw"
        subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
        (WORK / "volume.raw").write_bytes(bytes(8 << 20))
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "128", "-display", "none"]
        argv += ["-drive", f"file={copy},format=raw,if=virtio"]
        argv += ["-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no"]
        argv += ["-device", "virtio-net-pci,netdev=net,mac=52:54:00:00:00:09"]
        argv += ["-serial", f"file:{self.console}", "-qmp", f"unix:{WORK}/qmp,server,nowait"]
        self.begin = time.monotonic()
        self.process = subprocess.Popen(argv)
        self._file = None

    def wait(self, *words: str) -> float:
        """Seconds from power on until a line of the console has all the words."""
        while time.monotonic() - self.begin < PATIENCE:
            for line in self.lines():
                if all(word in line for word in words):
                    return time.monotonic() - self.begin
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"the console never told {words}:\n{self.text()}")

    def processor(self) -> float:
        """Seconds of processor time so far: what a boot takes where nothing else runs."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def text(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def lines(self) -> list[str]:
        return [line.strip() for line in self.text().splitlines() if "guest: " in line]

    def ask(self, command: str, **arguments: object) -> None:
        """One command of QEMU's monitor; answers before its own are events."""
        if self._file is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{WORK}/qmp")
            self._file = connection.makefile("rw")
            self._file.readline()
            self.ask("qmp_capabilities")
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while "return" not in (answer := json.loads(self._file.readline())):
            if "error" in answer:
                raise SystemExit(f"{command}: {answer['error']}")


def echo(port: int, sent: bytes) -> str:
    """What the guest sends back."""
    with socket.create_connection(("10.9.0.50", port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65536):
            got += part
    return "same" if got == sent else f"{len(got)} other bytes"


def drill(disk: str) -> dict[str, object]:
    """Boot, look, attach and detach a volume, press the power button."""
    network()
    machine = Machine(disk)
    seen: dict[str, object] = {"up": machine.wait("guest: up:")}
    seen["address"] = machine.wait("guest: address eth0")
    seen["ready"] = machine.wait("guest: ready")
    seen["processor"] = machine.processor()
    machine.wait("echo on TCP port 7007")
    seen["echo"] = [echo(7007, os.urandom(size)) for size in (1, 300_000)]
    machine.ask("blockdev-add", **{"node-name": "vol", "driver": "raw", "file": {
        "driver": "file", "filename": f"{WORK}/volume.raw"}})  # fmt: skip
    machine.ask("device_add", driver="virtio-blk-pci", drive="vol", id="vol", serial="vol-4711")
    machine.wait("disk vdb", "vol-4711")
    machine.ask("device_del", id="vol")
    machine.wait("disk vdb is gone")
    seen["untouched"] = not (WORK / "volume.raw").read_bytes().strip(b"\0")
    machine.ask("system_powerdown")
    begin = time.monotonic()
    seen["code"] = machine.process.wait(60)
    seen["off"] = time.monotonic() - begin
    same = subprocess.run(["cmp", disk, WORK / "disk.raw"], capture_output=True, check=False)
    seen["disk"] = "same" if same.returncode == 0 else "written"
    seen["console"] = machine.lines()
    return seen


if __name__ == "__main__":
    WORK.mkdir()
    print(json.dumps(drill(sys.argv[1])))
