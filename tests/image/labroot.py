"""The image's root in the laboratory: its own systemd, in a second, without the boot chain; commands as root, a network to this computer.

There is no initramfs here, so there is no data partition: the root is the squashfs with memory over it.
"""

import base64
import itertools
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from appliance import ROOT, Appliance, wait_for
from machine import patience, run

HERE, THERE = "10.77.{}.1", "10.77.{}.2"
numbers = itertools.count(os.getpid() % 100 + 100)

# Runs what is put into the shared directory, one after the other. Seen by systemd as a unit that the kernel's command line brought.
AGENT = """
cd {share} || exit 1
mkdir -p /run/systemd/network
printf '[Match]\\nName=vec0\\n[Network]\\nAddress={there}/24\\nMulticastDNS=yes\\nLinkLocalAddressing=ipv6\\n' >/run/systemd/network/10-lab.network
printf 'a=lab\\n' >agent.up.new && mv agent.up.new agent.up
while :; do
    for order in *.go; do
        [ -e "$order" ] || continue
        mv "$order" "${{order%.go}}.run"
        sh "${{order%.go}}.run" >"${{order%.go}}.out" 2>&1 </dev/null
        echo $? >rc.new && mv rc.new "${{order%.go}}.rc"
    done
    sleep 0.02
done
"""
UNIT = """[Unit]
DefaultDependencies=no
After=systemd-tmpfiles-setup-dev-early.service
Before=systemd-networkd.service kvmd-supervisor.service
[Service]
ExecStartPre=-/bin/sh -c "cp {share}/bin/* /usr/bin/"
ExecStart=/bin/sh {share}/agent
StandardOutput=null
"""


class Lab(Appliance):
    """One boot of the root."""

    def __init__(self, squashfs, append="", programs=()):
        """`programs` take the place of those in /usr/bin: to try them without building an image."""
        number = next(numbers) % 250
        self.tap, self.here, self.there = f"kvmdlab{number}", HERE.format(number), THERE.format(number)
        # Not below /tmp, where systemd puts a file system of its own.
        self.directory = tempfile.TemporaryDirectory(prefix="kvmd-lab-", dir="/var/tmp")
        self.place = pathlib.Path(self.directory.name)
        self.share = self.place / "share"
        self.share.mkdir()
        (self.share / "agent").write_text(AGENT.format(share=self.share, there=self.there))
        (self.share / "bin").mkdir()
        for program in programs:
            shutil.copy(program, self.share / "bin")
        unit = base64.b64encode(UNIT.format(share=self.share).encode()).decode()
        words = [f"systemd.set_credential_binary=systemd.extra-unit.lab-agent.service:{unit}", "systemd.wants=lab-agent.service"]
        words += [f"vec0:transport=tap,ifname={self.tap}", "systemd.show_status=1 loglevel=4", append]
        run("ip", "tuntap", "add", "dev", self.tap, "mode", "tap")
        self.traffic = None
        self.process = None
        try:
            run("sysctl", "-q", "-w", f"net.ipv6.conf.{self.tap}.disable_ipv6=1")
            run("ip", "address", "add", f"{self.here}/24", "dev", self.tap)
            run("ip", "link", "set", self.tap, "up")
            self.traffic = Traffic(self.tap)
            command = [xtask(), "lab", "--root", squashfs, "--init", "--memory", "1G", "--write", self.share, "--append", " ".join(words)]
            self.began = time.monotonic()
            with (self.place / "console").open("wb") as console:
                self.process = subprocess.Popen(
                    [str(word) for word in command], stdin=subprocess.PIPE, stdout=console, stderr=console, start_new_session=True
                )
            self.host = self.there
            self.url, self.https_port = f"https://{self.there}", 443
            self.count = itertools.count()
            wait_for(lambda: (self.share / "agent.up").exists() or self.process.poll() is not None, "the root's systemd", patience(60), 0.01)
            assert self.process.poll() is None and (self.share / "agent.up").exists()
        except AssertionError as error:
            said = self.log()[-6000:]
            self.close()
            raise AssertionError(f"{error}\nthe console shows:\n{said}") from None

    def sh(self, script, check=True, seconds=60):
        """Runs a script as root; its output, or with `check=False` (exit code, output)."""
        name = self.share / str(next(self.count))
        name.with_suffix(".new").write_text(script)
        name.with_suffix(".new").rename(name.with_suffix(".go"))
        wait_for(lambda: name.with_suffix(".rc").exists() or self.process.poll() is not None, f"{script!r}", patience(seconds), 0.005)
        assert self.process.poll() is None, f"the laboratory ended:\n{self.log()[-4000:]}"
        code, output = int(name.with_suffix(".rc").read_text()), name.with_suffix(".out").read_text(errors="replace")
        assert not check or code == 0, f"{script!r}: {code}\n{output}"
        return output if check else (code, output)

    def log(self):
        path = self.place / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self):
        try:
            if self.process:
                self.process.stdin.close()
                self.process.terminate()
                self.process.wait(patience(30))
        except subprocess.TimeoutExpired:
            # A session of its own: the laboratory's kernel and all.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            if self.traffic:
                self.traffic.close()
            subprocess.run(["ip", "tuntap", "del", "dev", self.tap, "mode", "tap"], check=False)
            self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Traffic:
    """Every packet that the appliance sends, in a few words each."""

    def __init__(self, interface):
        self.packets = []  # (monotonic time, words, bytes)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))
        self.socket.settimeout(0.5)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while not self.ended.is_set():
            try:
                data, (_, _, kind, _, _) = self.socket.recvfrom(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if kind != socket.PACKET_OUTGOING:
                self.packets.append((time.monotonic(), words(data), data))

    def close(self):
        self.ended.set()
        self.thread.join()
        self.socket.close()


def words(frame):
    """What an Ethernet frame is: ("udp", destination, port), ("tcp", destination, port, "connect" or "answer"), ("arp",), ("icmp6", kind) …"""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0806:
        return ("arp",)
    if kind == 0x0800:
        length, protocol, target = (frame[14] & 15) * 4, frame[23], socket.inet_ntop(socket.AF_INET, frame[30:34])
        payload = frame[14 + length :]
    elif kind == 0x86DD:
        protocol, target, payload = frame[20], socket.inet_ntop(socket.AF_INET6, frame[38:54]), frame[54:]
        if protocol == 0:  # hop-by-hop options: multicast listener reports
            protocol, payload = payload[0], payload[(payload[1] + 1) * 8 :]
    else:
        return ("other", hex(kind))
    if protocol in (6, 17) and len(payload) >= 14 - 10 * (protocol == 17):
        port = struct.unpack_from("!H", payload, 2)[0]
        if protocol == 17:
            return ("udp", target, port)
        return ("tcp", target, port, "connect" if payload[13] & 0x12 == 0x02 else "answer")
    if protocol == 58:
        return ("icmp6", payload[0])
    return ("ip", target, protocol)


def xtask():
    """The laboratory's program, built if need be."""
    path = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/xtask"
    if not path.exists():
        run("cargo", "build", "--quiet", "--package", "xtask", cwd=ROOT)
    assert shutil.which("ip"), "the package iproute2 is missing"
    return path
