"""The plug is pulled at random moments of an update: on paper, by replaying the writes of one, and for real, by killing the machine."""

import pathlib
import random
import tempfile
import time

import cuts
import disk
import pytest
from intact import Intact
from machine import FULL, Machine, overlay, patience

import updating

SEED = 20261122
REPLAYED = 200 if FULL else 60
BOOTED = 4 if FULL else 0
# Of the short set the one cut hits the writing of the slot.
KILLED = 20 if FULL else 1


@pytest.fixture(scope="module")
def replayed(updated):
    with tempfile.TemporaryDirectory(prefix="kvmd-cuts-", dir="/var/tmp") as place:
        log = cuts.Log(updated.log)
        place = pathlib.Path(place)
        parts = disk.partitions(updated.before)
        # A third of the cuts is close to writes of the boot choice.
        focus = log.touching(parts["sel"].offset, parts["sel"].size)
        print(f"{len(log)} writes, {sum(entry.size for entry in log.entries) >> 20} MiB; {len(focus)} of them on the boot choice's partition")
        yield log, focus, cuts.Replay(log, updated.before, place), Intact(updated.before, updated.after, place), place


def test_any_cut_of_an_update_leaves_a_system_that_starts(replayed):
    log, focus, replay, intact, place = replayed
    assert focus, "the update did not write the boot choice"
    chance = random.Random(SEED)
    began = time.monotonic()
    kept = []
    wanted = cuts.moments(log, REPLAYED, SEED, focus)
    booted = set(chance.sample(range(len(wanted)), BOOTED))
    for number, moment in enumerate(wanted):
        late = replay.cut(moment, chance)
        try:
            intact.judge(replay, late)
        except AssertionError as error:
            raise AssertionError(f"cut {number} after write {moment} of {len(log)} (seed {SEED}): {error}") from None
        if number in booted:
            kept.append((moment, place / f"cut-{moment}.raw"))
            replay.whole(kept[-1][1], late)
    print(f"{len(wanted)} cuts judged in {time.monotonic() - began:.0f} s; choices seen: {sorted(intact.seen)}")
    assert ("a", "a") in intact.seen and ("b", "b") in intact.seen
    for moment, path in kept:
        card = overlay(path, path.with_suffix(".qcow2"))
        with tempfile.TemporaryDirectory(prefix="kvmd-image-", dir="/var/tmp") as run, Machine(card, directory=run) as machine:
            comes_up(machine, f"the replayed cut after write {moment}")
        path.unlink()


def comes_up(machine, what):
    """The page is there, the owner is let in with the settings' password, SSH with the settings' key."""
    took = machine.wait_page(400)
    machine.wait_here(lambda: machine.get("/api/auth/check").status_code == 200, f"the owner to be let in after {what}", 120)
    machine.wait_ssh()
    slots = updating.slots_started(machine)
    print(f"{what}: page after {took:.0f} s, slots started: {slots}, host name {machine.ssh('hostname').strip()}")
    assert "data-lost" not in machine.ssh("ls /run/kvmd-boot")


@pytest.fixture(scope="module")
def ready(claimed, releases, tmp_path_factory):
    """An appliance that has the next release's bundle, and has not installed it."""
    place = tmp_path_factory.mktemp("ready")
    machine = claimed.thaw()
    with machine:
        machine.wait_page()
        answer = updating.upload(machine, releases.good())
        assert answer.status_code == 200, answer.text
        return machine.freeze(place / "frozen")


@pytest.fixture(scope="module")
def whole_time(ready, request):
    """How long the installation takes from here, so that cuts can be spread over it."""
    if not FULL:
        # About half of what an upload and the installation took together, and another installation less.
        return request.getfixturevalue("updated").told["page"]["seconds"] / 2
    with ready.thaw() as machine:
        began = time.monotonic()
        assert machine.post(f"{updating.UPDATE}/install").status_code == 200
        machine.wait_here(lambda: updating.done(updating.state(machine)), "the installation's end", 300, 0.5)
        return time.monotonic() - began


@pytest.mark.parametrize("number", range(KILLED))
def test_killed_in_an_update_it_comes_up_with_its_settings(ready, whole_time, number):
    """Most cuts hit the writing of the slot, every fourth what comes after: the restart into the new release."""
    chance = random.Random(SEED + number)
    with ready.thaw() as machine:
        assert machine.post(f"{updating.UPDATE}/install").status_code == 200
        if number % 4 == 3:
            machine.wait_here(lambda: updating.done(updating.state(machine)), "the installation's end", 300, 0.5)
            start = len(machine.serial.lines)
            assert machine.post(f"{updating.UPDATE}/reboot").status_code == 200
            machine.serial.wait_for_line(r"kvmd: slot b", 240, start)
            when = chance.uniform(0, patience(60))
        else:
            when = chance.uniform(0, whole_time * 1.1)
        # The moment itself is what is tested: nothing to wait for.
        time.sleep(when)
        machine.power_cut()
        machine.boot()
        comes_up(machine, f"cut {number} at {when:.1f} s")
