"""The front panel and the switches on a GPIO chip: how long a press is, what a light does, and what is left when the daemon dies."""

import os
import signal
import time

import pytest
from appliance import wait_for
from host import Watcher

POWER_LED, HDD_LED, POWER, RESET = 24, 22, 23, 27


def test_a_press_lasts_as_long_as_it_should(wired):
    wait_for(lambda: not wired.result("/api/atx")["busy"], "the panel to be idle")
    with Watcher(wired.chip, POWER) as line:
        assert wired.post("/api/atx/click?button=power_long&wait=1").status_code == 200
        wait_for(line.presses, "the press to be over")
        (press,) = line.presses()
    print(f"a long press lasted {press:.3f} s")
    # Not shorter: the machine would stay on. Longer by what a busy machine may do.
    assert 5.5 <= press < 15
    with Watcher(wired.chip, RESET) as line:
        # A watcher that a busy machine keeps from looking may miss one.
        for _ in range(5):
            assert wired.post("/api/atx/click?button=reset&wait=1").status_code == 200
            if line.presses():
                break
        press = line.presses()[0]
    print(f"a short press lasted {press:.3f} s")
    assert 0.1 <= press < 4, "a long one would cut the power"


@pytest.mark.parametrize(("led", "line"), [("power", POWER_LED), ("hdd", HDD_LED)])
def test_a_light_follows_its_line(wired, led, line):
    with wired.socket() as socket:
        socket.wait_event("atx")
        for on in (True, False, True, False):
            began = time.monotonic()
            wired.chip.pull(line, on)
            socket.wait(lambda s: s.states["atx"]["leds"][led] is on, f"{led} light {on}")
            print(f"{led} light {on} after {time.monotonic() - began:.3f} s (debounce 0.1 s)")


def test_a_bounce_is_no_light(wired):
    with wired.socket() as socket:
        socket.wait_event("atx")
        for _ in range(20):
            wired.chip.pull(POWER_LED, True)
            wired.chip.pull(POWER_LED, False)
        # A real change afterwards is the only one that is told.
        before = len(socket.events)
        wired.chip.pull(HDD_LED, True)
        socket.wait(lambda s: s.states["atx"]["leds"]["hdd"], "the disk light")
        told = [event["event"]["leds"]["power"] for event in socket.events[before:] if event["event_type"] == "atx"]
        assert not any(told)


def test_a_crash_in_the_middle_of_a_press_lets_the_line_go(wired):
    for _ in range(3):
        assert wired.post("/api/atx/click?button=power_long").status_code == 200
        wait_for(lambda: wired.chip.level(POWER), "the press to begin", pause=0.005)
        began = time.monotonic()
        old = wired.child("kvmd")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: not wired.chip.level(POWER), "the line to be let go", pause=0.005)
        print(f"let go {time.monotonic() - began:.3f} s after the kill")
        assert time.monotonic() - began < 4, "it was let go, it did not just end"
        wait_for(lambda: wired.child("kvmd") not in (None, old), "kvmd to come back")
        wait_for(lambda: wired.get("/api/atx").status_code == 200, "the API")
        assert not wired.chip.level(POWER)


def test_a_switch_that_is_on_stays_on_through_a_crash(wired):
    assert wired.post("/api/gpio/switch?channel=swonly&state=1&wait=1").status_code == 200
    assert wired.chip.level(21)
    with Watcher(wired.chip, 21) as line:
        for _ in range(3):
            old = wired.child("kvmd")
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: wired.child("kvmd") not in (None, old), "kvmd to come back")
            # The new daemon knows that it is on.
            wait_for(lambda: wired.result("/api/gpio")["state"]["outputs"]["swonly"]["state"], "the switch to be seen on")
        assert wired.chip.level(21) and not line.changes
    assert wired.post("/api/gpio/switch?channel=swonly&state=0&wait=1").status_code == 200
    assert not wired.chip.level(21)


def test_an_input_channel_follows_its_line(wired):
    with wired.socket() as socket:
        socket.wait_event("gpio")
        for on in (True, False):
            wired.chip.pull(19, on)
            wait_for(lambda: wired.result("/api/gpio")["state"]["inputs"]["led1"]["state"] is on, f"led1 {on}")


def test_a_pulse_is_a_pulse_on_the_line(wired):
    with Watcher(wired.chip, 20) as line:
        assert wired.post("/api/gpio/pulse?channel=relay1&delay=1.0&wait=1").status_code == 200
        wait_for(line.presses, "the pulse to be over")
        (pulse,) = line.presses()
    assert 1 <= pulse < 10
