"""Updates as a person or a fleet makes them: by the web face, and by `kvmctl` over SSH; and what the appliance then says of itself."""

import http.client
import json
import re
import socket
import ssl
import time

import first
from machine import patience

UPDATE = "/api/system/update"


def state(machine):
    answer = machine.get(UPDATE)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def upload(machine, bundle):
    """Sends a bundle as the page does; the answer."""
    with bundle.open("rb") as file:
        return machine.post(f"{UPDATE}/upload", data=file, timeout=patience(300))


def announce(machine, size):
    """Says that a bundle of a size is coming, and sends none of it: the answer's status and result. For what is refused before it came."""
    lines = [f"POST {UPDATE}/upload HTTP/1.1", f"Host: 127.0.0.1:{machine.https_port}", f"Content-Length: {size}", "Content-Type: application/octet-stream", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in machine.credentials.items()]
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", machine.https_port), timeout=patience(60)) as plain, context.wrap_socket(plain) as secure:
        secure.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = http.client.HTTPResponse(secure)
        answer.begin()
        return answer.status, json.loads(answer.read())["result"]


def install(machine, bundle):
    """Uploads and installs; the seconds it took, and what was shown meanwhile."""
    began = time.monotonic()
    with machine.socket() as socket:
        answer = upload(machine, bundle)
        assert answer.status_code == 200, answer.text
        sent = time.monotonic()
        answer = machine.post(f"{UPDATE}/install")
        assert answer.status_code == 200, answer.text
        machine.wait_here(lambda: done(state(machine)), "the installation's end", 300, 1)
        assert state(machine)["state"] == "ready", state(machine)
        shown = [event["event"] for event in socket.events if event["event_type"] == "update"]
    return {"upload": sent - began, "install": time.monotonic() - sent, "shown": shown, "state": state(machine)}


def by_ssh(machine, bundle):
    """What `page.update` does, without browser and TLS: for computers where those take all there is."""
    began = time.monotonic()
    machine.put(bundle, "/data/update.raucb")
    sent = time.monotonic()
    said = by_kvmctl(machine, "install", "/data/update.raucb").splitlines()
    print(f"copied in {sent - began:.0f} s, installed in {time.monotonic() - sent:.0f} s")
    took = time.monotonic() - began
    answer = machine.post(f"{UPDATE}/reboot")
    assert answer.status_code == 200, answer.text
    return {"said": said, "seconds": took, "problems": []}


def done(told):
    """Whether nothing is being looked at or written any more."""
    return told["state"] not in ("checking", "installing", "uploading")


def restart(machine, **expected):
    """Lets the appliance restart into what was installed, and waits for its page."""
    start = len(machine.serial.lines)
    answer = machine.post(f"{UPDATE}/reboot")
    assert answer.status_code == 200, answer.text
    wait_restarted(machine, start, **expected)


def wait_restarted(machine, start, seconds=300):
    """Until the boot loader has run again (console lines from `start` on) and HTTPS answers."""
    machine._end_ssh()
    machine.serial.wait_for_line(r"kvmd: slot", seconds, start)
    began = time.monotonic()
    machine.wait_here(lambda: machine.answers() is not None, "HTTPS after the restart", seconds, 0.3)
    return time.monotonic() - began


def wait_good(machine, seconds=300):
    """Until the release that runs was found good; how it stands then."""

    def good():
        told = state(machine)
        assert told["state"] != "rolled_back", told
        return told if not told["trial"] and told["slot"] == told["kept"] else None

    return machine.wait_here(good, "the health check's word", seconds, 1)


def slots_started(machine, start=0):
    """The slots that the boot loader started, in order."""
    return [found[1] for _, line in machine.serial.lines[start:] if (found := re.search(r"kvmd: slot ([ab])$", line))]


def by_kvmctl(machine, *words, check=True, seconds=600):
    return machine.ssh(" ".join(["kvmctl", "update", *words]), check=check, seconds=seconds)


def facts(machine):
    """What must be the same before and after an update."""
    text = machine.ssh(
        "set -e; cat /etc/hostname /etc/machine-id; readlink /etc/localtime;"
        "sha256sum /var/lib/kvmd/kvmd/htpasswd /root/.ssh/authorized_keys /etc/ssh/ssh_host_*_key.pub; find /etc/kvmd -type f -exec sha256sum {} + | sort -k2"
    )
    return {"files": text, "user": machine.get("/api/auth/check").status_code, "certificate": first.certificate(machine)}


def show(text):
    print(json.dumps(text, indent=1, default=str) if not isinstance(text, str) else text)
