"""The first start of a fresh appliance, as its owner lives it: card with a `kvm.yaml`, claim code on the screen, claim page, console.

Done once in a run; what was seen is kept for the tests to judge, and the machine is frozen as it is afterwards.
"""

import contextlib
import dataclasses
import re
import ssl

import disk
import page
import requests
from appliance import wait_for
from machine import PASSWORD, Machine, overlay, patience, public_key, run

# Larger than the image: the last partition has room to grow into.
SIZE = "4G"
NAME, ZONE = "rack-7", "Europe/Berlin"


@dataclasses.dataclass
class First:
    stages: dict  # seconds since the machine was switched on
    facts: dict  # what was seen before the claim, and at it
    frozen: object


def start(image, place):
    place.mkdir(parents=True, exist_ok=True)
    card = overlay(image, place / "card.qcow2", SIZE)
    # A fleet's card: its keys are on it, its password is not, so it still waits for its owner.
    disk.put_into_sel(card, kvm_yaml=f"ssh_keys: [\"{public_key()}\"]\n")
    machine = Machine(card, directory=place)
    try:
        facts = {}
        stages = {"first word on the console": machine.serial.wait_for_line(".", 60)[0] - machine.began}
        stages["boot loader"] = machine.serial.wait_for_line(r"kvmd: slot", 90)[0] - machine.began
        stages["first HTTPS answer"] = machine.wait_page(300)
        # The web is started anew for a certificate that names the address it got.
        with contextlib.suppress(AssertionError):
            wait_for(lambda: "10.0.2." in names("127.0.0.1", machine.https_port), "a certificate for its address", patience(20), 1)
        machine.wait_page()
        facts["before"] = looks(machine)
        facts["console"] = code_on(machine)
        machine.wait_ssh()
        facts["sel"] = machine.ssh("ls -l /boot/sel; cat /boot/sel/claim-code.txt; cat /boot/sel/kvm.yaml", check=False)[1]
        facts["own"] = own(machine)
        facts["claim"] = page.claim(machine, facts["console"], NAME, ZONE)
        # Its certificate follows its new name at the next start, and stays from then on.
        machine.ssh("systemctl restart --no-block kvmd-supervisor")
        ours = (NAME, "10.0.2.")
        machine.wait_here(lambda: all(word in names("127.0.0.1", machine.https_port) for word in ours), "a certificate for its name and address", 240, 1)
        machine.wait_here(lambda: machine.answers() is not None, "HTTPS with it", 120)
        facts["kernel's"] = machine.ssh("cat /run/kvmd-boot/stages; systemd-analyze time; systemd-analyze critical-chain kvmd-supervisor.service")
        frozen = machine.freeze(place / "frozen")
    except BaseException:
        print(machine.serial.tail(200) if machine.serial else "")
        machine.close()
        raise
    return First(stages, facts, frozen)


def looks(machine):
    """What somebody without the code gets to see."""
    seen = {}
    for path in ("/", "/login/", "/claim/", "/api/system/claim", "/api/info", "/api/auth/check", "/api/log", "/api/hid", "/api/system/update"):
        answer = machine.request("GET", path, headers={})
        kind = answer.headers.get("content-type", "")
        body = answer.json()["result"] if "json" in kind else answer.headers.get("location", "")
        seen[path] = (answer.status_code, body)
    answer = machine.request("POST", "/api/system/claim", headers={}, data={"code": "AAAAAAAA", "user": "admin", "passwd": PASSWORD})
    seen["wrong code"] = (answer.status_code, answer.json()["result"].get("error"))
    http = requests.get(f"http://127.0.0.1:{machine.http_port}/", allow_redirects=False, timeout=patience(30))
    seen["http"] = (http.status_code, http.headers.get("location"))
    return seen


CODE = r"Code to claim it: ([A-Z0-9]{4}-[A-Z0-9]{4})"


def code_on(machine):
    """The claim code that the console shows now: a wrong guess may have changed it."""
    machine.serial.wait_for_line(CODE, 120)
    return [found[1] for _, line in machine.serial.lines if (found := re.search(CODE, line))][-1]


def own(machine):
    """What no other appliance may have."""
    text = machine.ssh("cat /etc/machine-id; cat /proc/sys/kernel/hostname; cat /etc/ssh/ssh_host_*_key.pub | cut -d' ' -f2 | sort | tr '\\n' ' '")
    identity, name, keys = text.strip().split("\n")
    return {"machine-id": identity, "host name": name, "SSH host keys": keys, "certificate": certificate(machine)}


def names(host, port):
    """Whom the certificate is for, as text; "" where nobody answers."""
    try:
        return run("openssl", "x509", "-noout", "-ext", "subjectAltName", input=ssl.get_server_certificate((host, port), timeout=patience(10)))
    except OSError:
        return ""


def certificate(machine):
    return ssl.get_server_certificate(("127.0.0.1", machine.https_port), timeout=patience(20))
