"""With a machine as the target: a daemon that dies leaves no key down."""

import os
import signal
import statistics
import time

from appliance import wait_for


def test_the_target_comes_back_twenty_times(machine):
    took = []
    for _ in range(20):
        old = wait_for(lambda: machine.child("qemu-system-x86_64"), "the target's process")
        os.kill(old, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: machine.child("qemu-system-x86_64") not in (None, old), "the target's process again")
        took.append(time.monotonic() - began)
    print(f"the target was back after {min(took):.2f} to {max(took):.2f} s")
    assert statistics.median(took) < 2, took
    wait_for(lambda: machine.result("/api/atx")["leds"]["power"], "the power light")
    wait_for(lambda: machine.result("/api/hid")["online"], "the keyboard")
    assert not machine.zombies()


def test_a_key_held_while_kvmd_dies_is_released(machine):
    """Shift shows whether it is down: what is typed meanwhile is upper-case."""
    with machine.socket(stream=1):
        machine.wait_screen("KVM TARGET READY")
        for attempt in range(20):
            with machine.socket() as viewer:
                viewer.key("ShiftLeft", True)
                if attempt == 0:
                    viewer.type("held")
                    viewer.tap("Enter")
                    assert "HELD" in machine.wait_screen("You typed: held")
                old = machine.child("kvmd")
                os.kill(old, signal.SIGKILL)
            wait_for(lambda: machine.child("kvmd") not in (None, old), "kvmd again")
            wait_for(lambda: machine.result("/api/hid")["online"], "the keyboard")
    with machine.socket(stream=1) as viewer:
        wait_for(lambda: machine.get("/api/streamer/snapshot").status_code == 200, "the picture again")
        viewer.type("let go")
        viewer.tap("Enter")
        text = machine.wait_screen("You typed: let go")
        assert "let go" in text and "LET GO" not in text
