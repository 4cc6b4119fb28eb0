"""From the flashed card to the console page, in QEMU: firmware, boot loader, kernel, initramfs, systemd, supervisor, claim."""

import disk
import pytest

import first
from machine import FULL, Machine, overlay, public_key, run


def test_it_starts_and_says_how_long_each_stage_took(began):
    for stage, seconds in began.stages.items():
        print(f"{seconds:8.1f} s  {stage}")
    print(began.facts["kernel's"])
    assert "first HTTPS answer" in began.stages


def test_unclaimed_it_shows_the_claim_page_and_nothing_else(began):
    seen = began.facts["before"]
    assert seen["/"][0] in (302, 303, 307) and seen["/"][1].endswith("/claim/")
    assert seen["/claim/"][0] == 200
    assert seen["/api/system/claim"][0] == 200 and seen["/api/system/claim"][1]["claimed"] is False
    for path in ("/api/info", "/api/auth/check", "/api/log", "/api/hid", "/api/system/update"):
        assert (seen[path][0], seen[path][1].get("error")) == (403, "NotClaimedError"), path
    assert seen["wrong code"][0] == 403
    assert seen["http"][0] in (301, 308) and seen["http"][1].startswith("https://")


def test_the_code_is_on_the_console_and_on_the_card(began):
    code = began.facts["console"].replace("-", "")
    assert code in began.facts["sel"].replace("-", "")


def test_what_the_card_brought_is_gone_from_it(began):
    assert "ssh-ed25519" not in began.facts["sel"]
    # Not only its name: the sectors as well.
    with disk.partition(began.frozen.disk, "sel") as fat:
        assert public_key().split()[1].encode() not in fat.read_bytes()


def test_claiming_in_a_browser_leads_to_the_console(began):
    claim = began.facts["claim"]
    print(f"claimed in {claim['seconds']:.1f} s")
    assert claim["first page"] == "/claim/" and claim["last page"] == "/"
    assert claim["problems"] == []
    assert claim["picture"] > 100


def test_the_owner_is_let_in_and_nobody_else(claimed):
    with claimed.thaw() as machine:
        machine.wait_page()
        assert machine.get("/api/auth/check").status_code == 200
        assert machine.get("/api/auth/check", headers={}).status_code == 401
        assert machine.get("/api/auth/check", headers={"X-KVMD-User": "admin", "X-KVMD-Passwd": "admin"}).status_code == 403
        assert machine.post("/api/system/claim", headers={}, data={"code": "AAAAAAAA", "passwd": "x"}).status_code in (400, 403, 409)
        told = machine.get("/api/system").json()["result"]
        assert (told["claimed"], told["hostname"], told["timezone"], told["slot"]) == (True, first.NAME, first.ZONE, "a"), told
        with machine.socket() as socket:
            socket.wait_event("loop")


def test_ssh_by_key_the_log_and_the_drive(claimed):
    with claimed.thaw() as machine:
        machine.wait_ssh()
        log = machine.get("/api/log?seek=3600").text
        assert "kvmd-supervisor" in log and "kvmd " in log
        # The drive grew into what the disk has beyond the image.
        size = int(machine.ssh("df --output=size -B1 $(findmnt -n -o TARGET /dev/kvmd-disk/msd || findmnt -n -o TARGET LABEL=PIMSD)").split()[-1])
        assert size > 1 << 30, f"{size >> 20} MiB"
        drive = machine.get("/api/msd").json()["result"]
        assert drive["storage"]["parts"][""]["size"] > 1 << 30, drive
        assert "root=" in machine.ssh("cat /proc/cmdline") or "kvmd.slot=a" in machine.ssh("cat /proc/cmdline")
        refused = machine.ssh("touch /usr/no", check=False)
        assert refused[0] != 0 and "Read-only" in refused[1]


def test_a_password_is_no_way_in_by_ssh(claimed):
    import subprocess

    with claimed.thaw() as machine:
        machine.wait_ssh()
        command = ["ssh", "-v", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes"]
        said = subprocess.run([*command, "-p", str(machine.ssh_port), "root@127.0.0.1", "true"], capture_output=True, text=True, check=False)
        assert said.returncode == 255 and "Permission denied (publickey)" in said.stderr, said.stderr


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only: tests/image/test_root.py asks the same of the root, without a boot chain")
def test_two_appliances_of_one_image_share_no_secret(began, image, tmp_path):
    """Another card, flashed from the same image."""
    card = overlay(image, tmp_path / "card.qcow2")
    disk.put_into_sel(card, kvm_yaml=f"ssh_keys: [\"{public_key()}\"]\n")
    with Machine(card, directory=tmp_path) as other:
        other.wait_page(300)
        other.wait_ssh()
        theirs = first.own(other)
        theirs["claim code"] = first.code_on(other)
    ours = dict(began.facts["own"], **{"claim code": began.facts["console"]})
    assert set(ours) == set(theirs)
    assert [name for name in ours if not ours[name] or ours[name] == theirs[name]] == []


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only: tests/lab and the supervisor's own tests play it without a boot chain")
def test_on_a_larger_card_the_drive_grows_with_the_images_on_it(claimed):
    """A card that was used, copied to a larger one. The file system is mounted then, and systemd runs what grows it."""
    image = bytes(range(256)) * 8192
    with claimed.thaw() as machine:
        machine.wait_page()
        answer = machine.request("POST", "/api/msd/write?image=kept.iso", data=image)
        assert answer.status_code == 200, answer.text
        before = machine.get("/api/msd").json()["result"]["storage"]["parts"][""]["size"]
        machine.ssh("sync")
        machine.power_cut()
        run("qemu-img", "resize", "-q", machine.disk, "+1G")
        machine.boot()
        machine.wait_page(400)
        size = lambda: machine.get("/api/msd").json()["result"]["storage"]["parts"].get("", {"size": 0})["size"]  # noqa: E731
        machine.wait_here(lambda: size() > before + (900 << 20), "the larger drive", 240, 1)
        assert machine.get("/api/msd/read?image=kept.iso").content == image
        machine.wait_ssh()
        assert "reaches to its partition's end now" in machine.get("/api/log").text
        ended = machine.ssh("journalctl -u kvmd-grow.service --no-pager -o cat")
        print(f"the drive: {before >> 20} MiB, then {size() >> 20} MiB\n{ended}")
        assert "resize2fs" in ended


@pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only: the log of a start has to be over, and that takes six minutes")
def test_idle_it_writes_next_to_nothing(claimed):
    """At most 1 MB a day, which is nothing at all in most minutes. So what may be seen is one event: its line in the log, and half a minute
    later what the file system notes of that. The last event of a start is the end of its trial, five minutes after it."""
    minutes = 20
    with claimed.thaw() as machine:
        machine.wait_ssh()
        # One connection, and no program that is not in memory already, so that the log and the disk are not busy with who looks.
        script = """
            stat=/sys/block/$(sed -n s/disk=//p /run/kvmd-boot/slot)/stat
            written() { read -r _ _ _ _ _ _ sectors _ <$stat; echo $sectors; }
            until [ "$(systemctl show kvmd-trial.service -P ExecMainExitTimestampMonotonic)" != 0 ]; do sleep 5; done
            # Once a day, for the first time a quarter of an hour after the start.
            systemctl stop systemd-tmpfiles-clean.timer; systemctl start systemd-tmpfiles-clean.service
            # What the kernel thinks of a clock that is emulated on a busy computer is no device's.
            mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\\nReadKMsg=no\\n' >/run/systemd/journald.conf.d/idle.conf
            systemctl restart systemd-journald
            for try in $(seq 10); do sync; before=$(written); sleep 60; [ $before != $(written) ] || break; done
            for time in $(seq SAMPLES); do written; sleep 60; done
            sync; written"""
        text = machine.ssh(script.replace("SAMPLES", str(minutes)), seconds=minutes * 60 + 1200)
    samples = [int(line) * 512 for line in text.split()]
    steps = [after - before for before, after in zip(samples, samples[1:], strict=False)]
    # What follows within a minute belongs together.
    events = sum(1 for before, step in zip([0, *steps], steps, strict=False) if step and not before)
    total = samples[-1] - samples[0]
    print(f"{total} bytes in {minutes} min, in {events} events: {total * 1440 / minutes / 1e6:.2f} MB a day")
    assert len(samples) == minutes + 1 and events <= 1, steps
    assert total <= 1e6 * minutes / 1440 + (256 << 10), steps
