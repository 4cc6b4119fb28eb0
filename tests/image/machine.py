"""The image as a whole machine: QEMU without KVM, an overlay over the image, its serial console, its web face, SSH, and a hand on the plug.

The emulated machine is slow, and slower on a busy computer: every time-out here is for hangs and grows with the load.
A machine can be frozen (memory and disk) and thawed any number of times: what needs a running appliance need not boot one.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest
import requests
from appliance import ROOT, Appliance, Socket, free_port, wait_for

USER, PASSWORD = "admin", "lamp-otter-viola-42"
FIRMWARE = [pathlib.Path("/usr/share/OVMF") / name for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")]
MEMORY_MIB = 1024
# The whole of what is asked for, instead of what fits into a run of all tests.
FULL = os.environ.get("KVMD_IMAGE_FULL") == "1"


def rows(names, default):
    """The parameters of a test: all of them, of which only the default ones run unless all is asked for."""
    assert set(default) <= set(names)
    rest = pytest.mark.skipif(not FULL, reason="KVMD_IMAGE_FULL=1 only")
    return [name if name in default else pytest.param(name, marks=rest) for name in names]


def patience(seconds):
    """A time-out for something that takes `seconds` on an idle machine at most, on this one at this moment."""
    return seconds * float(os.environ.get("KVMD_IMAGE_PATIENCE", "1")) * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def run(*command, **options):
    """A program of this computer that has to succeed; its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=options.pop("text", True), check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def overlay(base, path, size=None):
    """A disk that begins as `base` and remembers only what is different."""
    kind = json.loads(run("qemu-img", "info", "--force-share", "--output=json", base))["format"]
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", pathlib.Path(base).resolve(), "-F", kind, path, *([size] if size else []))
    return path


class Monitor:
    """QMP of one machine: one command at a time; events are kept in order."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        wait_for(lambda: self._connects(path), "QEMU's monitor", patience(60))
        self.file = self.socket.makefile("rw")
        self.events = []
        self.turn = threading.Lock()
        self._read()
        self.run("qmp_capabilities")

    def _connects(self, path):
        with contextlib.suppress(OSError):
            self.socket.connect(str(path))
            return True

    def _read(self):
        line = self.file.readline()
        assert line, "QEMU has ended"
        return json.loads(line)

    def run(self, command, **arguments):
        with self.turn:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.file.flush()
            while True:
                answer = self._read()
                if "event" in answer:
                    self.events.append(answer)
                    continue
                assert "error" not in answer, f"{command}: {answer['error']}"
                return answer["return"]

    def seen(self, event):
        """How often an event has come."""
        self.run("query-status")
        return [row for row in self.events if row["event"] == event]

    def close(self):
        self.socket.close()


class Serial:
    """What the machine writes on its serial console, line by line, with the moment each line came. What is sent is typed there."""

    def __init__(self, path, log):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.path = log
        self.lines = []  # (monotonic time, text)
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        partial = b""
        with self.path.open("ab") as log, contextlib.suppress(OSError):
            while data := self.socket.recv(65536):
                log.write(data)
                log.flush()
                *whole, partial = (partial + data).replace(b"\r", b"\n").split(b"\n")
                with self.changed:
                    self.lines += [(time.monotonic(), clean(line)) for line in whole if line]
                    self.changed.notify_all()

    def send(self, text):
        self.socket.sendall(text.encode())

    def find(self, pattern, start=0):
        return next(((when, found) for when, line in self.lines[start:] if (found := re.search(pattern, line))), None)

    def wait_for_line(self, pattern, seconds=120, start=0):
        """(moment, match) of the first line after number `start` that has the pattern."""
        deadline = time.monotonic() + patience(seconds)
        with self.changed:
            while not (found := self.find(pattern, start)):
                left = deadline - time.monotonic()
                if left < 0:
                    raise AssertionError(f"waited {patience(seconds):.0f} s for {pattern!r} on the console; it shows:\n{self.tail()}")
                self.changed.wait(min(left, 1))
            return found

    def tail(self, count=40):
        return "\n".join(line for _, line in self.lines[-count:])

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()


def clean(line):
    """A line without the escapes of terminals."""
    return re.sub(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>78c])", "", line.decode(errors="replace")).rstrip()


class Machine(Appliance):
    """One run of QEMU on a disk. `power_cut()` and `boot()` again as often as wanted; what is on the disk stays, memory does not."""

    def __init__(self, disk, directory=None, memory=None, more=(), log_writes=None, boot=True):
        self.temporary = tempfile.TemporaryDirectory(prefix="kvmd-image-", dir="/var/tmp") if directory is None else None
        self.place = pathlib.Path(directory or self.temporary.name)
        self.disk, self.memory, self.more, self.log_writes = pathlib.Path(disk), memory, list(more), log_writes
        self.https_port, self.http_port, self.ssh_port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.https_port}"
        self.credentials = {"X-KVMD-User": USER, "X-KVMD-Passwd": PASSWORD}
        self.process = self.monitor = self.serial = None
        self.boots = 0
        if boot:
            self.boot()

    # --- power

    def boot(self):
        """Switches on. Firmware, boot loader and so on run from here; `wait_page()` tells when somebody is at home."""
        assert self.process is None
        self.boots += 1
        variables = self.place / "vars.fd"
        if not variables.exists():
            shutil.copy(FIRMWARE[1], variables)
        forwards = ((self.https_port, 443), (self.http_port, 80), (self.ssh_port, 22))
        disk = f"driver=qcow2,file.driver=file,file.filename={self.disk},cache.direct=off,discard=unmap"
        if self.log_writes:
            # Every write, in the order in which the machine made them.
            self.log_writes.unlink(missing_ok=True)
            self.log_writes.touch()
            inner = ",".join(f"file.{word}" for word in disk.split(","))
            disk = f"driver=blklogwrites,{inner},log.driver=file,log.filename={self.log_writes},log-super-update-interval=1"
        command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2"]
        command += ["-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-vga", "none", "-no-user-config"]
        command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE[0]}"]
        command += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
        command += ["-drive", f"if=none,id=disk,{disk}", "-device", "virtio-blk-pci,drive=disk,bootindex=0"]
        command += ["-netdev", "user,id=net," + ",".join(f"hostfwd=tcp:127.0.0.1:{ours}-:{theirs}" for ours, theirs in forwards)]
        command += ["-device", "virtio-net-pci,netdev=net,romfile=", "-object", f"filter-dump,id=dump,netdev=net,file={self.place}/net.pcap"]
        command += ["-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset"]
        command += ["-qmp", f"unix:{self.place}/monitor,server=on,wait=off"]
        command += ["-chardev", f"socket,id=serial,path={self.place}/serial,server=on,wait=on", "-serial", "chardev:serial", *self.more]
        if self.memory:
            command += ["-incoming", f"file:{self.memory}"]
        (self.place / "command").write_text(" ".join(command))
        for name in ("monitor", "serial"):
            (self.place / name).unlink(missing_ok=True)
        with (self.place / "qemu.log").open("ab") as log:
            # With the end of the test, however it comes, the machine ends.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.began = time.monotonic()
        try:
            wait_for(lambda: (self.place / "serial").exists() or self.process.poll() is not None, "QEMU", patience(30))
            assert self.process.poll() is None, (self.place / "qemu.log").read_text()
            self.serial = Serial(self.place / "serial", self.place / "serial.log")
            self.monitor = Monitor(self.place / "monitor")
            if self.memory:
                wait_for(lambda: self.monitor.run("query-status")["status"] != "inmigrate", "the thawed memory", patience(60))
                self.monitor.run("cont")
        except AssertionError:
            self.power_cut()
            raise
        return self

    def power_cut(self):
        """The plug is pulled: nothing is flushed, nobody is asked."""
        self._end_ssh()
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        for side in (self.monitor, self.serial):
            if side:
                side.close()
        self.process = self.monitor = None
        self.memory = None

    def reset(self):
        """The reset button."""
        self._end_ssh()
        self.monitor.run("system_reset")

    def resets(self):
        """How often the machine began anew, by whatever cause, and the watchdog's part in that."""
        return len(self.monitor.seen("RESET")), len(self.monitor.seen("WATCHDOG"))

    def freeze(self, directory):
        """Stops for good, and gives what can be thawed as often as wanted."""
        directory.mkdir(parents=True, exist_ok=True)
        memory, disk, variables = (directory / name for name in ("memory", "disk.qcow2", "vars.fd"))
        memory.unlink(missing_ok=True)
        self._end_ssh()
        self.monitor.run("stop")
        self.monitor.run("migrate", uri=f"file:{memory}")

        def done():
            state = self.monitor.run("query-migrate")
            assert state.get("status") not in ("failed", "cancelled"), state
            return state.get("status") == "completed"

        wait_for(done, "the machine to be frozen", patience(180), 0.2)
        self.monitor.run("quit")
        self.process.wait()
        self.power_cut()
        shutil.copy(self.place / "vars.fd", variables)
        self.disk.rename(disk)
        return Frozen(disk, memory, variables)

    # --- faces

    def request(self, method, path, timeout=None, headers=None, **more):
        headers = self.credentials if headers is None else headers
        return requests.request(
            method, self.url + path, verify=False, timeout=timeout or patience(60), headers=headers, allow_redirects=False, **more
        )

    def get(self, path, **more):
        """Asks again where the connection ends: the web is started anew when the machine has got its address, for a certificate that names it."""

        def asked():
            with contextlib.suppress(requests.exceptions.ConnectionError):
                # An answer that says no is one as well.
                return [self.request("GET", path, **more)]

        return self.wait_here(asked, f"an answer to GET {path}", 60, 0.5)[0]

    def socket(self, stream=0, headers=None):
        return Socket(self, stream, headers or self.credentials)

    def answers(self, path="/api/auth/check", headers=None):
        """The answer of the web face, or None where nobody answers (yet)."""
        with contextlib.suppress(requests.RequestException):
            return self.request("GET", path, timeout=patience(10), headers=headers or {})

    def wait_page(self, seconds=240):
        """Until HTTPS answers; the seconds since the machine was switched on."""
        self.wait_here(lambda: self.answers() is not None, "the first HTTPS answer", seconds, 0.1)
        return time.monotonic() - self.began

    def wait_here(self, condition, what, seconds=240, pause=0.3):
        """Like `wait_for`, but tells what the console shows when it does not come."""

        def alive():
            assert self.process.poll() is None, f"QEMU ended while waiting for {what}: {(self.place / 'qemu.log').read_text()[-2000:]}"
            return condition()

        try:
            return wait_for(alive, what, patience(seconds), pause)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe console shows:\n{self.serial.tail(60)}") from None

    def ssh(self, command, check=True, seconds=120):
        """Runs a command of the shell as root over SSH; its output."""
        done = subprocess.run(
            [*self._ssh(), "root@127.0.0.1", command], capture_output=True, text=True, timeout=patience(seconds), stdin=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{command!r} over SSH: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if check else (done.returncode, done.stdout + done.stderr)

    def put(self, source, target):
        """Copies a file to the machine."""
        with pathlib.Path(source).open("rb") as file:
            done = subprocess.run(
                [*self._ssh(), "root@127.0.0.1", f"cat > {target}"], stdin=file, capture_output=True, text=True, timeout=patience(300), check=False
            )
        assert done.returncode == 0, done.stderr

    def wait_ssh(self, seconds=240):
        self.wait_here(lambda: self.ssh("true", check=False)[0] == 0, "SSH", seconds, 1)

    def _ssh(self, key=None):
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes", f"ConnectTimeout={patience(20):.0f}"]
        options += ["ControlMaster=auto", "ControlPersist=300", f"ControlPath={self.place}/ssh-control"]
        command = ["ssh", "-i", str(key or ssh_key()), "-o", "IdentitiesOnly=yes", "-p", str(self.ssh_port)]
        return command + [word for option in options for word in ("-o", option)]

    def _end_ssh(self):
        if (self.place / "ssh-control").exists():
            subprocess.run([*self._ssh(), "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False, timeout=30)
            (self.place / "ssh-control").unlink(missing_ok=True)

    def log(self):
        return "\n".join(line for _, line in self.serial.lines) if self.serial else ""

    def stop(self):
        self.power_cut()

    def close(self):
        self.power_cut()
        if self.temporary:
            self.temporary.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Frozen:
    """A machine at one moment."""

    def __init__(self, disk, memory, variables):
        self.disk, self.memory, self.variables = disk, memory, variables

    def thaw(self, **options):
        """A machine that goes on from that moment, with a disk of its own."""
        return self._machine(memory=self.memory, **options)

    def cold(self, **options):
        """A machine that is switched off, with the disk of that moment: as after a power cut then."""
        return self._machine(boot=False, **options)

    def _machine(self, **options):
        start = options.pop("boot", True)
        temporary = tempfile.TemporaryDirectory(prefix="kvmd-image-", dir="/var/tmp")
        place = pathlib.Path(temporary.name)
        shutil.copy(self.variables, place / "vars.fd")
        made = Machine(overlay(self.disk, place / "disk.qcow2"), directory=place, boot=False, **options)
        made.temporary = temporary
        if start:
            made.boot()
        return made


def ssh_key():
    """The private key of these tests, made once for each copy of the repository; its public half beside it."""
    path = ROOT / ".cache/image/test-key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "image tests", "-f", path)
    return path


def public_key():
    return ssh_key().with_suffix(".pub").read_text().strip()
