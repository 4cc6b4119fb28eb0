"""The image's disk, looked at and changed while no machine runs on it."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import tempfile

from machine import run

SECTOR = 512


@dataclasses.dataclass(frozen=True)
class Partition:
    name: str
    offset: int
    size: int


def kind_of(path):
    return json.loads(run("qemu-img", "info", "--force-share", "--output=json", path))["format"]


def _slice(path, offset, size):
    kind = kind_of(path)
    inner = f"file.driver={kind},file.file.driver=file,file.file.filename={path}" if kind != "raw" else f"file.driver=file,file.filename={path}"
    return f"driver=raw,offset={offset},size={size},{inner}"


def read(path, offset, size, target):
    """Copies a range of a disk of any format into a sparse file."""
    run("qemu-img", "convert", "--force-share", "--image-opts", _slice(path, offset, size), "-O", "raw", target)


def write(path, offset, source):
    """Puts a file's content into a disk, from `offset` on."""
    size = pathlib.Path(source).stat().st_size
    # Without a lock: the laboratory's kernel has one on the whole root it runs from, which even --force-share does not pass.
    unlocked = f"driver=raw,file.driver=file,file.locking=off,file.filename={source}"
    run("qemu-img", "convert", "-n", "--image-opts", unlocked, "--target-image-opts", _slice(path, offset, size))


def partitions(path):
    """The GPT's partitions by name."""
    with tempfile.NamedTemporaryFile() as head:
        read(path, 0, 34 * SECTOR, head.name)
        data = pathlib.Path(head.name).read_bytes()
    assert data[SECTOR : SECTOR + 8] == b"EFI PART", f"{path} has no GPT"
    first, count, size = struct.unpack_from("<QII", data, SECTOR + 72)
    found = {}
    for entry in range(count):
        at = first * SECTOR + entry * size
        if at + size > len(data) or not any(data[at : at + 16]):
            continue
        begin, end = struct.unpack_from("<QQ", data, at + 32)
        name = data[at + 56 : at + 128].decode("utf-16-le").rstrip("\0")
        found[name] = Partition(name, begin * SECTOR, (end + 1 - begin) * SECTOR)
    return found


@contextlib.contextmanager
def partition(path, name, change=False):
    """A partition as a file of its own; with `change` it is written back."""
    part = partitions(path)[name]
    with tempfile.NamedTemporaryFile(prefix=f"{name}-", dir="/var/tmp") as file:
        read(path, part.offset, part.size, file.name)
        yield pathlib.Path(file.name)
        if change:
            write(path, part.offset, file.name)


def put_into_sel(path, **files):
    """Files at the top of the boot choice's partition, as a person with a card reader puts them there; `_` in a name is a dot."""
    with partition(path, "sel", change=True) as fat, tempfile.TemporaryDirectory() as place:
        for name, text in files.items():
            source = pathlib.Path(place) / name.replace("_", ".")
            source.write_text(text)
            run("mcopy", "-o", "-i", fat, source, f"::/{source.name}")


def try_next(path, root, boot):
    """Leaves a disk as an update leaves it: slot b holds a release, and the next start tries it. Without the minutes that an emulated machine takes."""
    parts = partitions(path)
    write(path, parts["root_b"].offset, root)
    write(path, parts["boot_b"].offset, boot)
    with partition(path, "sel", change=True) as fat, tempfile.NamedTemporaryFile() as env:
        known = choice(fat_file(fat, "grub/grubenv"))
        known.update(kvmd_primary="a", kvmd_trial="b", kvmd_tried="0", kvmd_bad="none")
        text = "# GRUB Environment Block\n" + "".join(f"{name}={value}\n" for name, value in known.items())
        env.write(text.encode().ljust(1024, b"#"))
        env.flush()
        run("mcopy", "-o", "-i", fat, env.name, "::/grub/grubenv")


def read_sel(path, name):
    """A file of the boot choice's partition, or None."""
    with partition(path, "sel") as fat:
        return fat_file(fat, name)


def fat_file(fat, name):
    done = subprocess.run(["mtype", "-i", str(fat), f"::/{name}"], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def sums(path, names=("boot_a", "root_a", "boot_b", "root_b")):
    """SHA-256 of whole partitions."""
    found = {}
    for name in names:
        with partition(path, name) as file:
            found[name] = sha256(file)
    return found


def sha256(path, offset=0, size=None):
    """The hash of a file, or of a range of it."""
    digest = hashlib.sha256()
    with pathlib.Path(path).open("rb") as file:
        left = file.seek(0, os.SEEK_END) - offset if size is None else size
        file.seek(offset)
        while left and (chunk := file.read(min(1 << 20, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def choice(env):
    """The variables of a GRUB environment block, which has to be one."""
    assert len(env) == 1024 and env.startswith(b"# GRUB Environment Block\n"), f"{len(env)} bytes: {env[:60]!r}"
    lines = [line for line in env.decode("ascii").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def next_slot(env):
    """The slot that the boot loader takes at the next start, and the one after that if this one's start leads nowhere."""
    state = choice(env)
    primary, trial, tried = (state.get(f"kvmd_{name}", "") for name in ("primary", "trial", "tried"))
    assert primary in ("a", "b"), state
    return (trial if trial in ("a", "b") and tried == "0" else primary), primary


def text_of_choice(text):
    """`next_slot` of a block that came as text."""
    return next_slot(text.encode("ascii"))


def check_ext4(file):
    """What a boot does (the journal, and files that were deleted while they were open); then nothing may be wrong."""
    done = subprocess.run(["e2fsck", "-p", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), f"e2fsck -p: {done.returncode}\n{done.stdout}{done.stderr}"
    done = subprocess.run(["e2fsck", "-f", "-n", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"e2fsck: {done.returncode}\n{done.stdout}{done.stderr}"


def tree(file, directory):
    """Every file below a directory of an ext4 file system: {path: content}."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        said = subprocess.run(["debugfs", "-R", f"rdump {directory} {place}", str(file)], capture_output=True, text=True, check=False)
        assert "File not found" not in said.stderr, said.stderr
        top = pathlib.Path(place) / pathlib.Path(directory).name
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file() and not path.is_symlink()}


def squashfs_size(file):
    """How much of a partition a squashfs uses; 0 if there is none."""
    with pathlib.Path(file).open("rb") as disk:
        head = disk.read(96)
    return struct.unpack_from("<Q", head, 40)[0] if head[:4] == b"hsqs" else 0


def label_of(file):
    return re.sub(r".*volume name: *", "", run("dumpe2fs", "-h", file), flags=re.DOTALL).split("\n")[0]
