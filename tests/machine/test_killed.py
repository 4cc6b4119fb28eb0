"""With a machine as the target: a daemon that dies leaves no key down."""

import os
import signal

from appliance import wait_for


def test_a_key_held_while_kvmd_dies_is_released(machine):
    with machine.socket(stream=1) as viewer:
        viewer.wait(lambda s: (s.states["streamer"].get("streamer") or {}).get("source", {}).get("online"), "a live source")
        machine.wait_screen("KVM TARGET READY")
        viewer.tap("Enter")
        viewer.key("KeyZ", True)
        machine.wait_screen("zzzz")  # the target repeats it: it is really down
        os.kill(machine.child("kvmd"), signal.SIGKILL)
    with machine.socket(stream=1) as viewer:
        wait_for(lambda: machine.get("/api/streamer/snapshot").status_code == 200, "the picture again")
        viewer.tap("Enter")
        viewer.type("released")
        viewer.tap("Enter")
        machine.wait_screen("You typed: released")
