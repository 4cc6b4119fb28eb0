"""The scripts that build, sign and lay out an image, a piece at a time: with programs that pretend, or on small files. Whole builds: `KVMD_IMAGE_FULL=1`."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MIB = 1 << 20
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
# Everything the pieces of assemble read.
FACTS = 'root="{root}"; . "$root/scripts/lib.sh"; root="{root}"; need_packages() {{ :; }}; board=test version=1.0.0 here="$root/board/test" cache="{cache}" out="{cache}" tools="$root/scripts/image"'


def needs(*tools):
    return pytest.mark.skipif(any(shutil.which(tool, path=PATH) is None for tool in tools), reason=f"needs {', '.join(tools)}")


def bash(script, *arguments, check=True, **environment):
    environment = {**os.environ, "PATH": PATH, "SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script, "bash", *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def piece(name, cache, script):
    """A script in the shell of assemble, after the part of it that is called so."""
    return bash(f'{FACTS.format(root=ROOT, cache=cache)}\n. "$tools/{name}"\n{script}')


# --- build-image


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose assemble, make-keys and make-update say how they were called, on a machine where somebody uses sudo."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    board = tmp_path / "board/test"
    board.mkdir(parents=True)
    (board / "board.conf").write_text('ARCH=test\nboard_programs() { printf "%s/programs\\n" "$root"; }\n')
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("kvmd-supervisor", "kvmd", "kvmd-streamer", "kvmctl"):
        (programs / name).write_text("")
        (programs / name).chmod(0o755)
    for name in ("image/assemble", "make-keys", "make-update"):
        (tmp_path / "scripts" / name).write_text('#!/bin/sh\necho "${0##*/} $* keys=${KVMD_KEYS:-} zstd=${KVMD_ZSTD:-}"\n')
    with (tmp_path / "scripts/make-keys").open("a") as file:
        file.write("mkdir -p .cache/keys && : >.cache/keys/current.key && : >.cache/keys/current.pem\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "sudo").write_text(f'#!/bin/sh\nexec env -i PATH="{PATH}" "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return tmp_path


def build(checkout, *arguments, **environment):
    environment = {**os.environ, "PATH": f"{checkout}/bin:{PATH}", **environment}
    return subprocess.run([checkout / "scripts/build-image", "test", *arguments], env=environment, cwd=checkout, capture_output=True, text=True)


def test_the_keys_that_were_named_reach_whom_sudo_starts(checkout):
    keys = checkout / "own"
    keys.mkdir()
    (keys / "current.ca.pem").write_text("")
    done = build(checkout, KVMD_KEYS=str(keys), KVMD_ZSTD="19")
    assert done.returncode == 0, done.stderr
    assert f"keys={keys} zstd=19" in done.stdout and "make-keys" not in done.stdout
    assert "make-update" not in done.stdout and "no update" in done.stderr
    for name in ("current.key", "current.pem"):
        (keys / name).write_text("")
    done = build(checkout, KVMD_KEYS=str(keys))
    assert re.search(rf"make-update test --from .* keys={keys}", done.stdout)


@pytest.mark.parametrize("named", ["", "/nowhere", "empty"])
def test_keys_that_were_named_and_are_not_there_are_never_those_for_development(checkout, named):
    (checkout / "empty").mkdir()
    done = build(checkout, KVMD_KEYS=str(checkout / named) if named == "empty" else named)
    assert done.returncode == 1 and "KVMD_KEYS" in done.stderr
    assert "assemble" not in done.stdout


def test_without_a_word_the_keys_are_made_by_the_user_and_an_update_is_made(checkout):
    done = build(checkout)
    assert done.returncode == 0, done.stderr
    called = [line.split()[0] for line in done.stdout.splitlines()]
    assert called == ["make-keys", "assemble", "make-update"]
    assert f"keys={checkout}/.cache/keys" in done.stdout
    assert "make-update" not in build(checkout, "--no-bundle").stdout


# --- keys and updates


@needs("rauc", "openssl", "mksquashfs", "unsquashfs")
def test_an_update_is_signed_by_whom_its_own_system_trusts_or_by_word(tmp_path):
    for name in ("ours", "strange"):
        bash('"$1" "$2"', ROOT / "scripts/make-keys", tmp_path / name)
    tree = tmp_path / "tree/usr/lib/kvmd"
    (tree / "keys").mkdir(parents=True)
    shutil.copy(tmp_path / "ours/ring.pem", tree / "keys")
    (tree / "release").write_text("VERSION=1.2.3\n")
    bash('mksquashfs "$1/tree" "$1/root.squashfs" -quiet -no-progress; head -c 65536 /dev/zero >"$1/boot.vfat"', tmp_path)
    make = '"$1/scripts/make-update" test --from "$2" "${@:3}"'
    assert bash(make, ROOT, tmp_path, KVMD_KEYS=str(tmp_path / "ours")).stdout.endswith("pikvm-test-1.2.3.raucb\n")
    made = tmp_path / "pikvm-test-1.2.3.raucb"
    assert made.with_name(f"{made.name}.sha256").read_text().endswith(f"  {made.name}\n")
    made.unlink()
    done = bash(make, ROOT, tmp_path, check=False, KVMD_KEYS=str(tmp_path / "strange"))
    assert done.returncode == 1 and "does not trust" in done.stderr and not made.exists()
    strange = ("--key", tmp_path / "strange/current.key", "--cert", tmp_path / "strange/current.pem")
    assert "does not trust" in bash(make, ROOT, tmp_path, *strange).stderr and made.exists()


# --- the root


def modes(top):
    return {str(path.relative_to(top)): path.stat().st_mode & 0o7777 for path in top.rglob("*")}


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_the_umask_of_a_checkout_is_not_on_the_image(tmp_path, umask):
    for path in ("overlay/usr/lib", "cache/root/usr"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "overlay/usr/lib/data").write_text("")
    (tmp_path / "overlay/usr/lib/program").write_text("")
    (tmp_path / "overlay/usr/lib/program").chmod(0o755)
    for path in [tmp_path / "overlay", *(tmp_path / "overlay").rglob("*")]:
        path.chmod((path.stat().st_mode | 0o020) & ~umask)
    piece("root.sh", tmp_path / "cache", f'umask 022; copy_over "{tmp_path}/overlay"')
    assert modes(tmp_path / "cache/root") == {"usr": 0o755, "usr/lib": 0o755, "usr/lib/data": 0o644, "usr/lib/program": 0o755}
    assert (tmp_path / "cache/root").stat().st_mode & 0o7777 == 0o755


@needs("systemd-sysusers")
def test_the_daemons_users_have_their_numbers_or_nothing_is_built(tmp_path):
    etc = tmp_path / "root/etc"
    etc.mkdir(parents=True)
    make = 'systemd-sysusers --root="$tree" "$root"/rootfs-overlay/usr/lib/sysusers.d/*.conf; numbers'
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\n")
    piece("root.sh", tmp_path, make)
    users = {line.split(":")[0]: line.split(":")[2:4] for line in (etc / "passwd").read_text().splitlines()}
    assert users == {"root": ["0", "0"], "kvmd": ["960", "960"], "kvmd-streamer": ["961", "961"], "kvmd-vm": ["962", "962"]}
    for name in ("shadow", "gshadow"):
        (etc / name).unlink(missing_ok=True)
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nother:x:961:961::/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nother:x:961:\n")
    done = bash(f'{FACTS.format(root=ROOT, cache=tmp_path)}\n. "$tools/root.sh"\n{make}', check=False)
    assert done.returncode == 1 and "kvmd-streamer does not have the number 961" in done.stderr


def test_packages_are_kept_in_one_version_of_those_in_use(tmp_path):
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.41-12\n\nPackage: tzdata\nArchitecture: all\nVersion: 2026a\n\n")
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.add(status, "./var/lib/dpkg/status")
    archives = tmp_path / "archives"
    archives.mkdir()
    kept = ["libc6_1%3a2.41-12_amd64.deb", "libc6-dev_1%3a2.40-1_amd64.deb", "tzdata_2026a_all.deb", "other_1_amd64.deb"]
    for name in [*kept, "libc6_1%3a2.41-11_amd64.deb", "tzdata_2025c_all.deb"]:
        (archives / name).write_text("")
    piece("base.sh", tmp_path, f'base="{tmp_path}/base.tar" archives="{archives}"; forget_older')
    assert sorted(path.name for path in archives.iterdir()) == sorted(kept)


# --- the disk

# As board/partitions, but small.
TABLE = "sel 8 fat KVMSEL\nboot_a 8 fat KVMBOOT\nboot_b 8 fat KVMBOOT\nroot_a 4 squashfs -\nroot_b 4 squashfs -\ndata 24 ext4 KVMDATA\nmsd 16 ext4 PIMSD\n"


@needs("sfdisk", "mkfs.vfat", "fsck.vfat", "mke2fs", "e2fsck", "e2image", "dumpe2fs", "mcopy", "bmaptool", "zstd")
def test_a_used_card_with_what_the_block_map_names_is_a_whole_disk(tmp_path):
    """What the map leaves out stays on the card as it was: nothing may read it."""
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "dpkg-status").write_text("")
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/.packages").write_text("")
    root_a = os.urandom(MIB) + bytes(MIB) + os.urandom(MIB)
    (tmp_path / "root.squashfs").write_bytes(root_a)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/zeros").write_bytes(bytes(2 * MIB) + b"end")
    piece(
        "boot.sh",
        tmp_path,
        """
        . "$tools/disk.sh"
        table() { cat "$cache/table"; }
        kernel=$cache/kernel
        board_sel() { mkdir "$1/grub"; printf 'environment' >"$1/grub/grubenv"; }
        fat_image "$out/boot.vfat" boot_a "$cache/files"
        make_disk
        compress_disk
        """,
    )
    made = tmp_path / "pikvm-test-1.0.0"
    size = made.with_name(f"{made.name}.img").stat().st_size
    card = tmp_path / "card"
    card.write_bytes(b"\xa5" * size)
    map_ = made.with_name(f"{made.name}.bmap").read_text()
    ranges = [(int(first), int(last or first)) for first, last in re.findall(r"> (\d+)(?:-(\d+))? </Range>", map_)]
    assert ranges and "<BlockSize> 4096 </BlockSize>" in map_
    with made.with_name(f"{made.name}.img").open("rb") as image, card.open("r+b") as file:
        for first, last in ranges:
            image.seek(first * 4096)
            file.seek(first * 4096)
            file.write(image.read((last + 1 - first) * 4096))
    assert sum(last + 1 - first for first, last in ranges) * 4096 < size / 2, "the map names nearly everything: it is of no use"

    at, parts = 4 * MIB, {}
    for name, mib in (line.split()[:2] for line in TABLE.splitlines()):
        parts[name] = tmp_path / f"{name}.part"
        with card.open("rb") as file:
            file.seek(at)
            parts[name].write_bytes(file.read(int(mib) * MIB))
        at += int(mib) * MIB
    for name in ("sel", "boot_a"):
        bash('fsck.vfat -n "$1"', parts[name])
    assert bash('mcopy -n -i "$1" ::zeros "$2" && tail -c3 "$2" && cmp "$2" "$3"', parts["boot_a"], tmp_path / "back", tmp_path / "files/zeros").stdout == "end"
    assert parts["root_a"].read_bytes()[: len(root_a)] == root_a
    for name in ("data", "msd"):
        bash('e2fsck -f -n "$1"', parts[name])
        # Also what the checker passes over and a kernel does not: the tables of inodes nobody has had yet, and the journal, where an older one
        # of the same identity would be replayed.
        mib = next(int(line.split()[1]) for line in TABLE.splitlines() if line.startswith(name))
        where = 4 + sum(int(line.split()[1]) for line in TABLE.splitlines()[: [*parts].index(name)])
        bash('dd if="$1" of="$2" bs=1M skip="$3" count="$4" status=none', made.with_name(f"{made.name}.img"), whole := tmp_path / f"{name}.whole", where, mib)
        bash('e2image -r "$1" "$1.meta"; e2image -r "$2" "$2.meta"; cmp "$1.meta" "$2.meta"', parts[name], whole)
        facts = bash('dumpe2fs "$1" 2>/dev/null', whole).stdout
        block = int(re.search(r"^Block size: *(\d+)", facts, re.M)[1])
        tables = [slice(int(first) * block, (int(last) + 1) * block) for first, last in re.findall(r"Inode table at (\d+)-(\d+)", facts)]
        assert tables and all(parts[name].read_bytes()[table] == whole.read_bytes()[table] for table in tables)
    bash('sfdisk --verify "$1"', card)


# --- all of it


def test_two_builds_of_one_state_of_packages_are_equal(tmp_path):
    """Minutes each, so only where everything is run: KVMD_IMAGE_FULL=1."""
    if os.environ.get("KVMD_IMAGE") != "1" or os.environ.get("KVMD_IMAGE_FULL") != "1":
        pytest.skip("two builds take minutes: KVMD_IMAGE_FULL=1 scripts/test --image")
    board, sums = "qemu-x86_64", []
    place = ROOT / ".cache/image/test-equal"
    try:
        for _ in range(2):
            shutil.rmtree(place, ignore_errors=True)
            bash('"$1" "$2" --no-build --no-bundle --out "$3"', ROOT / "scripts/build-image", board, place)
            names = sorted(path.name for path in place.iterdir())
            sums.append(bash('cd "$1" && sha256sum "${@:2}"', place, *names).stdout.splitlines())
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert any(line.endswith(".img") for line in sums[0]) and any(line.endswith("root.squashfs") for line in sums[0])
    assert sums[0] == sums[1]
