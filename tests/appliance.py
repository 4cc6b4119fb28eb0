"""The whole appliance as a test sees it: started by `scripts/run` in a directory of its own, talked to over HTTPS and WebSockets."""

import collections
import io
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import requests
import urllib3
import websocket
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
CREDENTIALS = {"X-KVMD-User": "admin", "X-KVMD-Passwd": "admin"}
# Time-outs are for hangs, not for speed: these machines are shared, and emulation is slow.
PATIENCE = float(os.environ.get("KVMD_TEST_PATIENCE", "120"))

urllib3.disable_warnings()


def wait_for(condition, what, patience=PATIENCE, pause=0.05):
    """Wait until `condition()` gives something true, and return it."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s for {what}")
        time.sleep(pause)
    return value


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def children_of(pid):
    """(pid, command name, state) of the direct children of a process."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        if int(fields[1]) == pid:
            found.append((int(stat.parent.name), name, fields[0]))
    return found


def descendants_of(pid):
    below = []
    for child, name, state in children_of(pid):
        below += [(child, name, state)] + descendants_of(child)
    return below


class TakingTurns:
    """A TLS socket for two threads, one that reads and one that writes.

    OpenSSL's connection is not made for that, and older Pythons guard nothing: a read and a write at the same moment now and then end
    the connection. So each is tried without waiting, one at a time, and waited for outside.
    """

    def __init__(self, socket):
        self.socket = socket
        self.timeout = socket.gettimeout()
        self.turn = threading.Lock()
        socket.settimeout(0)

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def gettimeout(self):
        return self.timeout

    def settimeout(self, timeout):
        self.timeout = timeout

    def recv(self, size):
        return self._try(lambda: self.socket.recv(size))

    def send(self, data):
        return self._try(lambda: self.socket.send(data))

    def _try(self, act):
        while True:
            with self.turn:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
            ready = select.poll()
            ready.register(self.socket, event)
            if not ready.poll(None if self.timeout is None else self.timeout * 1000):
                raise TimeoutError("timed out")


class Socket:
    """`/api/ws` of one client: collects events, answers pings (the library does), sends input."""

    def __init__(self, appliance, stream=0, headers=None):
        url = f"wss://{appliance.host}:{appliance.https_port}/api/ws?stream={stream}"
        headers = CREDENTIALS if headers is None else headers
        self.ws = websocket.create_connection(url, sslopt={"cert_reqs": ssl.CERT_NONE}, header=headers, timeout=PATIENCE)
        self.ws.sock = TakingTurns(self.ws.sock)
        self.events = []
        self.states = collections.defaultdict(dict)
        self.binary = []
        self.closed = threading.Event()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        try:
            while True:
                opcode, data = self.ws.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    break
                with self.changed:
                    if opcode == websocket.ABNF.OPCODE_TEXT:
                        event = json.loads(data)
                        self.events.append(event)
                        self.states[event["event_type"]].update(event["event"] or {})
                    else:
                        self.binary.append(data)
                    self.changed.notify_all()
        except (websocket.WebSocketException, OSError, ValueError):
            pass
        finally:
            self.closed.set()
            with self.changed:
                self.changed.notify_all()

    def wait(self, condition, what, patience=PATIENCE):
        """Wait until `condition(self)` holds; it is asked again at every event."""
        deadline = time.monotonic() + patience
        with self.changed:
            while not (value := condition(self)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {patience:.0f} s for {what}; seen: {[e['event_type'] for e in self.events][-20:]}")
                self.changed.wait(min(left, 0.5))
            return value

    def wait_event(self, name, patience=PATIENCE):
        return self.wait(lambda s: next((e for e in s.events if e["event_type"] == name), None), f"event {name}", patience)

    def send_event(self, name, event):
        self.ws.send(json.dumps({"event_type": name, "event": event}))

    def send_binary(self, data):
        self.ws.send_binary(data)

    def key(self, key, state):
        self.send_binary(bytes([1, int(state)]) + key.encode())

    def tap(self, key):
        self.key(key, True)
        self.key(key, False)

    def type(self, text):
        for character in text:
            key = "Space" if character == " " else f"Digit{character}" if character.isdigit() else f"Key{character.upper()}"
            self.tap(key)

    def close(self):
        self.ws.close()
        self.thread.join(5)

    def vanish(self):
        """Cut the connection without a goodbye."""
        self.ws.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.ws.shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Appliance:
    """Starts `scripts/run` (or another `command` with its flags) and stops it; `url` is known once the first request would succeed."""

    host = "127.0.0.1"

    def __init__(self, target, configs=(), state=None, settings=None, command=None):
        self.directory = tempfile.TemporaryDirectory(prefix="kvmd-test-")
        self.state = pathlib.Path(state or self.directory.name) / "state"
        self.state.mkdir(exist_ok=True)
        # Started by root, the daemons run as users of their own: those must come to their files.
        pathlib.Path(self.directory.name).chmod(0o755)
        self.state.chmod(0o755)
        self.https_port, self.http_port = free_port(), free_port()
        self.log_path = pathlib.Path(self.directory.name) / "run.log"
        command = [*(command or [ROOT / "scripts/run", "--target", target])]
        command += ["--https-port", str(self.https_port), "--http-port", str(self.http_port), "--state", self.state]
        if settings:
            override = pathlib.Path(self.directory.name) / "settings.yaml"
            override.write_text(settings)
            configs = [*configs, override]
        for config in configs:
            command += ["--config", config]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.url = self._wait_url()

    def _wait_url(self):
        deadline = time.monotonic() + 900
        text = ""
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.5)[0]:
                data = os.read(self.process.stdout.fileno(), 4096).decode()
                text += data
                if found := re.search(r"^(https://\S+)$", text, re.MULTILINE):
                    return found[1].rstrip("/")
                if not data:
                    break
        self.stop()
        raise AssertionError(f"scripts/run printed no URL:\n{self.log()[-4000:]}")

    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def unix(self):
        return self.state / "run" / "kvmd.sock"

    def request(self, method, path, timeout=PATIENCE, headers=CREDENTIALS, **more):
        return requests.request(method, self.url + path, verify=False, timeout=timeout, headers=headers, allow_redirects=False, **more)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def result(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def socket(self, stream=0, headers=None):
        return Socket(self, stream, headers)

    def child(self, name):
        """The pid of a running child by command name, or None."""
        alive = [pid for pid, command, state in descendants_of(self.process.pid) if command == name[:15] and state != "Z"]
        return alive[0] if alive else None

    def zombies(self):
        return [row for row in descendants_of(self.process.pid) if row[2] == "Z"]

    def snapshot(self):
        answer = self.get("/api/streamer/snapshot?allow_offline=1")
        assert answer.status_code == 200, answer.text
        return Image.open(io.BytesIO(answer.content))

    def screen_text(self):
        """What tesseract reads on the target's screen. A stream=1 socket must be open."""
        picture = self.snapshot().convert("L").resize((1440, 800))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        read = subprocess.run(["tesseract", "-", "-", "--psm", "6"], input=buffer.getvalue(), capture_output=True, check=True)
        return read.stdout.decode(errors="replace")

    def wait_screen(self, wanted, patience=PATIENCE * 2):
        """Wait until the screen shows `wanted` (a pattern; blanks match any run of blanks); gives the whole text."""
        pattern = re.compile(wanted.replace(" ", r"\s*"), re.IGNORECASE)
        last = ""

        def shown():
            nonlocal last
            last = self.screen_text()
            return last if pattern.search(last) else None

        try:
            return wait_for(shown, f"{wanted!r} on the screen", patience, 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{last}") from None

    def stop(self):
        """SIGTERM, as Ctrl-C; returns the pids of our tree that are still there afterwards."""
        tree = [pid for pid, _, _ in descendants_of(self.process.pid)]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise AssertionError("scripts/run did not stop within 30 s of SIGTERM") from None
        return [pid for pid in tree if pathlib.Path(f"/proc/{pid}").exists()]

    def close(self):
        try:
            self.stop()
        finally:
            self.process.stdout.close()
            self.directory.cleanup()


def running(target, **more):
    """An appliance for a fixture: it ends with it. Not in a `conftest.py`: there are several, and each is the first for some runs."""
    made = Appliance(target, **more)
    yield made
    made.close()
