"""The lent drive: what the host reads is the image, as a CD and as a disk, and what it writes stays."""

import fcntl
import hashlib
import os

from appliance import wait_for
from host import block_size, disks, read_disk

MIB = 1 << 20


def image(seed, size):
    return (hashlib.sha512(seed.encode()).digest() * (size // 64 + 1))[:size]


def upload(bench, name, data):
    bench.post(f"/api/msd/remove?image={name}")
    answer = bench.post(f"/api/msd/write?image={name}", data=data)
    assert answer.status_code == 200, answer.text


def connect(bench, name, cdrom, rw):
    assert bench.post(f"/api/msd/set_params?image={name}&cdrom={int(cdrom)}&rw={int(rw)}").status_code == 200
    answer = bench.post("/api/msd/set_connected?connected=1")
    assert answer.status_code == 200, answer.text
    state = bench.result("/api/msd")
    assert state["drive"]["connected"] and state["drive"]["rw"] is rw


def disconnect(bench):
    answer = bench.post("/api/msd/set_connected?connected=0")
    assert answer.status_code == 200, answer.text


def medium(kind, size):
    def there():
        for node in disks(kind):
            # Asking wakes the host's own look for a new medium.
            try:
                with open(node, "rb"):
                    pass
            except OSError:
                continue
            if block_size(node) >= size:
                return node
        return None

    return wait_for(there, f"a {kind} medium of {size} bytes", pause=0.2)


def downloaded(bench, name):
    answer = bench.get(f"/api/msd/read?image={name}")
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


def writable(bench):
    """Whether the storage is mounted read-write at the moment."""
    with open("/proc/mounts") as mounts:
        (line,) = [line for line in mounts if line.startswith(f"{bench.storage} ")]
    assert {"nosuid", "nodev", "noexec"} <= set(line.split()[3].split(",")), line
    return "rw" in line.split()[3].split(",")


def test_an_image_is_a_cd_and_a_disk_with_the_same_bytes(wired):
    data = image("read-only", 8 * MIB)
    upload(wired, "bytes.img", data)
    wanted = hashlib.sha256(data).hexdigest()
    for cdrom, kind in ((True, "sr"), (False, "sd")):
        connect(wired, "bytes.img", cdrom, rw=False)
        node = medium(kind, len(data))
        assert read_disk(node, len(data)) == wanted, node
        assert not writable(wired)
        disconnect(wired)
    assert downloaded(wired, "bytes.img") == wanted


def test_a_writable_image_keeps_what_the_host_wrote(wired):
    data = image("writable", 4 * MIB)
    upload(wired, "writable.img", data)
    wait_for(lambda: not writable(wired), "the storage to be read-only again")
    connect(wired, "writable.img", cdrom=False, rw=True)
    assert writable(wired)
    node = medium("sd", len(data))
    written = image("the host was here", 64 * 1024)
    disk = os.open(node, os.O_RDWR)
    os.pwrite(disk, written, MIB)
    os.fsync(disk)
    os.close(disk)
    disconnect(wired)
    changed = data[:MIB] + written + data[MIB + len(written) :]
    assert downloaded(wired, "writable.img") == hashlib.sha256(changed).hexdigest()
    wait_for(lambda: not writable(wired), "the storage to be read-only again")


def test_a_medium_the_host_holds_fast_comes_out_all_the_same(wired):
    upload(wired, "held.iso", image("held", 2 * MIB))
    connect(wired, "held.iso", cdrom=True, rw=False)
    node = medium("sr", 2 * MIB)
    CDROM_LOCKDOOR = 0x5329
    disk = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.ioctl(disk, CDROM_LOCKDOOR, 1)
    disconnect(wired)
    os.close(disk)
    assert not wired.result("/api/msd")["drive"]["connected"]


def test_the_hosts_own_eject_is_seen(wired):
    upload(wired, "ejected.iso", image("ejected", 2 * MIB))
    connect(wired, "ejected.iso", cdrom=True, rw=False)
    node = medium("sr", 2 * MIB)
    CDROM_LOCKDOOR, CDROMEJECT = 0x5329, 0x5309
    disk = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.ioctl(disk, CDROM_LOCKDOOR, 0)
    fcntl.ioctl(disk, CDROMEJECT, 0)
    os.close(disk)
    wait_for(lambda: not wired.result("/api/msd")["drive"]["connected"], "the drive to be seen empty")
