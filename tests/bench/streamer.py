#!/usr/bin/env python3
"""Measures the streamer against Debian's `ustreamer`, side by side on this machine: part of `scripts/bench`. Asserts nothing.

Both take the same frames from the same pretended capture device (`fakev4l.c`), at the same JPEG quality and chroma, by turns. Each row
that compares is the median of the ratios of paired runs: what disturbs the machine disturbs both halves of a pair.

Two arrangements:

- alone: the process that captures and encodes, and one local reader of its shared memory (`ustreamer-dump`; our frame ring).
- served: clients read `multipart/x-mixed-replace` by plain HTTP from 127.0.0.1. That is `ustreamer` itself; of ours it is `kvmd-streamer`
  and `kvmd`, which also does everything else that kvmd does.
"""

import argparse
import base64
import collections
import ctypes
import fcntl
import io
import json
import math
import mmap
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from appliance import CREDENTIALS, ROOT, descendants_of, free_port, wait_for  # noqa: E402
from PIL import Image, ImageChops, ImageStat  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 1920, 1080
QUALITY = 80
COUNTERS = 65536
SETS = ("still", "desktop", "noise")
PEER = {"ustreamer": "ustreamer", "ustreamer-dump": "ustreamer-dump"}  # `--ustreamer` and `--ustreamer-dump` may name other builds
Run = collections.namedtuple("Run", "cpu frames seconds latency pss")


# The frames and the device.


class Camera:
    """Environment of a process that is to see the pretended device; when each frame was ready."""

    def __init__(self, directory, kit, frames, fps):
        self.path = pathlib.Path(directory) / "times"
        self.path.write_bytes(bytes(8 * (COUNTERS + 2)))
        self.path.chmod(0o666)  # the streamer may run as another user
        with self.path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(kit / "fakev4l.so"), "FAKE_FRAME": str(frames), "FAKE_FPS": str(fps), "FAKE_LOG": str(self.path)}

    def ready_ns(self, counter):
        return struct.unpack_from("<Q", self.map, 8 * counter)[0]

    def filled(self):
        return struct.unpack_from("<Q", self.map, 8 * COUNTERS)[0]


def counter_of(jpeg):
    """The number that the device drew into the picture."""
    corner = Image.open(io.BytesIO(jpeg)).convert("L").crop((0, 0, 32, 8))
    return sum((corner.getpixel((bit * 2, 4)) + corner.getpixel((bit * 2 + 1, 4)) > 256) << bit for bit in range(16))


# Processes.


def cpu_seconds(pid):
    """Of all threads that live, to the nanosecond: /proc/PID/stat counts in hundredths of a second."""
    total = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_mib(pid):
    return int(re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1]) / 1024


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Samples:
    """Frames as they come: counted, and every few kept with the time of their arrival."""

    def __init__(self):
        self.count = 0
        self.every = 7
        self.kept = []
        self.last = b""

    def take(self, jpeg):
        self.count += 1
        self.last = jpeg
        if self.count % self.every == 0:
            self.kept.append((time.monotonic_ns(), jpeg))

    def latencies_ms(self, camera, since):
        found = []
        for at, jpeg in self.kept:
            if at >= since and (ready := camera.ready_ns(counter_of(jpeg))):
                found.append((at - ready) / 1e6)
        return found


def ustreamer_command(*where):
    command = [PEER["ustreamer"], "--device=/dev/video9", "--format=yuyv", f"--resolution={WIDTH}x{HEIGHT}", "--persistent", "--buffers=6"]
    return [*command, "--encoder=cpu", "--workers=2", f"--quality={QUALITY}", *where]


# One local reader of shared memory.


class UstreamerAlone:
    name = "ustreamer"

    def __init__(self, camera, directory, kit):
        sink = f"bench-{os.getpid()}::jpeg"
        command = [*ustreamer_command(f"--unix={directory}/us.sock", "--unix-rm"), f"--sink={sink}", "--sink-rm"]
        self.log = open(pathlib.Path(directory) / "ustreamer.log", "wb")
        self.process = subprocess.Popen(command, env=os.environ | camera.environment, stdout=self.log, stderr=self.log)
        self.samples = Samples()
        wait_for(lambda: pathlib.Path(f"/dev/shm/{sink}").exists() and b"Capturing" in log_of(self.log), "ustreamer to capture")
        self.dump = subprocess.Popen(
            [PEER["ustreamer-dump"], f"--sink={sink}", "--sink-timeout=5", "--output=-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        fcntl.fcntl(self.dump.stdout.fileno(), 1031, 1 << 20)  # F_SETPIPE_SZ
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def pids(self):
        return [self.process.pid]

    def read(self):
        """JPEGs one after the other; these two markers stand nowhere inside of one."""
        rest = b""
        while data := os.read(self.dump.stdout.fileno(), 1 << 20):
            searched = max(0, len(rest) - 1)
            rest += data
            while (at := rest.find(b"\xff\xd9", searched)) >= 0:
                self.samples.take(rest[: at + 2])
                rest, searched = rest[at + 2 :], 0

    def close(self):
        end(self.dump)
        end(self.process)
        self.thread.join(5)
        self.dump.stdout.close()
        self.log.close()


def log_of(file):
    return pathlib.Path(file.name).read_bytes()


class OursAlone:
    name = "kvmd-streamer"

    SLOTS, SLOT_BYTES, PAGE = 8, 4 << 20, 4096
    STRIDE = 64 + SLOT_BYTES + PAGE - 64  # whole pages

    def __init__(self, camera, directory, kit):
        directory = pathlib.Path(directory)
        settings = directory / "settings.yaml"
        settings.write_text(settings_text())
        len_bytes = self.PAGE + self.SLOTS * self.STRIDE
        ring = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(ring, len_bytes)
        fcntl.fcntl(ring, 1033, 0x2 | 0x4 | 0x1)  # F_ADD_SEALS: shrink, grow, seal
        self.map = mmap.mmap(ring, len_bytes)
        struct.pack_into("<5I", self.map, 0, 0x464D564B, 1, self.SLOTS, self.SLOT_BYTES, 0)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "streamer.sock"))
        listener.listen(4)
        # The program goes by its own process id, so it is the shell that becomes it.
        script = f'exec 3<&{ring} 4<&{listener.fileno()}; export LISTEN_PID=$$; LD_PRELOAD="$PRELOAD" exec "$0" "$@"'
        environment = dict(camera.environment)
        environment["PRELOAD"] = environment.pop("LD_PRELOAD")
        self.log = open(directory / "kvmd-streamer.log", "wb")
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", script, kit / "kvmd-streamer", "--state", directory, "--config", settings],
            env=os.environ | environment | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "ring:streamer"},
            pass_fds=(ring, listener.fileno()),
            stdout=self.log,
            stderr=self.log,
        )
        os.close(ring)
        listener.close()
        self.samples = Samples()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        try:
            wait_for(lambda: self.samples.count > 3, "frames in the ring", 20)
        except AssertionError:
            sys.exit(f"kvmd-streamer gives no frames:\n{log_of(self.log).decode()}")

    def pids(self):
        return [self.process.pid]

    def read(self):
        futex = ctypes.CDLL(None, use_errno=True).syscall
        number = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
        word = ctypes.c_uint32.from_buffer(self.map, 16)
        pause = struct.pack("qq", 0, 200_000_000)
        seen = 0
        while not self.stopped.is_set():
            newest = word.value
            if newest == seen:
                futex(number, ctypes.byref(word), 0, seen, pause, None, 0)
                continue
            seen = newest
            slot = self.PAGE + newest % self.SLOTS * self.STRIDE
            generation = struct.unpack_from("<I", self.map, slot)[0]
            len_bytes, online = struct.unpack_from("<I", self.map, slot + 12)[0], struct.unpack_from("<I", self.map, slot + 24)[0] & 1
            jpeg = self.map[slot + 64 : slot + 64 + len_bytes]
            if online and generation % 2 == 0 and struct.unpack_from("<I", self.map, slot)[0] == generation:
                self.samples.take(jpeg)
        del word

    def close(self):
        self.stopped.set()
        self.thread.join(5)
        end(self.process)
        self.log.close()


def settings_text(port=None, watched=True):
    """With a port, everything is served on it by plain HTTP. Not watched, kvmd-streamer does not run, as always."""
    streamer = {
        "forever": watched,
        "shutdown_delay": 0,
        "quality": QUALITY,
        "desired_fps": {"default": 60, "max": 60},
        "source": {"type": "v4l2", "device": "/dev/video9"},
    }
    fakes = {"hid": {"type": "noop"}, "atx": {"type": "fake"}, "msd": {"type": "fake"}}
    local = {"ipv4": "127.0.0.1", "ipv6": ""}
    nginx = {"http": local | {"port": port}, "https": {"enabled": False}} if port else {}
    settings = {"kvmd": fakes | {"streamer": streamer}, "vm": {"enabled": False}, "nginx": nginx}
    return json.dumps(settings)  # JSON is YAML


# Clients of HTTP.


class Client:
    """One that looks: counts frames, keeps some."""

    def __init__(self, port, request):
        self.samples = Samples()
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.sendall(request)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        """Parts of a multipart body, with or without HTTP's chunks around them: by their Content-Length and the JPEG's ends."""
        file = self.socket.makefile("rb", buffering=1 << 20)
        try:
            chunked = False
            while line := file.readline():
                if line.lower().startswith(b"transfer-encoding") and b"chunked" in line.lower():
                    chunked = True
                if line == b"\r\n":
                    break
            body = io.BufferedReader(Chunks(file), 1 << 20) if chunked else file
            len_bytes = 0
            while line := body.readline():
                if line.lower().startswith(b"content-length:"):
                    len_bytes = int(line.split(b":")[1])
                elif line == b"\r\n" and len_bytes:
                    self.samples.take(body.read(len_bytes))
                    len_bytes = 0
        except (OSError, ValueError):
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()


class Chunks(io.RawIOBase):
    """The body of a chunked answer."""

    def __init__(self, file):
        self.file, self.left = file, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.left == 0:
            line = self.file.readline()
            self.left = int(line, 16) if line.strip() else int(self.file.readline() or b"0", 16)
            if self.left == 0:
                return 0
        data = self.file.read1(min(self.left, len(buffer)))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)


class UstreamerServed(UstreamerAlone):
    def __init__(self, camera, directory, kit, watched):
        self.port = free_port()
        self.request = b"GET /stream HTTP/1.0\r\nHost: bench\r\n\r\n"
        self.log = open(pathlib.Path(directory) / "ustreamer.log", "wb")
        self.process = subprocess.Popen(
            ustreamer_command("--host=127.0.0.1", f"--port={self.port}"), env=os.environ | camera.environment, stdout=self.log, stderr=self.log
        )
        wait_for(lambda: listens(self.port) and b"Capturing" in log_of(self.log), "ustreamer to capture")

    def close(self):
        end(self.process)
        self.log.close()


class OursServed:
    name = "kvmd-streamer + kvmd"

    def __init__(self, camera, directory, kit, watched):
        directory = pathlib.Path(directory)
        stage = directory / "stage"
        (stage / "real").mkdir(parents=True)
        for program in ("kvmd", "kvmd-supervisor", "kvmctl"):
            shutil.copy2(kit / program, stage / program)
        shutil.copy2(kit / "kvmd-streamer", stage / "real/kvmd-streamer")
        # The supervisor gives its children an environment of their own.
        exports = " ".join(f"{name}={value}" for name, value in camera.environment.items())
        wrapper = stage / "kvmd-streamer"
        wrapper.write_text(f'#!/bin/sh\nexec env {exports} {stage}/real/kvmd-streamer "$@"\n')
        wrapper.chmod(0o755)
        state = directory / "home/state"
        for name in ("etc", "lib"):
            (state / name).mkdir(parents=True)
        share = stage / "share"
        shutil.copytree(ROOT / "rootfs-overlay/usr/share/kvmd", share)
        shutil.copy(ROOT / "rootfs-overlay/etc/kvmd/meta.yaml", state / "etc/meta.yaml")
        shutil.copy(ROOT / "scripts/target/platform", state / "lib/platform")
        for path in (directory, directory / "home", stage, stage / "real", share):
            path.chmod(0o755)
        key = base64.b64encode(f"{CREDENTIALS['X-KVMD-User']}:{CREDENTIALS['X-KVMD-Passwd']}".encode()).decode()
        self.request = f"GET /streamer/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {key}\r\n\r\n".encode()
        self.port = free_port()
        settings = directory / "settings.yaml"
        settings.write_text(settings_text(self.port, watched))
        self.log = open(directory / "kvmd.log", "wb")
        self.process = subprocess.Popen(
            [stage / "kvmd-supervisor", "--state", state, "--config", settings],
            env=os.environ | {"KVMD_SHARE": str(share)},
            stdout=self.log,
            stderr=self.log,
        )
        try:
            wait_for(lambda: listens(self.port) and (camera.filled() > 10 if watched else len(self.pids()) == 1), "the appliance", 30)
        except AssertionError:
            self.close()
            sys.exit(f"the appliance gives no frames:\n{log_of(self.log).decode()}")

    def pids(self):
        return [pid for pid, name, _ in descendants_of(self.process.pid) if name in ("kvmd", "kvmd-streamer")]

    def close(self):
        end(self.process)
        self.log.close()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


# Measuring.


def measure(peer, samples, camera, seconds):
    time.sleep(1)  # sizes settle
    pids = peer.pids()
    count = (lambda: samples.count) if samples else camera.filled
    frames, cpu, began = count(), sum(map(cpu_seconds, pids)), time.monotonic()
    since = time.monotonic_ns()
    time.sleep(seconds)
    frames, cpu, passed = count() - frames, sum(map(cpu_seconds, pids)) - cpu, time.monotonic() - began
    return frames, cpu, passed, since, sum(map(pss_mib, pids))


def alone(kind, frames, fps, seconds, kit):
    with tempfile.TemporaryDirectory(prefix="kvmd-bench-") as directory:
        camera = Camera(directory, kit, frames, fps)
        peer = kind(camera, directory, kit)
        try:
            count, cpu, passed, since, pss = measure(peer, peer.samples, camera, seconds)
        finally:
            peer.close()
        return Run(cpu, count, passed, peer.samples.latencies_ms(camera, since), pss), peer.samples.last


def served(kind, frames, fps, seconds, clients, kit):
    with tempfile.TemporaryDirectory(prefix="kvmd-bench-") as directory:
        os.chmod(directory, 0o755)
        camera = Camera(directory, kit, frames, fps)
        peer = kind(camera, directory, kit, clients > 0)
        client, drain = None, None
        try:
            if clients:
                client = Client(peer.port, peer.request)
            if clients > 1:
                request = pathlib.Path(directory) / "request"
                request.write_bytes(peer.request)
                drain = subprocess.Popen([kit / "drain", str(peer.port), str(clients - 1), request], stdout=subprocess.PIPE, text=True)
            count, cpu, passed, since, pss = measure(peer, client and client.samples, camera, seconds)
            least = 0
            if drain:
                end(drain)
                least = min(map(int, drain.stdout.read().split()))
            latency = client.samples.latencies_ms(camera, since) if client else []
        finally:
            if drain:
                end(drain)
                drain.stdout.close()
            if client:
                client.close()
            peer.close()
        if drain and least < 100_000:
            print(f"  ({peer.name}: a client got {least} bytes only)")
        return Run(cpu, count, passed, latency, pss)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def per_thousand(run):
    return 1000 * run.cpu / run.frames if run.frames else float("nan")


def median_of(runs, figure):
    return statistics.median(map(figure, runs))


def table(title, pairs, cost, unit):
    """`pairs` by label: lists of (theirs, ours)."""
    print(f"\n  {title}")
    print(f"  {'':22} {'CPU, ' + unit:^29} {'a second':^13} {'latency p50, p99 in ms':^29} {'PSS in MiB':^13}")
    print(f"  {'':22} {'theirs':>9} {'ours':>9} {'ratio':>9} {'theirs':>6} {'ours':>6} {'theirs':>14} {'ours':>14} {'theirs':>6} {'ours':>6}")
    for label, runs in pairs.items():
        theirs, ours = [pair[0] for pair in runs], [pair[1] for pair in runs]
        ratio = statistics.median(cost(our) / cost(their) for their, our in runs)
        rates = [median_of(side, lambda run: run.frames / run.seconds) for side in (theirs, ours)]
        latency = []
        for side in (theirs, ours):
            together = [value for run in side for value in run.latency]
            latency.append(f"{percentile(together, 0.5):.1f}, {percentile(together, 0.99):.1f}" if together else "")
        memory = [median_of(side, lambda run: run.pss) for side in (theirs, ours)]
        print(
            f"  {label:22} {median_of(theirs, cost):9.2f} {median_of(ours, cost):9.2f} {ratio:9.3f} {rates[0]:6.1f} {rates[1]:6.1f}"
            f" {latency[0]:>14} {latency[1]:>14} {memory[0]:6.1f} {memory[1]:6.1f}",
            flush=True,
        )


# Quality.


def sampling_of(jpeg):
    """Chroma as the frame header has it, 4:2:0 or so."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
    across, down = jpeg[at + 11] >> 4, jpeg[at + 11] & 15
    return {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4"}.get((across, down), f"{across}x{down}")


def psnr_of(jpeg, frames):
    """Luma, and chroma as the source has it, against the first frame; without the corner that the counter is drawn in."""
    raw = frames.read_bytes()[: WIDTH * HEIGHT * 2]
    picture = Image.open(io.BytesIO(jpeg))
    picture.draft("YCbCr", (WIDTH, HEIGHT))
    planes = picture.convert("YCbCr").split()
    sources = [Image.frombytes("L", (WIDTH, HEIGHT), raw[0::2])]
    sources += [Image.frombytes("L", (WIDTH // 2, HEIGHT), raw[offset::4]) for offset in (1, 3)]
    found = []
    for source, plane in zip(sources, planes, strict=True):
        box = (0, 16, source.width, HEIGHT)
        difference = ImageChops.difference(source.crop(box), plane.resize(source.size, Image.Resampling.BOX).crop(box))
        found.append(20 * math.log10(255 / ImageStat.Stat(difference).rms[0]))
    return "Y {:.2f}, Cb {:.2f}, Cr {:.2f} dB".format(*found)


def limit(kit, frames):
    """CPU seconds per 1,000 frames of libjpeg-turbo alone on planes that are ready, and of our encoder, in one thread."""
    text = subprocess.run([kit / "limit", frames, str(QUALITY), "60"], capture_output=True, text=True, check=True).stdout
    return dict(zip(("library", "anew", "played"), map(float, text.split()), strict=True))


def prepare(build):
    """Builds what is measured; makes the frames."""
    kit = ROOT / ".cache/bench"
    kit.mkdir(parents=True, exist_ok=True)
    for name, flags in (("fakev4l.so", ["-shared", "-fPIC"]), ("drain", [])):
        source = HERE / (name.removesuffix(".so") + ".c")
        subprocess.run(["cc", "-O2", *flags, "-o", kit / name, source, "-ldl", "-lpthread"], check=True)
    for kind in SETS:
        frames = kit / f"{kind}.yuyv"
        if not frames.exists() or frames.stat().st_mtime < (HERE / "mkframe.py").stat().st_mtime:
            subprocess.run([sys.executable, HERE / "mkframe.py", kind, frames], check=True)
    if not build:
        return kit
    programs = ["-p", "supervisor", "-p", "api", "-p", "streamer", "-p", "ctl"]
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", *programs], cwd=ROOT, check=True)
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "-p", "encode", "--example", "limit"], cwd=ROOT, check=True)
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    for program in ("kvmd", "kvmd-supervisor", "kvmctl", "kvmd-streamer", "examples/limit"):
        shutil.copy2(built / program, kit / pathlib.Path(program).name)
    return kit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="length of each run")
    parser.add_argument("--pairs", type=int, default=5, help="paired runs for each row")
    parser.add_argument("--fps", type=int, default=30, help="frames that the device gives in a second")
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--clients", nargs="*", type=int, default=[0, 1, 2, 8, 50])
    parser.add_argument("--no-build", dest="build", action="store_false", help="measure what was built the last time")
    for name in PEER:
        parser.add_argument(f"--{name}", default=name, help="program to compare with")
    args = parser.parse_args()
    PEER.update({name: vars(args)[name.replace("-", "_")] for name in PEER})
    for program in PEER.values():
        if not shutil.which(program):
            sys.exit(f"{program} is missing (Debian package ustreamer)")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kit = prepare(args.build)
    version = subprocess.run([PEER["ustreamer"], "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"  ustreamer {version}, quality {QUALITY}, {WIDTH}x{HEIGHT} YUYV at {args.fps} a second, {args.pairs} paired runs of {args.seconds:g} s")

    kinds = (UstreamerAlone, OursAlone)
    pairs = {}
    limits = {}
    pictures = {}
    for name in args.sets:
        frames = kit / f"{name}.yuyv"
        runs = []
        for turn in range(args.pairs):
            both = {}
            for kind in kinds[:: 1 if turn % 2 == 0 else -1]:
                both[kind], pictures[name, kind] = alone(kind, frames, args.fps, args.seconds, kit)
            runs.append(tuple(both[kind] for kind in kinds))
            limits.setdefault(name, []).append(limit(kit, frames))
        pairs[name] = runs
    table("alone: capture and encode, one reader of shared memory", pairs, per_thousand, "s per 1,000 frames")

    print("\n  the limit: one thread, nothing but encoding, CPU s per 1,000 frames")
    print(f"  {'':22} {'libjpeg-turbo alone':>20} {'ours, all anew':>20} {'ours, as played':>20}")
    for name, found in limits.items():
        values = [statistics.median(one[key] for one in found) for key in ("library", "anew", "played")]
        print(f"  {name:22} {values[0]:20.2f} {values[1]:20.2f} {values[2]:20.2f}")

    print("\n  what comes out, by the decoder")
    for (name, kind), jpeg in pictures.items():
        quality = psnr_of(jpeg, kit / f"{name}.yuyv") if name == "still" else ""
        print(f"  {name:10} {kind.name:14} {sampling_of(jpeg)}  {len(jpeg):9,} bytes  {quality}")

    kinds = (UstreamerServed, OursServed)
    pairs = {}
    for clients in args.clients:
        runs = []
        for turn in range(args.pairs):
            both = {}
            for kind in kinds[:: 1 if turn % 2 == 0 else -1]:
                both[kind] = served(kind, kit / "desktop.yuyv", args.fps, args.seconds, clients, kit)
            runs.append(tuple(both[kind] for kind in kinds))
        pairs[f"{clients} clients"] = runs
    if pairs:
        table("served: clients of plain HTTP, desktop", pairs, lambda run: 100 * run.cpu / run.seconds, "% of one core")


if __name__ == "__main__":
    main()
