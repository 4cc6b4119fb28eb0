"""10,000 random key and mouse events, with random disconnects, kills of the daemon and pulled cables: the reports the host reads equal
those of a model fed with what the server received, and nothing is pressed at the end.

One session at a time. A session that ends with a goodbye is compared whole; one that vanishes or whose daemon is killed shows a prefix of
what the model says, then releases. While the cable is out reports cannot arrive: what the host sees is then a part of the model's, in
order, and it ends in the model's state once the cable is back.
"""

import os
import random
import signal

import pytest
import requests
from appliance import wait_for
from model import BUTTONS, KEYS, MODIFIERS, Keyboard, Mouse

EVENTS = int(os.environ.get("KVMD_TEST_EVENTS", "10000"))
KEYBOARD, MOUSE, SECOND_MOUSE = 0, 1, 2


def event(generator, socket, models):
    """Sends one random event; gives what the model expects of it, by interface."""
    keyboard, mouse = models[KEYBOARD], models[MOUSE]
    choice = generator.random()
    if choice < 0.6:
        name, pressed = generator.choice([*KEYS, *MODIFIERS]), generator.random() < 0.6
        socket.key(name, pressed)
        return KEYBOARD, keyboard.key(name, pressed)
    if choice < 0.75:
        name, pressed = generator.choice(list(BUTTONS)), generator.random() < 0.6
        socket.send_event("mouse_button", {"button": name, "state": pressed})
        return MOUSE, mouse.button(name, pressed)
    if choice < 0.9:
        x, y = generator.randrange(-32768, 32768), generator.randrange(-32768, 32768)
        socket.send_event("mouse_move", {"to": {"x": x, "y": y}})
        return MOUSE, mouse.move(x, y)
    x, y = generator.randrange(-127, 128), generator.randrange(-127, 128)
    socket.send_event("mouse_wheel", {"delta": {"x": x, "y": y}})
    return MOUSE, mouse.wheel(x, y)


def released(report):
    """Whether nothing is pressed in a report."""
    data = bytes.fromhex(report)
    return not any(data) if len(data) == 8 else not data[0]


def is_prefix_then_release(seen, expected):
    """`seen` is a beginning of `expected`, and behind it only reports with nothing pressed."""
    agree = next((i for i, (a, b) in enumerate(zip(seen, expected)) if a != b), min(len(seen), len(expected)))
    return all(released(report) for report in seen[agree:])


def is_part_of(seen, expected):
    """`seen` is `expected` with some left out or, next to each other, repeated."""
    place = iter([None, *expected])
    current = next(place)
    for report in seen:
        if report == current:
            continue
        for current in place:
            if report == current:
                break
        else:
            return False
    return True


def is_online(bench):
    try:
        hid = bench.result("/api/hid")
    except requests.ConnectionError:
        return False  # to a daemon that was killed
    return hid["keyboard"]["online"] and hid["mouse"]["online"]


def fresh(bench, monitor):
    """Opens a session and waits until the host has seen everything released by it."""
    socket = bench.socket(stream=0)
    # A host that has just come is told the state once more: from here on that has been.
    wait_for(lambda: is_online(bench), "keyboard and mouse to be online")
    bench.reports.wait(lambda r: r.ready() == {0, 1, 2}, "the host to read all three")
    last = lambda interface: (bench.reports.of(interface) or [""])[-1]  # noqa: E731
    wait_for(lambda: last(KEYBOARD) and released(last(KEYBOARD)) and last(MOUSE) and released(last(MOUSE)), "all released", 20, 0.005)
    return socket


def settle(socket):
    with socket.changed:
        before = len(socket.binary)
    socket.send_binary(b"\0")
    socket.wait(lambda s: len(s.binary) > before, "the answer to a ping", 30)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [2026])
def test_the_host_reads_what_the_model_says(wired, seed):
    generator = random.Random(seed)
    reports = wired.reports
    left = EVENTS
    counts = dict.fromkeys(("goodbye", "vanish", "kill", "cable"), 0)
    while left:
        kind = generator.choices(list(counts), (6, 5, 1, 2))[0]
        count = min(left, generator.randrange(1, 150))
        left -= count
        counts[kind] += 1
        socket = fresh(wired, None)
        # Markers of this session: from here on reports are its own.
        before = len(reports.of(MOUSE))
        socket.send_event("mouse_move", {"to": {"x": -32768, "y": -32768}})
        socket.send_event("mouse_move", {"to": {"x": 32767, "y": 32767}})
        markers = [Mouse(0, 0).report(), Mouse(0x7FFF, 0x7FFF).report()]
        reports.wait(lambda r, n=before: r.of(MOUSE)[n:][-2:] == markers, "the markers")
        settle(socket)
        start = len(reports.all)
        models = {KEYBOARD: Keyboard(), MOUSE: Mouse(0x7FFF, 0x7FFF)}
        expected = {KEYBOARD: [], MOUSE: []}
        cut = generator.randrange(count)
        for number in range(count):
            interface, wanted = event(generator, socket, models)
            expected[interface] += wanted
            if kind == "cable" and number == cut:
                wired.unbind()
            if kind == "cable" and number == min(cut + 20, count - 1):
                settle(socket)
                wired.bind()
        place = f"session {sum(counts.values())} ({kind}, {count} events)"
        if kind in ("goodbye", "cable"):
            settle(socket)
            if kind == "cable":
                # A host that has just found the devices throws away what they say in the first moment: one more event tells it the state.
                reports.wait(lambda r: r.ready() == {0, 1, 2}, f"{place}: the host to find the devices again", 30)
                expected[KEYBOARD] += models[KEYBOARD].key("KeyZ", KEYS["KeyZ"] not in models[KEYBOARD].slots)
                socket.key("KeyZ", KEYS["KeyZ"] in models[KEYBOARD].slots)
                expected[MOUSE] += models[MOUSE].move(0, 0)
                socket.send_event("mouse_move", {"to": {"x": 0, "y": 0}})
            for interface, model in models.items():
                wanted = len(expected[interface])
                if kind == "goodbye":
                    reports.wait(lambda r, i=interface, w=wanted: len(r.of(i, start)) >= w, f"{place}: {wanted} reports at {interface}", 30)
                    assert reports.of(interface, start) == expected[interface], place
                elif wanted:
                    state = model.report()
                    reports.wait(
                        lambda r, i=interface, s=state: state_of((r.of(i, start) or [""])[-1]) == state_of(s),
                        f"{place}: the model's state {state} at interface {interface}",
                        30,
                    )
                    assert is_part_of(squeezed(reports.of(interface, start)), expected[interface]), place
            socket.close()
        elif kind == "vanish":
            socket.vanish()
        else:
            old = wired.child("kvmd")
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: wired.child("kvmd") not in (None, old), f"{place}: kvmd to come back")
            socket.thread.join(10)
        for interface in models:
            wait_for(lambda i=interface: not reports.of(i) or released(reports.of(i)[-1]), f"{place}: all released", 20, 0.005)
        if kind in ("vanish", "kill"):
            for interface in models:
                seen = reports.of(interface, start)
                assert is_prefix_then_release(seen, expected[interface]), f"{place}: {seen} after {expected[interface]}"
    print(f"{EVENTS} events in {sum(counts.values())} sessions {counts}, {len(reports.all)} reports at the host")
    assert all(counts.values()) or EVENTS < 2000
    assert all(released(reports.of(interface)[-1]) for interface in (KEYBOARD, MOUSE))


def squeezed(seen):
    """Without the releases that the link sends to a host that has just come back."""
    return [report for i, report in enumerate(seen) if i == 0 or report != seen[i - 1]]


def state_of(report):
    """A report without its wheel: that is a movement, not a state."""
    return report[:10] if len(report) == 14 else report
