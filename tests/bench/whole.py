#!/usr/bin/env python3
"""Measures the whole appliance on this machine: `scripts/bench`. Prints one table; asserts nothing, since machines differ.

The column "reference" holds what kvmd 4.197 behind nginx (and ustreamer 6.62) gave on two noisy cores, for orientation: the reference is no
Debian package, so it does not run beside us here. `tests/bench` compares in one run wherever the peer can be installed (libjpeg-turbo,
dd).
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from appliance import Appliance, descendants_of, wait_for  # noqa: E402
from fake_machine import appliance_with_fake_machine  # noqa: E402

ROWS = []


def row(what, ours, reference=""):
    ROWS.append((what, ours, reference))
    print(f"  {what:58} {ours:>24}   {reference}", flush=True)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def wrk(appliance, seconds, *headers, path="/api/auth/check"):
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    text = subprocess.run([*command, appliance.url + path], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    p99 = re.search(r"99%\s+(\S+)", text)[1]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return f"{rate:.0f}/s, p99 {p99}" + (f", {bad[1]} refused" if bad else "")


def throughput(appliance, seconds):
    password = ("X-KVMD-User: admin", "X-KVMD-Passwd: admin")
    token = appliance.post("/api/auth/login", headers={}, data={"user": "admin", "passwd": "admin"}).cookies["auth_token"]
    row("GET /api/auth/check, TLS, password headers", wrk(appliance, seconds, *password), "460 to 480/s")
    row("GET /api/auth/check, TLS, cookie", wrk(appliance, seconds, f"Cookie: auth_token={token}"), "5,600 to 6,060/s (no TLS)")
    row("GET /api/info, TLS, cookie", wrk(appliance, seconds, f"Cookie: auth_token={token}", path="/api/info"), "7/s")


def latency(count):
    """WebSocket message sent to key change at the (fake) machine's monitor."""
    with appliance_with_fake_machine() as (appliance, machine):
        socket = appliance.socket()
        socket.wait_event("hid")
        took = []
        generator = random.Random(1)
        for index in range(count):
            seen = len(machine.keys)
            began = time.monotonic()
            socket.key("KeyA", index % 2 == 0)
            with machine.changed:
                machine.changed.wait_for(lambda: len(machine.keys) > seen, 10)
            took.append((machine.times[-1] - began) * 1000)
            time.sleep(0.012 + generator.random() * 0.004)  # the link to QEMU sends one key change in 10 ms, for its PS/2 queue
        socket.close()
    row(f"WebSocket key to report at the driver, {count} keys", f"p50 {percentile(took, 0.5):.2f} p99 {percentile(took, 0.99):.2f} ms", "p50 0.2 to 0.9 ms")


def daemons(appliance):
    wanted = ("kvmd-supervisor", "kvmd", "kvmd-streamer", "systemd-journal")
    rows = [(appliance.process.pid, "kvmd-supervisor", "S"), *descendants_of(appliance.process.pid)]
    return {name: pid for pid, name, _ in rows if name in wanted}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) / 1024


def idle(appliance, seconds):
    wait_for(lambda: appliance.child("kvmd-streamer") is None, "the streamer to stop")
    pids = daemons(appliance)
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    own = [name for name in pids if name.startswith("kvmd")]
    row(f"idle {seconds} s, no viewers: CPU of all daemons", f"{100 * sum(used[n] for n in own) / seconds:.2f} % of one core", "1.5 %")
    memory = " + ".join(f"{pss_mib(pids[name]):.1f}" for name in own)
    row("idle memory (PSS): " + " + ".join(own), f"{memory} MiB", "83 MB + 12 MB nginx")


def watched(appliance, seconds):
    with appliance.socket(stream=1):
        wait_for(lambda: appliance.get("/api/streamer/snapshot").status_code == 200, "a snapshot")
        pids = daemons(appliance)
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        frames = count_frames(appliance, seconds)
        used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        row("1080p pattern, one viewer: CPU of the streamer", f"{1000 * used['kvmd-streamer'] / max(1, frames):.2f} s per 1,000 frames", "10 to 12 s")
        row("  the same: CPU of kvmd (TLS and HTTP)", f"{1000 * used['kvmd'] / max(1, frames):.2f} s per 1,000 frames")
        row("  frames that the viewer got", f"{frames / seconds:.1f} a second of 30")


def count_frames(appliance, seconds):
    with appliance.get("/streamer/stream", stream=True) as answer:
        deadline, seen = time.monotonic() + seconds, 0
        for chunk in answer.iter_content(1 << 18):
            seen += chunk.count(b"--boundarydonotcross")
            if time.monotonic() > deadline:
                return seen


def upload(appliance, mebibytes):
    source = pathlib.Path(appliance.directory.name) / "source.img"
    source.write_bytes(os.urandom(1 << 20) * mebibytes)
    target = appliance.state / "var/msd/dd.img"
    began = time.monotonic()
    subprocess.run(["dd", f"if={source}", f"of={target}", "bs=64K", "conv=fsync", "status=none"], check=True)
    dd = mebibytes / (time.monotonic() - began)
    target.unlink()
    url = f"{appliance.url}/api/msd/write?image=bench.img"
    began = time.monotonic()
    subprocess.run(["curl", "-sfk", "-u", "admin:admin", "-H", "Expect:", "-T", source, "-X", "POST", url], check=True, stdout=subprocess.DEVNULL)
    ours = mebibytes / (time.monotonic() - began)
    appliance.post("/api/msd/remove?image=bench.img")
    source.unlink()
    row(f"upload of {mebibytes} MiB through TLS, against dd with fsync", f"{ours:.0f} of {dd:.0f} MiB/s = {ours / dd:.2f}", "35 to 45 of 160 to 270 MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="length of each measurement")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing (Debian package wrk)")
    settings = "kvmd: {streamer: {shutdown_delay: 1, source: {type: pattern, width: 1920, height: 1080, fps: 30}}, events: {legacy: true}}\n"
    print(f"  {'':58} {'ours':>24}   reference (elsewhere)")
    appliance = Appliance("pattern", settings=settings)
    try:
        idle(appliance, args.seconds * 3)
        throughput(appliance, args.seconds)
        watched(appliance, args.seconds)
        upload(appliance, 512)
    finally:
        appliance.close()
    latency(2000)


if __name__ == "__main__":
    main()
