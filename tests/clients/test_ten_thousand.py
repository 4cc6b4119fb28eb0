"""10,000 random key events with random disconnects: the target driver receives what a reference model says, and nothing stays pressed.

The driver under test is the one for virtual machines; the machine is a QMP server of this file, which records what arrives. The model
follows the contract: a press of a held key releases it first, a seventh key clears everything first, a connect or disconnect clears
everything and drops what was still queued. So what one session causes is a prefix of what the model says about all its events.
"""

import os
import random

import pytest
from appliance import wait_for
from fake_machine import appliance_with_fake_machine

QCODES = {f"Key{c.upper()}": c for c in "abcdefghijklm"} | {f"Digit{d}": d for d in "0123456789"}
MODIFIERS = {"ShiftLeft": "shift", "ControlLeft": "ctrl", "AltLeft": "alt", "MetaLeft": "meta_l", "ShiftRight": "shift_r", "AltRight": "alt_r"}
NAMES = QCODES | MODIFIERS
EVENTS = int(os.environ.get("KVMD_TEST_EVENTS", "10000"))


class Model:
    """What the contract says a keyboard does with the events it is given."""

    def __init__(self):
        self.held = []
        self.expected = []

    def down(self, key):
        self.held.append(key)
        self.expected.append((NAMES[key], True))

    def up(self, key):
        self.held.remove(key)
        self.expected.append((NAMES[key], False))

    def clear(self):
        for key in list(self.held):
            self.up(key)

    def apply(self, key, pressed):
        if key in self.held:
            self.up(key)
        if not pressed:
            return
        if key in QCODES and sum(held in QCODES for held in self.held) == 6:
            self.clear()
        self.down(key)


def normal(keys):
    """Releases that follow each other have no order."""
    result, run = [], []
    for key, pressed in keys:
        if pressed:
            result += sorted(run) + [(key, True)]
            run = []
        else:
            run.append((key, False))
    return result + sorted(run)


def held_after(keys):
    held = set()
    for key, pressed in keys:
        held.add(key) if pressed else held.discard(key)
    return held


@pytest.fixture
def wired():
    with appliance_with_fake_machine() as pair:
        yield pair


# A hundred seconds by the link's pace alone.
@pytest.mark.timeout(1800)
def test_the_machine_receives_what_the_model_says(wired):
    appliance, machine = wired
    generator = random.Random(2026)
    left = EVENTS
    sessions = full = lost = 0
    # The monitor tells when the server has noticed that a session (stream=1: those are counted) began or ended.
    monitor = appliance.socket(stream=0)
    while left:
        count = min(left, generator.randrange(1, 120))
        left -= count
        sessions += 1
        socket = appliance.socket(stream=1)
        monitor.wait(lambda s: s.states["clients"].get("count") == 1, "the session to be counted")
        wait_for(lambda: not held_after(machine.keys), "everything to be released at the connect")
        start, connection = len(machine.keys), machine.connections
        model = Model()
        for _ in range(count):
            key, pressed = generator.choice(list(NAMES)), generator.random() < 0.65
            socket.key(key, pressed)
            model.apply(key, pressed)
        if generator.random() < 0.5:  # let everything arrive: then nothing may be missing
            wait_for(lambda: len(machine.keys) - start >= len(model.expected), "all events to arrive", pause=0.005)
            if machine.connections == connection:
                assert normal(machine.keys[start:]) == normal(model.expected)
                full += 1
            else:
                # An answer was lost with the old connection: what may be down is said again, so only the end counts.
                wait_for(lambda: held_after(machine.keys) == {NAMES[key] for key in model.held}, "the model's state on another connection")
                lost += 1
            socket.close()
        else:  # vanish in the middle, without a goodbye
            socket.vanish()
        monitor.wait(lambda s: s.states["clients"].get("count") == 0, "the session to be gone")
        wait_for(lambda: not held_after(machine.keys), "everything to be released after the disconnect", pause=0.005)
        if machine.connections != connection:
            continue
        seen = machine.keys[start:]
        cut = next((i for i in range(len(seen), -1, -1) if is_prefix_then_release(seen, i, model.expected)), None)
        assert cut is not None, f"session {sessions}: {seen} is no prefix of {model.expected} with releases behind it"
    print(f"{sessions} sessions, {full} of them compared whole, {lost} lost their connection, {len(machine.keys)} key changes at the machine")
    assert lost < full < sessions
    assert not held_after(machine.keys)


def is_prefix_then_release(seen, cut, expected):
    """The first `cut` changes are the beginning of the model's, and the rest only lets go of what they left pressed."""
    head, rest = seen[:cut], seen[cut:]
    if any(pressed for _, pressed in rest) or {key for key, _ in rest} - held_after(head):
        return False
    return any(normal(head) == normal(expected[:end]) for end in {cut, *range(max(0, cut - 6), min(len(expected), cut + 6) + 1)})
