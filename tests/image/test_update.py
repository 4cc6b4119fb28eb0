"""Updates: to the next release and back, by the page's way and by kvmctl's; releases that fail; bundles that are refused."""

import time

import disk
import pytest

import second
import updating
from machine import FULL, rows


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
    "truncated": {"UpdateBundleError", "UpdateSignatureError"},
    "flipped": {"UpdateError", "UpdateBundleError"},
    "other_board": {"UpdateBoardError"},
    "old": {"UpdateVersionError"},
}


@pytest.mark.parametrize("kind", rows(REFUSED, default=("foreign", "flipped", "old")))
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


# What a release says before it fails, if it comes so far, and what the reason then is.
BROKEN = {
    "dead": (None, " ready"),
    "panicking": ("test: panicking", "a crash, a hang"),
    "hanging": ("test: hanging", "a crash, a hang"),
    "unconfigured": (None, "supervisor"),
    "aborting": (None, "supervisor"),
    "nameless": (None, "supervisor"),
}


@pytest.mark.parametrize("kind", rows(BROKEN, default=("dead", "panicking")))
def test_a_release_that_does_not_work_comes_back_by_itself(claimed, releases, kind):
    """It lies in the other slot already: that an update brings it there is for others to show."""
    comes_back(claimed, getattr(releases, kind)(), kind)


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only")
def test_a_release_that_was_uploaded_and_does_not_work_comes_back_by_itself(claimed, releases):
    with claimed.thaw() as machine:
        machine.wait_page()
        made = releases.dead()
        updating.install(machine, releases.of(made))
        start = len(machine.serial.lines)
        assert machine.post(f"{updating.UPDATE}/reboot").status_code == 200
        told = gives_up(machine, "dead", start)
        assert told["rolled_back"]["version"] == made.version, told
        assert [entry["outcome"] for entry in told["history"]][-2:] == ["installed", "rolled_back"], told


def comes_back(claimed, made, kind):
    with claimed.cold() as machine:
        disk.try_next(machine.disk, made.root, made.boot)
        machine.boot()
        return gives_up(machine, kind)


def gives_up(machine, kind, start=0):
    """From the start of slot b to the page of slot a, and what that says of it."""
    says, why = BROKEN[kind]
    tried = machine.serial.wait_for_line(r"kvmd: slot b", 240, start)[0]
    if says:
        machine.serial.wait_for_line(says, 240, start)
    gave_up = machine.serial.wait_for_line(r"kvmd: slot a", 900, start)[0]
    machine.wait_here(lambda: machine.answers() is not None, "the old release", 300)
    print(f"{kind}: given up after {gave_up - tried:.0f} s, back after {time.monotonic() - tried:.0f} s; resets and watchdog: {machine.resets()}")
    # The page may be there before the supervisor has looked at what happened.
    machine.wait_here(lambda: updating.state(machine)["state"] == "rolled_back", "the reason", 60, 1)
    told = updating.state(machine)
    updating.show(told)
    assert updating.slots_started(machine, start) == ["b", "a"]
    assert machine.get("/api/auth/check").status_code == 200
    reason = told["rolled_back"]["reason"]
    assert why in reason and told["history"][-1]["outcome"] == "rolled_back", told
    assert reason in machine.get("/api/log?seek=3600").text
    if kind == "hanging":
        assert machine.resets()[1] >= 1, "it was not the watchdog"
    # And it is not tried again.
    machine.wait_ssh()
    assert disk.text_of_choice(machine.ssh("cat /boot/sel/grub/grubenv")) == ("a", "a")
    return told


FILL = "for time in 1 2 3; do dd if=/dev/zero of=/data/fill$time bs=64k 2>/dev/null; sync; done; df /data | tail -n 1"


def test_a_full_disk_stops_neither_login_nor_log_nor_the_next_update(claimed, releases):
    with claimed.thaw() as machine:
        machine.wait_ssh()
        print(machine.ssh(FILL, seconds=300))
        lives(machine)
        bundle = releases.good()
        status, said = updating.announce(machine, bundle.stat().st_size)
        print(f"upload onto a full disk: {status} {said}")
        assert (status, said["error"]) == (507, "UpdateNoSpaceError"), said
        told = updating.state(machine)
        assert (told["state"], told["error"]) == ("idle", None), told
        machine.ssh("rm /data/fill*; sync")
        # It says so itself if that is not ready in the end.
        updating.install(machine, bundle)


def lives(machine):
    """Who has the password is let in, and the log can be read."""
    assert machine.get("/api/auth/check").status_code == 200
    form = {"user": "admin", "passwd": machine.credentials["X-KVMD-Passwd"]}
    assert machine.request("POST", "/api/auth/login", headers={}, data=form).status_code == 200
    assert "kvmd" in machine.get("/api/log?seek=600").text


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only")
def test_a_release_without_room_for_its_settings_comes_back_by_itself(claimed, releases):
    """What fills the disk between the installation and the start."""
    made = releases.working()
    with claimed.thaw() as machine:
        machine.wait_ssh()
        print(machine.ssh(FILL, seconds=300))
        machine.monitor.run("stop")
        machine.power_cut()
        disk.try_next(machine.disk, made.root, made.boot)
        machine.boot()
        machine.serial.wait_for_line(r"kvmd: slot b", 240)
        machine.serial.wait_for_line(r"kvmd: slot a", 300)
        machine.wait_here(lambda: machine.answers() is not None, "the old release", 300)
        lives(machine)
        told = updating.state(machine)
        updating.show(told)
        assert updating.slots_started(machine) == ["b", "a"]
        assert told["state"] == "rolled_back" and told["rolled_back"]["reason"], told


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only")
def test_a_restart_by_its_owner_is_no_failed_start(claimed, releases):
    """Restarted before the health check has said anything: the new release is tried again, not given up. A good one is found good within seconds
    of its page, so this one never is, until a person says so."""
    made = releases.blind()
    with claimed.cold() as machine:
        disk.try_next(machine.disk, made.root, made.boot)
        machine.boot()
        machine.wait_page(300)
        told = updating.state(machine)
        assert told["trial"] and updating.slots_started(machine) == ["b"], told
        start = len(machine.serial.lines)
        answer = machine.post("/api/system/reboot")
        assert answer.status_code == 200, answer.text
        machine._end_ssh()
        machine.serial.wait_for_line(r"kvmd: slot", 300, start)
        # As early as can be: its second trial has an end, too, and that does not wait for slow machines.
        machine.wait_here(lambda: machine.ssh("kvmctl update mark-good", check=False)[0] == 0, "somebody to say that it is good", 300, 1)
        machine.wait_here(lambda: machine.answers() is not None, "HTTPS after the restart", 300, 0.3)
        assert updating.slots_started(machine) == ["b", "b"]
        told = updating.wait_good(machine)
        assert told["release"]["version"] == made.version, told
        assert [entry["outcome"] for entry in told["history"]] == ["good"], told
