"""The other end of every cable, inside the laboratory: what the host sees of our USB gadget, the simulated GPIO chip, the test capture device.

The gadget is looped back into the same kernel, so the "target" is this very machine: its hidraw, evdev and SCSI devices are ours to read.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import pathlib
import re
import select
import struct
import subprocess
import threading
import time

from appliance import wait_for

SYS = pathlib.Path("/sys")
EVENT = struct.Struct("llHHi")
EV_KEY, EV_REL, EV_ABS = 1, 2, 3


def inside():
    """Whether this is the laboratory: a User Mode Linux kernel."""
    return "User Mode Linux" in pathlib.Path("/proc/cpuinfo").read_text()


def interface_of(path):
    """Number of the USB interface a class device of ours belongs to, or None."""
    for parent in [path.resolve(), *path.resolve().parents]:
        number = parent / "bInterfaceNumber"
        if number.exists():
            return int(number.read_text(), 16)
    return None


def of_gadget(path):
    return "dummy_hcd" in str(path.resolve())


class Reports:
    """Every report the host reads from the gadget, by interface: 0 keyboard, 1 first mouse, 2 second mouse. Follows devices that come back."""

    def __init__(self):
        self.all = []  # (interface, hex, monotonic time)
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.open = {}
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _look(self, poll):
        for path in sorted((SYS / "class/hidraw").glob("hidraw*")):
            with contextlib.suppress(OSError):
                node = f"/dev/{path.name}"
                if any(name == str(path.resolve()) for _, name in self.open.values()) or not of_gadget(path):
                    continue
                interface = interface_of(path)
                descriptor = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
                self.open[descriptor] = (interface, str(path.resolve()))
                poll.register(descriptor, select.POLLIN)

    def _read(self):
        poll = select.poll()
        looked = 0
        while not self.ended.is_set():
            if time.monotonic() - looked > 0.05:
                self._look(poll)
                looked = time.monotonic()
            for descriptor, _ in poll.poll(20):
                try:
                    data = os.read(descriptor, 64)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    del self.open[descriptor]
                    continue
                with self.changed:
                    self.all.append((self.open[descriptor][0], data.hex(), time.monotonic()))
                    self.changed.notify_all()

    def ready(self):
        """The interfaces that can be read at this moment."""
        return {interface for interface, _ in self.open.values()}

    def of(self, interface, start=0):
        return [data for number, data, _ in self.all[start:] if number == interface]

    def wait(self, condition, what, patience=20):
        deadline = time.monotonic() + patience
        with self.changed:
            while not (value := condition(self)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {patience} s for {what}; last reports: {[row[:2] for row in self.all[-8:]]}")
                self.changed.wait(min(left, 0.2))
            return value

    def close(self):
        self.ended.set()
        self.thread.join()
        for descriptor in self.open:
            os.close(descriptor)


class Events:
    """Input events of one interface of the gadget, as the host's programs get them."""

    def __init__(self, interface):
        found = [path for path in (SYS / "class/input").glob("event*") if of_gadget(path) and interface_of(path) == interface]
        assert found, f"no event device for interface {interface}"
        self.node = f"/dev/input/{found[0].name}"
        self.descriptor = os.open(self.node, os.O_RDWR | os.O_NONBLOCK)
        self.seen = []

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, EVENT.size * 64):
                for _, _, kind, code, value in EVENT.iter_unpack(data):
                    if kind in (EV_KEY, EV_REL, EV_ABS):
                        self.seen.append((kind, code, value))
        return self.seen

    def wait(self, *wanted):
        wait_for(lambda: all(event in self.read() for event in wanted), f"{wanted} at {self.node}", 20, 0.005)

    def light(self, led, on):
        """Lets the host set a light of the keyboard (LED_NUML 0, LED_CAPSL 1, LED_SCROLLL 2)."""
        os.write(self.descriptor, EVENT.pack(0, 0, 0x11, led, int(on)) + EVENT.pack(0, 0, 0, 0, 0))

    def close(self):
        os.close(self.descriptor)


class Chip:
    """The simulated GPIO chip behind /dev/gpiochip0."""

    def __init__(self):
        found = sorted(SYS.glob("devices/platform/gpio-sim.*/gpiochip*/sim_gpio0"))
        assert found, "no simulated GPIO chip"
        self.lines = found[0].parent

    def pull(self, line, high):
        (self.lines / f"sim_gpio{line}/pull").write_text("pull-up" if high else "pull-down")

    def level(self, line):
        return (self.lines / f"sim_gpio{line}/value").read_text().strip() == "1"


class Watcher:
    """The moments at which a line changed, seen by looking all the time."""

    def __init__(self, chip, line):
        self.changes = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look, args=(chip, line), daemon=True)
        self.thread.start()

    def _look(self, chip, line):
        last, looked = chip.level(line), time.monotonic()
        while not self.ended.wait(0.002):
            before = time.monotonic()
            if (level := chip.level(line)) != last:
                last = level
                # It was between the two.
                self.changes.append((looked, time.monotonic(), level))
            looked = before

    def close(self):
        self.ended.set()
        self.thread.join()

    def presses(self):
        """How long each complete press lasted at most, in seconds: never less than it did, however late we looked."""
        return [end - start for (start, _, level), (_, end, _) in zip(self.changes, self.changes[1:]) if level]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Camera:
    """The test capture device (vivid), as somebody at its HDMI cable would use it."""

    def __init__(self):
        names = {path.name: (path / "name").read_text().strip() for path in (SYS / "class/video4linux").glob("video*")}
        found = [name for name, title in sorted(names.items()) if re.match(r"vivid-.*-vid-cap", title)]
        assert found, f"no vivid capture device among {names}"
        self.node = f"/dev/{found[0]}"

    def control(self, **controls):
        for name, value in controls.items():
            self._run(f"--set-ctrl={name}={value}")

    def _run(self, *arguments):
        run = subprocess.run(["v4l2-ctl", f"--device={self.node}", *arguments], capture_output=True, text=True)
        assert run.returncode == 0, f"v4l2-ctl {arguments}: {run.stdout}{run.stderr}"
        return run.stdout

    def signal(self, mode):
        """0 current timings, 1 no signal, 2 no lock, 3 out of range, 4 the selected timings."""
        self.control(dv_timings_signal_mode=mode)

    def timings(self):
        """Size of what is on the cable."""
        text = self._run("--query-dv-timings")
        size = [int(re.search(rf"Active {what}: (\d+)", text)[1]) for what in ("width", "height")]
        return tuple(size)


def disks(kind):
    """The host's block devices of our drive: `sr` CDs, `sd` disks."""
    return [f"/dev/{path.name}" for path in sorted((SYS / "block").glob(f"{kind}*")) if of_gadget(path)]


def block_size(node):
    return int((SYS / "block" / pathlib.Path(node).name / "size").read_text()) * 512


def read_disk(node, size):
    """The first `size` bytes of a medium, not from the host's cache."""
    BLKFLSBUF = 0x1261
    with open(node, "rb") as disk:
        fcntl.ioctl(disk, BLKFLSBUF, 0)
        digest = hashlib.sha256()
        left = size
        while left and (data := disk.read(min(left, 1 << 20))):
            digest.update(data)
            left -= len(data)
        assert not left, f"{node} ended {left} bytes too early"
        return digest.hexdigest()


def ext4_on_loop(directory, size_mib, label="PIMSD"):
    """A block device with a fresh ext4 file system."""
    image = pathlib.Path(directory) / "storage.img"
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-L", label, image], check=True)
    return subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True).stdout.strip()


libc = ctypes.CDLL(None, use_errno=True)
