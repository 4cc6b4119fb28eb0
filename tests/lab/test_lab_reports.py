"""Keys and pointers over a real USB gadget: the reports the host reads are the recorded ones."""

import json
import os
import signal

import host
from appliance import ROOT, wait_for
from host import EV_ABS, EV_KEY, EV_REL, Events

RECORDING = ROOT / "tests/recordings/ws.jsonl"
KEYBOARD, MOUSE, SECOND_MOUSE = 0, 1, 2
# In one of its two takes the recorder missed a report: the release of the key between `B` and `1`. The second take has it.
MISSED_BY_THE_RECORDER = {"http.print_ab": 0}
BODIES = {"http.print_ab": "aB!"}


def rows():
    """The rows that name reports, each once; those that are not input (GPIO, ATX, drive) have none."""
    with RECORDING.open() as file:
        return [row for row in map(json.loads, file) if "hid_reports" in row]


def by_interface(recorded):
    return {number: [data for node, data in recorded if node == f"hidraw{number}"] for number in (KEYBOARD, MOUSE, SECOND_MOUSE)}


def test_the_host_reads_the_recorded_reports(wired):
    takes = [[]]
    for row in rows():
        # Each take ends with the text that was printed, and the shortcut behind it in the second one.
        takes[-1].append(row)
        if row["name"] in ("http.print_ab",):
            takes.append([])
    compared = [name for number, take in enumerate(takes) if take for name in play(wired, take, number)]
    print(f"{len(compared)} recorded rows agree")
    assert len(compared) > 100 and {row["name"] for row in rows() if row["hid_reports"]} <= set(compared)


def play(wired, take, number):
    reports = wired.reports
    compared = []
    start = len(reports.all)
    socket, second = wired.socket(), None
    try:
        cleared = {KEYBOARD: ["0000000000000000"], SECOND_MOUSE: ["0000000000"]}
        for interface, wanted in cleared.items():
            reports.wait(lambda r, i=interface, w=wanted: r.of(i, start)[: len(w)] == w, f"interface {interface} to be cleared at the connect")
        reports.wait(lambda r: r.of(MOUSE, start), "the mouse to be cleared at the connect")
        start = len(reports.all)
        if number == 0:
            # The position is the one the recording began with.
            socket.send_event("mouse_move", {"to": {"x": -32768, "y": -32768}})
            reports.wait(lambda r: r.of(MOUSE, start) == ["00000000000000"], "the pointer in its corner")
            start = len(reports.all)
        for row in take:
            wanted = by_interface(row["hid_reports"])
            if row["name"] == "ws.close_with_key_held":
                socket.key("KeyA", True)
                reports.wait(lambda r: r.of(KEYBOARD, start) == ["0000040000000000"], "the held key")
                start = len(reports.all)
                socket.close()
                socket = None
            elif row["name"] == "second_ws_stream1_opened":
                second = wired.socket(stream=1)
            elif row["name"] == "second_ws_closed":
                second.close()
                second = None
            elif row["name"] in ("http.jiggler_on", "http.jiggler_off") or row.get("http") is None and not (row.get("sent_text") or row.get("sent_bin")):
                continue  # what others did at the time: no input of ours
            elif not any(wanted.values()) and (row.get("http") or [""])[0] != "":
                continue  # calls of other subsystems: tests of their own
            else:
                if socket is None and not row.get("http"):
                    socket = wired.socket()
                send(wired, socket, row)
                if number == 0 and MISSED_BY_THE_RECORDER.get(row["name"]) == 0:
                    wanted[KEYBOARD].insert(4, "0200000000000000")
            for interface, expected in wanted.items():
                reports.wait(
                    lambda r, i=interface, e=expected: len(r.of(i, start)) >= len(e),
                    f"{row['name']}: {expected} at interface {interface}",
                )
            if socket is not None:
                settle(socket)
            seen = {interface: reports.of(interface, start) for interface in wanted}
            assert seen == wanted, row["name"]
            start += sum(map(len, seen.values()))
            compared.append(row["name"])
    finally:
        for open_one in filter(None, (socket, second)):
            open_one.close()
    return compared


def send(wired, socket, row):
    if row.get("sent_text") is not None:
        text = row["sent_text"]
        socket.ws.send(text if isinstance(text, str) else json.dumps(text))
    elif row.get("sent_bin") is not None:
        socket.send_binary(bytes.fromhex(row["sent_bin"]))
    else:
        method, path = row["http"]
        answer = wired.request(method, f"/api{path}", data=BODIES.get(row["name"]))
        assert answer.status_code == row["http_result"][0], (row["name"], answer.text)


def settle(socket):
    """Everything sent before has been looked at once the answer to a ping is here."""
    with socket.changed:
        before = len(socket.binary)
    socket.send_binary(b"\0")
    socket.wait(lambda s: len(s.binary) > before, "the answer to a ping")


def test_a_key_becomes_a_key_event_of_the_host(wired):
    keyboard = Events(KEYBOARD)
    with wired.socket() as socket:
        socket.tap("KeyA")
        keyboard.wait((EV_KEY, 30, 1), (EV_KEY, 30, 0))
    keyboard.close()


def test_the_absolute_pointer_and_the_wheel_arrive(wired):
    mouse = Events(MOUSE)
    with wired.socket() as socket:
        socket.send_event("mouse_move", {"to": {"x": 1000, "y": -1000}})
        socket.send_event("mouse_button", {"button": "left", "state": True})
        socket.send_event("mouse_wheel", {"delta": {"x": 0, "y": -3}})
        mouse.wait((EV_ABS, 0, 0x41F3), (EV_ABS, 1, 0x3E0B), (EV_KEY, 0x110, 1), (EV_REL, 8, -3))
    mouse.wait((EV_KEY, 0x110, 0))
    mouse.close()


def test_the_relative_pointer_arrives(wired):
    mouse = Events(SECOND_MOUSE)
    with wired.socket() as socket:
        assert wired.post("/api/hid/set_params?mouse_output=usb_rel").status_code == 200
        socket.send_event("mouse_relative", {"delta": {"x": 5, "y": -7}})
        socket.send_event("mouse_wheel", {"delta": {"x": 0, "y": 2}})
        mouse.wait((EV_REL, 0, 5), (EV_REL, 1, -7), (EV_REL, 8, 2))
    mouse.close()


def test_lights_the_host_sets_are_shown(wired):
    keyboard = Events(KEYBOARD)
    try:
        with wired.socket() as socket:
            for led, name in ((1, "caps"), (0, "num"), (2, "scroll")):
                for on in (True, False):
                    keyboard.light(led, on)
                    socket.wait(lambda s: s.states["hid"].get("keyboard", {}).get("leds", {}).get(name) is on, f"{name} {on}")
    finally:
        keyboard.close()


def test_a_restart_of_the_daemon_is_no_replug(wired):
    def numbers():
        devices = (host.SYS / "bus/usb/devices").glob("*/devnum")
        return [path.read_text() for path in sorted(devices) if "dummy_hcd" in str(path.resolve()) and "-" in path.parent.name]

    before = numbers()
    assert before
    for _ in range(3):
        old = wait_for(lambda: wired.child("kvmd"), "kvmd")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: wired.child("kvmd") not in (None, old), "kvmd to come back")
        wait_for(lambda: wired.get("/api/hid").json()["result"]["online"], "the keyboard to be online")
    assert numbers() == before
