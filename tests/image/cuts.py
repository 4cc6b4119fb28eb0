"""Power cuts without machines: all writes of one run, replayed up to any moment, onto the disk as it was before.

A disk may lose, in any combination, what was written after the last completed flush. So a cut keeps every write before that flush and a
random part of the later ones; sectors are whole (they are on every disk there is).
"""

import dataclasses
import os
import pathlib
import random
import struct

from machine import run

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True)
class Entry:
    offset: int  # in the disk
    size: int
    flags: int
    at: int  # of the data in the log


class Log:
    """What QEMU's `blklogwrites` wrote."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.entries = []
        with self.path.open("rb") as file:
            magic, version, count, sector = struct.unpack("<QQQI", file.read(28))
            assert (magic, version) == (MAGIC, 1), f"{path} is no log of writes"
            at = sector
            for _ in range(count):
                file.seek(at)
                head = file.read(32)
                if len(head) < 32:
                    break
                start, sectors, flags, _ = struct.unpack("<QQQQ", head)
                self.entries.append(Entry(start * sector, sectors * sector, flags, at + sector))
                at += sector + (0 if flags & DISCARD else sectors * sector)

    def __len__(self):
        return len(self.entries)

    def data(self, entry):
        with self.path.open("rb") as file:
            file.seek(entry.at)
            return file.read(entry.size)

    def touching(self, offset, size):
        """Numbers of the entries that change a range."""
        return [number for number, entry in enumerate(self.entries) if entry.offset < offset + size and offset < entry.offset + entry.size]


class Replay:
    """A raw disk on which a log's writes are done again; `cut(number)` gives disks as cuts after that many writes leave them, in ascending order."""

    def __init__(self, log, before, directory):
        self.log, self.disk = log, pathlib.Path(directory) / "stable.raw"
        run("qemu-img", "convert", "--force-share", "-O", "raw", before, self.disk)
        self.done = 0  # entries that are on the disk for good
        self.dirty = set()  # 1 MiB pieces changed since somebody asked

    def cut(self, number, chance):
        """Applies all that is safe at a cut after `number` entries; returns the numbers of later ones that happened to arrive."""
        safe = max((n + 1 for n in range(self.done, number) if self.log.entries[n].flags & FLUSH), default=self.done)
        with self.disk.open("r+b") as disk:
            for n in range(self.done, safe):
                self.apply(disk, self.log.entries[n])
        self.done = max(self.done, safe)
        later = range(self.done, number)
        # Those that went straight through the cache are safe as well.
        return [n for n in later if self.log.entries[n].flags & FUA or chance.random() < 0.5]

    def apply(self, disk, entry):
        if not entry.size:
            return
        self.dirty.update(range(entry.offset >> 20, ((entry.offset + entry.size - 1) >> 20) + 1))
        if entry.flags & DISCARD:
            # What a discarded range reads is the disk's business: zeros here.
            punch(disk, entry.offset, entry.size)
        else:
            disk.seek(entry.offset)
            disk.write(self.log.data(entry))

    def piece(self, part, target, later):
        """A partition at this cut, as a file; whether it may have changed since the last question is for the caller to say."""
        with self.disk.open("rb") as disk, pathlib.Path(target).open("wb") as file:
            copy_sparse(disk, part.offset, part.size, file)
        with pathlib.Path(target).open("r+b") as file:
            for n in later:
                entry = self.log.entries[n]
                begin, end = max(entry.offset, part.offset), min(entry.offset + entry.size, part.offset + part.size)
                if begin >= end:
                    continue
                if entry.flags & DISCARD:
                    punch(file, begin - part.offset, end - begin)
                else:
                    file.seek(begin - part.offset)
                    file.write(self.log.data(entry)[begin - entry.offset : end - entry.offset])

    def touched(self, part, later):
        """Whether a partition was written since the last time this was asked for it, or by the late writes of this cut."""
        pieces = set(range(part.offset >> 20, (part.offset + part.size - 1 >> 20) + 1))
        late = any(
            self.log.entries[n].offset < part.offset + part.size and part.offset < self.log.entries[n].offset + self.log.entries[n].size for n in later
        )
        hit = bool(self.dirty & pieces)
        self.dirty -= pieces
        return hit or late

    def whole(self, target, later):
        """The whole disk at this cut, for a machine."""
        run("cp", "--sparse=always", self.disk, target)
        with pathlib.Path(target).open("r+b") as disk:
            dirty = self.dirty
            self.dirty = set()
            for n in later:
                self.apply(disk, self.log.entries[n])
            self.dirty = dirty


def copy_sparse(disk, offset, size, file):
    file.truncate(size)
    at, end = offset, offset + size
    while at < end:
        try:
            data = min(os.lseek(disk.fileno(), at, os.SEEK_DATA), end)
        except OSError:
            return
        hole = min(os.lseek(disk.fileno(), data, os.SEEK_HOLE), end) if data < end else end
        position = data
        while position < hole:
            count = os.copy_file_range(disk.fileno(), file.fileno(), hole - position, position, position - offset)
            if not count:
                break
            position += count
        at = hole


def punch(file, offset, size):
    """Makes a hole."""
    file.flush()
    run("fallocate", "--punch-hole", "--offset", offset, "--length", size, file.name)


def moments(log, count, seed, focus=()):
    """`count` numbers of writes to cut after, in order: a third of them close to the writes in `focus`, which are few and matter most."""
    chance = random.Random(seed)
    chosen = [chance.randint(1, len(log)) for _ in range(count - (count // 3 if focus else 0))]
    while focus and len(chosen) < count:
        chosen.append(min(len(log), max(1, chance.choice(focus) + chance.randint(-3, 4))))
    return sorted(chosen)
