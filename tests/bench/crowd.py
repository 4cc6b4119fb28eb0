#!/usr/bin/env python3
"""Measures a crowd: 200 readers of the MJPEG stream, a slowloris, a reader of 1 Mb/s, and 1,000 WebSockets in 60 s.

    .cache/venv/bin/python tests/bench/crowd.py [--readers 200] [--sockets 1000] [--seconds 20]

Prints what the daemons hold in memory before, during and after, what another client waits for an answer (p50, p99), and whether a
daemon was started anew. It asserts nothing: machines differ. `tests/clients/test_crowd.py` is the small one that does.
"""

import argparse
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import types

import websocket

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from appliance import CREDENTIALS, Appliance, descendants_of, wait_for  # noqa: E402

# Small and slow pictures: the readers run on the same cores.
SETTINGS = "kvmd:\n  streamer:\n    desired_fps: {default: 5}\n    source: {type: pattern, width: 320, height: 240, fps: 5}\n"


def daemons(appliance):
    return {name: pid for pid, name, state in descendants_of(appliance.process.pid) if state != "Z" and name.startswith("kvmd")}


def memory(pid):
    """KiB of memory that are the process's own: a share of what others map too would change with their number."""
    sizes = dict(line.split()[:2] for line in open(f"/proc/{pid}/smaps_rollup", encoding="ascii") if ":" in line.split()[0])
    return int(sizes.get("Private_Clean:", 0)) + int(sizes.get("Private_Dirty:", 0))


def tls(appliance):
    plain = socket.create_connection((appliance.host, appliance.https_port), timeout=30)
    return ssl._create_unverified_context().wrap_socket(plain)


def head(path, more=""):
    credentials = "".join(f"{name}: {value}\r\n" for name, value in CREDENTIALS.items())
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{credentials}{more}\r\n".encode()


class Crowd:
    """Readers that run until they are stopped; counts the bytes and the failures."""

    def __init__(self):
        self.stop = threading.Event()
        self.threads = []
        self.bytes = 0
        self.failures = []

    def add(self, work, *arguments):
        def run():
            try:
                work(*arguments)
            except (OSError, websocket.WebSocketException) as error:
                if not self.stop.is_set():
                    self.failures.append(repr(error))

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def read(self, appliance, rate=None):
        """Reads the stream, as fast as it comes or at so many bytes a second."""
        connection = tls(appliance)
        connection.sendall(head("/streamer/stream"))
        while not self.stop.is_set():
            data = connection.recv(65536 if rate is None else rate // 10)
            if not data:
                raise OSError("the stream ended")
            self.bytes += len(data)
            if rate:
                time.sleep(len(data) / rate)
        connection.close()

    def slowloris(self, appliance):
        """Sends the head of a request, a byte a second, and comes again when it is thrown out."""
        while not self.stop.is_set():
            try:
                connection = tls(appliance)
                for byte in head("/api/info", "X-Pad: " + "x" * 200 + "\r\n"):
                    if self.stop.wait(1):
                        break
                    connection.sendall(bytes([byte]))
            except OSError:
                pass

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)


class Elsewhere:
    """A crowd in a process of its own, as on other computers: readers that share an interpreter with who measures would slow the measuring.

    It gives way to the daemons and to who measures, since the cores of other computers would not be ours."""

    def __init__(self, appliance, readers, more=True):
        place = [appliance.host, str(appliance.https_port), str(readers), "more" if more else ""]
        self.process = subprocess.Popen([sys.executable, __file__, "--crowd", *place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self):
        """Gives the bytes it read and the failures."""
        told, _ = self.process.communicate("", timeout=60)
        return json.loads(told)


def be_a_crowd(host, port, readers, more):
    os.nice(10)
    appliance = types.SimpleNamespace(host=host, https_port=int(port))
    crowd = Crowd()
    for _ in range(int(readers)):
        crowd.add(crowd.read, appliance)
    if more:
        crowd.add(crowd.read, appliance, 125_000)
        crowd.add(crowd.slowloris, appliance)
    sys.stdin.read()
    crowd.end()
    print(json.dumps({"bytes": crowd.bytes, "failures": crowd.failures}))


def answers(appliance, seconds):
    """(p50, p99) in milliseconds of another client's requests over one connection."""
    took = []
    connection = tls(appliance)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        connection.sendall(head("/api/auth/check"))
        answer = b""
        while b"\r\n\r\n{" not in answer or not answer.rstrip().endswith(b"}"):
            data = connection.recv(4096)
            if not data:
                raise OSError("the connection of the other client was closed")
            answer += data
        took.append((time.monotonic() - began) * 1000)
        time.sleep(0.01)
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)]


def connects(appliance, count, seconds):
    """So many WebSockets, evenly over the time, each closed at once; gives how many failed and how long it took."""
    began = time.monotonic()
    failed = 0
    url = f"wss://{appliance.host}:{appliance.https_port}/api/ws?stream=0"
    for number in range(count):
        if (early := began + number * seconds / count - time.monotonic()) > 0:
            time.sleep(early)
        try:
            ws = websocket.create_connection(url, sslopt={"cert_reqs": ssl.CERT_NONE}, header=CREDENTIALS, timeout=30)
            ws.recv()
            ws.close()
        except (OSError, websocket.WebSocketException):
            failed += 1
    return failed, time.monotonic() - began


def settle(pid, wanted=0, patience=60):
    """The memory, once it is down to that, or has not come down for ten seconds."""
    least, since = memory(pid), time.monotonic()
    deadline = since + patience
    while least > wanted and time.monotonic() < min(since + 10, deadline):
        time.sleep(0.5)
        if (now := memory(pid)) < least:
            least, since = now, time.monotonic()
    return least


def run(appliance, readers, sockets, seconds, over):
    """Gives the figures."""
    with appliance.socket(stream=1):
        wait_for(lambda: appliance.get("/api/streamer/snapshot").status_code == 200, "a picture")
        warm = Elsewhere(appliance, readers, more=False)  # what grows once and stays is not a leak: caches, arenas, threads' stacks
        wait_for(lambda: appliance.result("/api/streamer")["streamer"]["stream"]["clients"] >= readers, "the readers")
        warm.end()
        wait_for(lambda: appliance.result("/api/streamer")["streamer"]["stream"]["clients"] == 0, "the readers to be gone")
        pids = daemons(appliance)
        before = settle(pids["kvmd"])
        alone = answers(appliance, seconds)
        crowd = Elsewhere(appliance, readers)
        wait_for(lambda: appliance.result("/api/streamer")["streamer"]["stream"]["clients"] > readers, "the crowd")
        among = answers(appliance, seconds)
        during = memory(pids["kvmd"])
        told = crowd.end()
        wait_for(lambda: appliance.result("/api/streamer")["streamer"]["stream"]["clients"] == 0, "the crowd to be gone")
        after = settle(pids["kvmd"], before * 1.05)
        failed, took = connects(appliance, sockets, over)
        last = settle(pids["kvmd"], before * 1.05)
        return {
            "before": before,
            "during": during,
            "after": after,
            "last": last,
            "alone": alone,
            "among": among,
            **told,
            "failed": failed,
            "took": took,
            "same": daemons(appliance) == pids,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--crowd", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--over", type=float, default=60, help="seconds the WebSockets are spread over")
    args = parser.parse_args()
    if args.crowd:
        return be_a_crowd(*args.crowd)
    appliance = Appliance("pattern", settings=SETTINGS)
    try:
        figures = run(appliance, args.readers, args.sockets, args.seconds, args.over)
    finally:
        appliance.close()
    print(f"cores: {os.cpu_count()}, readers: {args.readers} and one of 1 Mb/s, one slowloris")
    for name, what in [("before", "before"), ("during", "with the crowd"), ("after", "after the crowd"), ("last", f"after {args.sockets} WebSockets")]:
        print(f"private memory of kvmd, {what}: {figures[name] / 1024:.1f} MiB ({100 * figures[name] / figures['before'] - 100:+.1f} %)")
    for name in ("alone", "among"):
        p50, p99 = figures[name]
        print(f"GET /api/auth/check, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"the crowd read {figures['bytes'] / 1e6:.0f} MB; readers that failed: {len(figures['failures'])} {figures['failures'][:3]}")
    print(f"{args.sockets} WebSockets in {figures['took']:.1f} s, failed: {figures['failed']}")
    print(f"daemons started anew: {'none' if figures['same'] else 'SOME'}")


if __name__ == "__main__":
    main()
