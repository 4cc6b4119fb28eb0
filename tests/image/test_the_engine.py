"""The power-cut engine itself, on plain files: what it says a cut leaves is what a cut can leave."""

import random
import subprocess

import cuts
import disk
import intact
import pytest
from machine import run

MIB = 1 << 20


@pytest.fixture
def logged(tmp_path):
    """Writes to a disk: 1 and 2, a flush, 3 and a discard, a flush, 4."""
    before, path, log = tmp_path / "before.raw", tmp_path / "disk.raw", tmp_path / "log"
    for file in (before, path):
        with file.open("wb") as made:
            made.truncate(4 * MIB)
    log.touch()
    words = ["write -P 1 0 4k", "write -P 2 1M 4k", "flush", "write -P 3 2M 4k", "discard 0 4k", "flush", "write -P 4 3M 4k"]
    options = f"driver=blklogwrites,discard=unmap,file.driver=file,file.filename={path},log.driver=file,log.filename={log},log-super-update-interval=1"
    run("qemu-io", *[part for word in words for part in ("-c", word)], "--image-opts", options)
    return before, cuts.Log(log)


def bytes_at(path, *offsets):
    with path.open("rb") as file:
        return [(file.seek(offset), file.read(1)[0])[1] for offset in offsets]


def test_all_writes_are_in_the_log_in_order(logged):
    _, log = logged
    kinds = [(entry.offset // MIB, entry.size, entry.flags & (cuts.FLUSH | cuts.DISCARD)) for entry in log.entries]
    assert [row for row in kinds if not row[2] & cuts.FLUSH] == [(0, 4096, 0), (1, 4096, 0), (2, 4096, 0), (0, 4096, cuts.DISCARD), (3, 4096, 0)]
    assert sum(1 for row in kinds if row[2] & cuts.FLUSH) >= 2
    assert set(log.data(log.entries[0])) == {1}


def test_a_cut_keeps_what_was_flushed_and_may_lose_the_rest(logged, tmp_path):
    before, log = logged
    third = log.touching(2 * MIB, 1)[0]
    seen = set()
    for seed in range(20):
        place = tmp_path / str(seed)
        place.mkdir()
        replay = cuts.Replay(log, before, place)
        late = replay.cut(third + 1, random.Random(seed))
        replay.whole(place / "whole.raw", late)
        state = bytes_at(place / "whole.raw", 0, MIB, 2 * MIB, 3 * MIB)
        assert state[:2] == [1, 2] and state[3] == 0
        seen.add(state[2])
        part = disk.Partition("piece", 2 * MIB, MIB)
        assert replay.touched(part, late) == bool(late)
        replay.piece(part, place / "piece", late)
        assert bytes_at(place / "piece", 0) == [state[2]]
    assert seen == {0, 3}, "the write after the flush is always there or never"


def test_the_end_of_the_log_is_the_disk(logged, tmp_path):
    before, log = logged
    replay = cuts.Replay(log, before, tmp_path)
    for number in range(1, len(log) + 1):
        late = replay.cut(number, random.Random(1))
    replay.whole(tmp_path / "whole.raw", list(range(replay.done, len(log))))
    assert bytes_at(tmp_path / "whole.raw", 0, MIB, 2 * MIB, 3 * MIB) == [0, 2, 3, 4]
    assert late in ([], [len(log) - 1]) or replay.done == len(log)


def test_moments_are_in_order_and_favour_what_matters(logged):
    _, log = logged
    chosen = cuts.moments(log, 30, 7, focus=[3])
    assert chosen == sorted(chosen) and len(chosen) == 30 and min(chosen) >= 1 and max(chosen) <= len(log)


def test_a_boot_choice_is_read_as_the_boot_loader_reads_it():
    def block(**variables):
        text = "# GRUB Environment Block\n" + "".join(f"kvmd_{name}={value}\n" for name, value in variables.items())
        return text.encode().ljust(1024, b"#")

    assert disk.next_slot(block(primary="a", trial="", tried="0")) == ("a", "a")
    assert disk.next_slot(block(primary="a", trial="b", tried="0")) == ("b", "a")
    assert disk.next_slot(block(primary="a", trial="b", tried="1")) == ("a", "a")
    with pytest.raises(AssertionError):
        disk.next_slot(b"\0" * 1024)


def test_a_missing_user_or_name_is_noticed(tmp_path):
    data = tmp_path / "tree"
    for path in (*(f"etc/a/{name}" for name in intact.SETTINGS), *(path.lstrip("/") for path in intact.PATHS)):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_text(f"what was in {path}\n")

    def found():
        image = tmp_path / "data.img"
        image.unlink(missing_ok=True)
        # As the initramfs lays it out: /var and /root are directories of the data partition.
        run("mke2fs", "-q", "-t", "ext4", "-d", data, image, "16M")
        return intact.settings_of(image)

    before = found()
    judge = intact.Settings([before, before])
    judge.judge(before, "a")
    # Slot b has nothing of its own yet.
    judge.judge(before, "b")
    for path in ("etc/a/hostname", "var/lib/kvmd/kvmd/htpasswd", "root/.ssh/authorized_keys"):
        text = (data / path).read_text()
        (data / path).write_text("")
        with pytest.raises(AssertionError, match="neither as before nor as after"):
            judge.judge(found(), "a")
        (data / path).unlink()
        without = found()
        with pytest.raises(AssertionError, match="neither as before nor as after"):
            judge.judge(without, "a")
        with pytest.raises(AssertionError, match="neither before nor after"):
            intact.Settings([without, without])
        (data / path).write_text(text)


def test_damage_to_ext4_is_noticed(tmp_path):
    image = tmp_path / "data.img"
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    run("mkfs.ext4", "-q", image)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    run("debugfs", "-w", "-R", f"write {tmp_path / 'hosts'} hosts", image)
    disk.check_ext4(image)
    assert disk.tree(image, "/")["hosts"] == b"127.0.0.1 localhost\n"
    # An inode that nobody names.
    subprocess.run(["debugfs", "-w", "-R", "unlink hosts", str(image)], check=True, capture_output=True)
    with pytest.raises(AssertionError):
        disk.check_ext4(image)
