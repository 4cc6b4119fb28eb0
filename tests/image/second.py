"""An update and the way back, in one machine whose every write is kept: what tests of updates and of power cuts both look at."""

import dataclasses
import os
import time

import page
import updating


@dataclasses.dataclass
class Second:
    told: dict  # what the appliance said, and how long things took
    before: object  # the disk before, as a file
    after: object  # the disk after the update was found good, as a file
    log: object  # all writes in between
    marks: dict  # numbers of writes at moments that matter
    frozen: object  # the machine after it all


def update(frozen, releases, place):
    """To the next release by the web page, with every write on record; then back by kvmctl, without."""
    place.mkdir(parents=True, exist_ok=True)
    bundle = releases.good()
    told = {}
    machine = frozen.thaw(log_writes=place / "writes")
    try:
        machine.wait_page()
        machine.wait_ssh()
        told["facts before"] = updating.facts(machine)
        told["before"] = updating.state(machine)
        start = len(machine.serial.lines)
        with machine.socket() as socket:
            if os.environ.get("KVMD_IMAGE_BY_SSH") == "1":
                told["page"] = updating.by_ssh(machine, bundle)
            else:
                told["page"] = page.update(machine, bundle)
            told["shown"] = [event["event"] for event in socket.events if event["event_type"] == "update"]
        began = time.monotonic()
        updating.wait_restarted(machine, start)
        told["restart"] = time.monotonic() - began
        told["on trial"] = updating.state(machine)
        updating.wait_good(machine)
        told["good after"] = time.monotonic() - began
        told["slots"] = updating.slots_started(machine, start)
        machine.wait_ssh()
        told["facts after"] = updating.facts(machine)
        told["after"] = updating.state(machine)
        told["system"] = machine.get("/api/system").json()["result"]
        told["log"] = machine.get("/api/log?seek=3600").text
        machine.ssh("sync")
        again = machine.freeze(place / "frozen")
    except BaseException:
        print(machine.serial.tail(150) if machine.serial else "")
        machine.close()
        raise
    return Second(told, frozen.disk, again.disk, place / "writes", {}, again)


def back(second, releases):
    """From there to another release by kvmctl."""
    told = {}
    bundle = releases.by_the_other_root()
    machine = second.frozen.thaw()
    with machine:
        machine.wait_page()
        machine.wait_ssh()
        machine.put(bundle, "/data/update.raucb")
        began = time.monotonic()
        told["said"] = updating.by_kvmctl(machine, "install", "/data/update.raucb")
        told["install"] = time.monotonic() - began
        start = len(machine.serial.lines)
        updating.by_kvmctl(machine, "reboot", check=False)
        updating.wait_restarted(machine, start)
        updating.wait_good(machine)
        told["good after"] = time.monotonic() - began
        told["slots"] = updating.slots_started(machine, start)
        machine.wait_ssh()
        told["facts after"] = updating.facts(machine)
        told["after"] = updating.state(machine)
    return told


