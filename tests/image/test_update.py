"""Updates: to the next release and back, by the page's way and by kvmctl's; releases that fail; bundles that are refused."""

import time

import disk
import pytest

import second
import updating
from machine import patience


def test_an_update_starts_the_other_slot_and_is_found_good(updated, releases):
    told = updated.told
    print(f"{told['page']['seconds']:7.1f} s  from opening the page until it is installed")
    print(f"{told['restart']:7.1f} s  restart to the first HTTPS answer\n{told['good after']:7.1f} s  restart to the health check's word")
    updating.show(told["after"])
    assert told["slots"] == ["b"]
    assert told["system"]["slot"] == "b" and told["system"]["release"]["version"] == releases.newer(1)


def test_its_progress_is_shown(updated):
    shown = [event["percent"] for event in updated.told["shown"] if event["state"] == "installing"]
    assert len(set(shown)) >= 3 and shown == sorted(shown), shown
    said = updated.told["page"]["said"]
    print("\n".join(said))
    assert len(said) >= 3 and updated.told["page"]["problems"] == []


def test_settings_and_users_survive_it(updated):
    assert updated.told["facts after"] == updated.told["facts before"]


def test_the_log_tells_of_it(updated):
    assert "good" in updated.told["log"]


def test_kvmctl_brings_the_next_one_signed_by_the_other_root(updated, releases):
    told = second.back(updated, releases)
    print(told["said"])
    assert told["slots"] == ["a"]
    assert told["facts after"] == updated.told["facts before"]
    assert "%" in told["said"]


# What is refused, and the classes of errors that are right for it.
REFUSED = {
    "foreign": {"UpdateSignatureError"},
    "other_board": {"UpdateBoardError"},
    "truncated": {"UpdateBundleError", "UpdateSignatureError"},
    "flipped": {"UpdateError", "UpdateBundleError"},
    "old": {"UpdateVersionError"},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bundle_that_must_not_be_installed_is_refused(claimed, releases, kind):
    """And nothing of the running slot is touched, nor what starts next."""
    bundle = getattr(releases, kind)()
    before = disk.sums(claimed.disk, ("boot_a", "root_a"))
    with claimed.thaw() as machine:
        machine.wait_page()
        answer = updating.upload(machine, bundle)
        if answer.status_code == 200:
            answer = machine.post(f"{updating.UPDATE}/install")
        if answer.status_code == 200:
            machine.wait_here(lambda: updating.done(updating.state(machine)), "the installation's end", 300, 1)
        told = updating.state(machine)
        error = told["error"] if answer.status_code == 200 else answer.json()["result"]
        print(f"{kind}: {answer.status_code} {error}")
        assert told["state"] == "idle" and error["error"] in REFUSED[kind] and error["error_msg"]
        assert machine.get("/api/auth/check").status_code == 200
        machine.wait_ssh()
        machine.ssh("sync")
        machine.monitor.run("stop")
        machine.power_cut()
        assert disk.sums(machine.disk, ("boot_a", "root_a")) == before
        assert disk.next_slot(disk.read_sel(machine.disk, "grub/grubenv")) == ("a", "a")


BROKEN = {"dead": None, "panicking": "test: panicking", "hanging": "test: hanging"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_release_that_does_not_work_comes_back_by_itself(claimed, releases, kind):
    bundle = getattr(releases, kind)()
    with claimed.thaw() as machine:
        machine.wait_page()
        updating.install(machine, bundle)
        start = len(machine.serial.lines)
        began = time.monotonic()
        assert machine.post(f"{updating.UPDATE}/reboot").status_code == 200
        machine.serial.wait_for_line(r"kvmd: slot b", 240, start)
        tried = time.monotonic()
        if BROKEN[kind]:
            machine.serial.wait_for_line(BROKEN[kind], 240, start)
        machine.serial.wait_for_line(r"kvmd: slot a", 900, start)
        gave_up = time.monotonic()
        machine.wait_here(lambda: machine.answers() is not None, "the old release", 300)
        told = updating.state(machine)
        print(f"{kind}: restarted {tried - began:.0f} s after the wish, given up after {gave_up - tried:.0f} s, back after {time.monotonic() - tried:.0f} s")
        print(f"resets and watchdog: {machine.resets()}")
        updating.show(told)
        assert updating.slots_started(machine, start) == ["b", "a"]
        assert machine.get("/api/auth/check").status_code == 200
        assert told["state"] == "rolled_back" and told["rolled_back"]["reason"], told
        assert told["history"][-1]["outcome"] == "rolled_back"
        assert told["rolled_back"]["reason"] in machine.get("/api/log?seek=3600").text
        if kind == "hanging":
            assert machine.resets()[1] >= 1, "it was not the watchdog"


def test_a_full_disk_stops_neither_login_nor_log_nor_update(claimed, releases):
    with claimed.thaw() as machine:
        machine.wait_ssh()
        machine.ssh("fallocate -l 10G /data/fill 2>/dev/null; dd if=/dev/zero of=/data/fill2 bs=1M 2>/dev/null; df /data", check=False, seconds=300)
        assert machine.get("/api/auth/check").status_code == 200
        assert machine.request("POST", "/api/auth/login", headers={}, data={"user": "admin", "passwd": machine.credentials["X-KVMD-Passwd"]}).status_code == 200
        assert "kvmd" in machine.get("/api/log?seek=600").text
        answer = updating.upload(machine, releases.good())
        if answer.status_code == 200:
            answer = machine.post(f"{updating.UPDATE}/install")
            machine.wait_here(lambda: updating.done(updating.state(machine)), "the installation's end", 300, 1)
        print(f"upload onto a full disk: {answer.status_code} {answer.text[:300]} {updating.state(machine)}")
        start = len(machine.serial.lines)
        machine.ssh("sync; systemctl reboot", check=False)
        updating.wait_restarted(machine, start)
        assert machine.get("/api/auth/check").status_code == 200
        machine.wait_ssh()
        machine.ssh("rm -f /data/fill /data/fill2", seconds=patience(60))


def test_a_restart_by_its_owner_is_no_failed_start(claimed, releases):
    """Installed, started, and restarted before the health check could say anything: the new release is tried again, not given up."""
    with claimed.thaw() as machine:
        machine.wait_page()
        updating.install(machine, releases.good())
        start = len(machine.serial.lines)
        updating.restart(machine)
        machine.ssh("systemctl reboot", check=False)
        updating.wait_restarted(machine, len(machine.serial.lines))
        updating.wait_good(machine)
        assert updating.slots_started(machine, start) == ["b", "b"]
