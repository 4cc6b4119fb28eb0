"""The main job: a person's keys reach a real (virtual) machine, its screen comes back, its power and drive obey."""

import hashlib
import os
import signal

import pytest
from appliance import ROOT, wait_for

RESCUE = ROOT / ".cache/target/rescue.iso"


@pytest.fixture(scope="module")
def viewer(machine):
    with machine.socket(stream=1) as socket:
        socket.wait(lambda s: (s.states["streamer"].get("streamer") or {}).get("source", {}).get("online"), "a live source")
        machine.wait_screen("KVM TARGET READY")
        yield socket


def test_typing_through_the_websocket_appears_on_the_screen(machine, viewer):
    viewer.type("hello world 42")
    viewer.tap("Enter")
    machine.wait_screen("You typed: hello world 42")


def test_text_is_typed_by_print(machine, viewer):
    answer = machine.post("/api/hid/print?limit=0", data=b"Printed: 1 + 1 = 2!\n")
    assert answer.status_code == 200, answer.text
    machine.wait_screen("You typed: Printed: 1")


def test_an_uploaded_iso_is_inserted_and_booted(machine, viewer):
    name = "rescue disk.iso"
    with RESCUE.open("rb") as image:
        answer = machine.post(f"/api/msd/write?image={name}", data=image)
    assert answer.status_code == 200, answer.text
    written = answer.json()["result"]["image"]
    size, digest = RESCUE.stat().st_size, hashlib.sha256(RESCUE.read_bytes()).hexdigest()
    assert written == {"name": name, "size": size, "written": size, "sha256": digest}
    assert machine.post(f"/api/msd/set_params?image={name}&cdrom=1").status_code == 200
    assert machine.post("/api/msd/set_connected?connected=1").status_code == 200
    viewer.wait(lambda s: (s.states["msd"].get("drive") or {}).get("connected"), "the drive to be connected")
    assert machine.post("/api/atx/click?button=reset&wait=1").status_code == 200
    machine.wait_screen("RESCUE ISO READY")
    assert machine.post("/api/msd/set_connected?connected=0").status_code == 200
    assert machine.post(f"/api/msd/remove?image={name}").status_code == 200
    assert machine.post("/api/atx/click?button=reset&wait=1").status_code == 200
    machine.wait_screen("KVM TARGET READY")


def test_power_goes_off_and_on(machine, viewer):
    assert machine.result("/api/atx")["leds"]["power"] is True
    assert machine.post("/api/atx/power?action=off_hard&wait=1").status_code == 200
    viewer.wait(lambda s: s.states["atx"].get("leds", {}).get("power") is False, "the power light to go out")
    viewer.wait(lambda s: not s.states["streamer"]["streamer"]["source"]["online"], "the signal to go")
    assert machine.get("/api/streamer/snapshot").status_code == 503
    assert machine.post("/api/atx/power?action=on&wait=1").status_code == 200
    viewer.wait(lambda s: s.states["atx"].get("leds", {}).get("power") is True, "the power light to come on")
    machine.wait_screen("KVM TARGET READY")


def test_the_acpi_button_shuts_the_target_down(machine, viewer):
    assert machine.post("/api/atx/power?action=off&wait=1").status_code == 200
    viewer.wait(lambda s: s.states["atx"].get("leds", {}).get("power") is False, "the target to shut down")
    assert machine.post("/api/atx/power?action=on&wait=1").status_code == 200
    machine.wait_screen("KVM TARGET READY")


def test_the_target_survives_its_process(machine, viewer):
    """QEMU killed: the supervisor brings the machine back, and keyboard and screen with it."""
    old = wait_for(lambda: machine.child("qemu-system-x86_64"), "the target's process")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: machine.child("qemu-system-x86_64") not in (None, old), "the target to be started again")
    machine.wait_screen("KVM TARGET READY")
    viewer.type("back again")
    viewer.tap("Enter")
    machine.wait_screen("You typed: back again")
