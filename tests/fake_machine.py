"""A machine that only notes its keys: the QMP side of the driver for virtual machines."""

import contextlib
import json
import pathlib
import socketserver
import tempfile
import threading
import time

from appliance import Appliance, wait_for


class Machine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The QMP side of a machine that only notes its input."""

    daemon_threads = True

    def __init__(self, path):
        self.keys = []
        # Keys, buttons and movements: (key's or button's or axis' name, down or value).
        self.input = []
        self.connections = 0
        self.times = []
        self.changed = threading.Condition()
        machine = self

        class Monitor(socketserver.StreamRequestHandler):
            def handle(self):
                machine.connections += 1
                self.answer({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}})
                for line in self.rfile:
                    command = json.loads(line)
                    machine.note(command)
                    result = {"running": True, "status": "running"} if command["execute"] == "query-status" else {}
                    self.answer({"return": [] if command["execute"] == "query-block" else result, "id": command.get("id")})

            def answer(self, value):
                self.wfile.write(json.dumps(value).encode() + b"\r\n")

        super().__init__(str(path), Monitor)

    def note(self, command):
        if command["execute"] != "input-send-event":
            return
        now = time.monotonic()
        with self.changed:
            for event in command["arguments"]["events"]:
                data = event["data"]
                name = data["key"]["data"] if event["type"] == "key" else data.get("button") or data.get("axis")
                self.input.append((name, data["value"] if "value" in data else data["down"]))
                if event["type"] == "key":
                    self.keys.append((event["data"]["key"]["data"], event["data"]["down"]))
                    self.times.append(now)
            self.changed.notify_all()


@contextlib.contextmanager
def appliance_with_fake_machine():
    """An appliance whose keyboard leads to a `Machine`; gives both."""
    with tempfile.TemporaryDirectory(prefix="kvmd-test-") as directory:
        yield from _wired(pathlib.Path(directory))


def _wired(directory):
    run = directory / "state/run/vm"
    run.mkdir(parents=True)
    for path in (directory, directory / "state", directory / "state/run", run):
        path.chmod(0o755)
    machine = Machine(run / "qmp-kvmd.sock")
    (run / "qmp-kvmd.sock").chmod(0o666)
    threading.Thread(target=machine.serve_forever, daemon=True).start()
    settings = "kvmd: {hid: {type: vm}, atx: {type: disabled}, msd: {type: disabled}, "
    settings += "streamer: {source: {type: pattern, width: 320, height: 240, fps: 5}}}\nvm: {enabled: false}\n"
    appliance = Appliance("pattern", state=directory, settings=settings)
    try:
        wait_for(lambda: appliance.result("/api/hid")["online"], "the keyboard to be online")
        yield appliance, machine
    finally:
        appliance.close()
        machine.shutdown()
        machine.server_close()
