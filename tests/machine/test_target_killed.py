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
    with machine.socket(stream=1):
        machine.wait_screen("KVM TARGET READY")
        for attempt in range(20):
            with machine.socket() as viewer:
                viewer.tap("Enter")
                viewer.key("KeyZ", True)
                if attempt == 0:
                    machine.wait_screen("zzzz")  # the target repeats it: it is really down
                old = machine.child("kvmd")
                os.kill(old, signal.SIGKILL)
            wait_for(lambda: machine.child("kvmd") not in (None, old), "kvmd again")
            wait_for(lambda: machine.result("/api/hid")["online"], "the keyboard")
    with machine.socket(stream=1) as viewer:
        wait_for(lambda: machine.get("/api/streamer/snapshot").status_code == 200, "the picture again")
        viewer.tap("Enter")
        viewer.type("released")
        viewer.tap("Enter")
        machine.wait_screen("You typed: released")
