"""Factory reset: by the web face, and by a file on the card. It forgets everything but the drive's images, and begins as a new one."""

import disk
import pytest

import first
from machine import rows


@pytest.mark.parametrize("way", rows(("face", "card"), default=("face",)))
def test_a_factory_reset_makes_it_a_new_appliance(claimed, began, way):
    machine = claimed.thaw()
    with machine:
        machine.wait_page()
        machine.wait_ssh()
        answer = machine.request("POST", "/api/msd/write?image=kept.iso", data=b"an image" * 8192)
        assert answer.status_code == 200, answer.text
        machine.ssh("sync")
        certificate = first.certificate(machine)
        start = len(machine.serial.lines)
        # Not by a connection of before.
        machine._end_ssh()
        if way == "face":
            assert machine.post("/api/system/factory_reset").status_code == 400, "without a second thought"
            answer = machine.post("/api/system/factory_reset?confirm=1")
            assert answer.status_code == 200, answer.text
            machine.serial.wait_for_line(r"kvmd: slot", 240, start)
        else:
            machine.power_cut()
            disk.put_into_sel(machine.disk, **{"factory-reset": ""})
            start = 0
            machine.boot()
        machine.serial.wait_for_line(r"factory reset", 240, start)
        machine.wait_here(lambda: (answer := machine.answers()) is not None and answer.status_code == 403, "the claim page", 300, 1)
        answer = machine.request("GET", "/api/info", headers={})
        assert answer.json()["result"]["error"] == "NotClaimedError"
        assert machine.request("GET", "/api/info").json()["result"]["error"] == "NotClaimedError", "the old owner's password"
        machine.wait_here(lambda: refuses_the_key(machine), "SSH to answer", 120, 1)
        code = first.code_on(machine)
        assert code != began.facts["console"]
        assert first.certificate(machine) not in (certificate, began.facts["own"]["certificate"])
        # And it can be somebody's again: the drive's images are still there.
        answer = machine.request("POST", "/api/system/claim", headers={}, data={"code": code, "user": "admin", "passwd": "other-lamp-93-viola"})
        assert answer.status_code == 200, answer.text
        machine.credentials = {"X-KVMD-User": "admin", "X-KVMD-Passwd": "other-lamp-93-viola"}
        images = machine.get("/api/msd").json()["result"]["storage"]["images"]
        assert images["kept.iso"]["size"] == 65536


def refuses_the_key(machine):
    """Whether sshd is there and lets the old owner's key not in; who is not there yet refuses nothing."""
    code, said = machine.ssh("true", check=False)
    assert code != 0, "the old owner's key is still good"
    return "Permission denied" in said
