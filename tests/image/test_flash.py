"""scripts/flash on devices that are plain files, described by a made-up /sys and /proc."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MIB = 1 << 20
PARTITIONS = "label: gpt\nstart=2048, size=8192, name=sel\nstart=10240, size=8192, name=data\n"

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None for tool in ("zstd", "sfdisk", "mcopy", "mkfs.vfat")),
    reason="zstd, fdisk, mtools and dosfstools are needed (scripts/flash installs what it needs, but not for a test)",
)


class Machine:
    """A computer with disks: what the kernel would say of them, and a file each for their contents."""

    def __init__(self, base):
        self.base = base
        self.sys = base / "sys"
        self.proc = base / "proc"
        (self.sys / "class/block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "swaps").write_text("Filename Type Size Used Priority\n")
        self.mounts = []
        self.mount("0:21", "/proc", "proc")
        self.bin = base / "bin"
        self.bin.mkdir()
        # A tool of the machine that is not to be asked of a made-up disk.
        self.tool("eject", f'echo "$@" >{base}/ejected')

    def tool(self, name, script):
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def mount(self, number, point, source):
        self.mounts.append(f"{20 + len(self.mounts)} 1 {number} / {point} rw,relatime shared:1 - ext4 {source} rw")
        (self.proc / "self/mountinfo").write_text("\n".join(self.mounts) + "\n")

    def disk(self, name, where, number, /, mib=16, removable=0, parts=0, **facts):
        at = self.sys / "devices" / where / "block" / name
        (at / "device").mkdir(parents=True)
        (at / "holders").mkdir()
        for file, value in {"size": mib * 2048, "removable": removable, "ro": 0, "dev": f"{number}:0"}.items():
            (at / file).write_text(f"{value}\n")
        for file, value in facts.items():
            (at / "device" / file).write_text(f"{value}\n")
        for index in range(1, parts + 1):
            part = at / f"{name}{index}"
            (part / "holders").mkdir(parents=True)
            for file, value in {"size": 2048, "dev": f"{number}:{index}", "partition": index}.items():
                (part / file).write_text(f"{value}\n")
            (self.sys / "class/block" / part.name).symlink_to(part)
        (self.sys / "class/block" / name).symlink_to(at)
        device = self.base / name
        device.write_bytes(os.urandom(MIB) * mib)
        return device

    def stick(self, **more):
        return self.disk("sdx", "pci0000:00/0000:00:14.0/usb1/1-1/host4/target4:0:0/4:0:0:0", 8, vendor="Acme   ", model="Stick 3000 ", **more)

    def flash(self, *arguments, path=None):
        environment = dict(os.environ, KVMD_SYSFS=str(self.sys), KVMD_PROC=str(self.proc), PATH=path or f"{self.bin}:{os.environ['PATH']}:/usr/sbin:/sbin")
        return subprocess.run([ROOT / "scripts/flash", *map(str, arguments)], env=environment, text=True, stdin=subprocess.DEVNULL, capture_output=True)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An image as the build makes them: a GPT with a FAT partition named sel; packed, with checksums."""
    base = tmp_path_factory.mktemp("image")
    raw = base / "pikvm-test-1.0.0.img"
    sel = base / "sel.vfat"
    sel.write_bytes(bytes(4 * MIB))
    run = lambda *command, **more: subprocess.run(command, check=True, capture_output=True, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"), **more)  # noqa: E731
    run("mkfs.vfat", "-n", "SEL", str(sel))
    raw.write_bytes(bytes(10 * MIB))
    run("sfdisk", "--quiet", str(raw), input=PARTITIONS.encode())
    with raw.open("r+b") as file:
        file.seek(2048 * 512)
        file.write(sel.read_bytes())
        file.write(os.urandom(MIB))
    run("zstd", "-q", str(raw))
    packed = raw.with_suffix(".img.zst")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    (base / "SHA256SUMS").write_text(f"{'0' * 64}  other.img.zst\n{digest}  {packed.name}\n")
    return packed


@pytest.fixture
def image(made, tmp_path):
    """A copy of it, for a test that changes something beside it."""
    there = tmp_path / "image"
    there.mkdir()
    for name in (made.name, "SHA256SUMS"):
        shutil.copy(made.parent / name, there / name)
    return there / made.name


def raw(image):
    return subprocess.run(["zstd", "-dcq", str(image)], check=True, capture_output=True).stdout


def refused(result, device, *why):
    assert result.returncode != 0
    for text in why:
        assert text in result.stderr
    contents = device.read_bytes()
    assert contents[:MIB] == contents[MIB : 2 * MIB], "something was written"


def bmap_of(image):
    """A block map of the parts of the image that are not zero."""
    data, unit, ranges = raw(image), 4096, []
    blocks = [any(data[at : at + unit]) for at in range(0, len(data), unit)]
    first = None
    for index, used in enumerate([*blocks, False]):
        if used and first is None:
            first = index
        if not used and first is not None:
            digest = hashlib.sha256(data[first * unit : index * unit]).hexdigest()
            ranges.append(f'<Range chksum="{digest}"> {first}{f"-{index - 1}" if index - 1 > first else ""} </Range>')
            first = None
    image.with_suffix("").with_suffix(".bmap").write_text(
        f'<bmap version="2.0">\n<ImageSize> {len(data)} </ImageSize>\n<BlockSize> {unit} </BlockSize>\n<BlockMap>\n' + "\n".join(ranges) + "\n</BlockMap>\n</bmap>\n"
    )


def test_a_usb_disk_gets_the_image_and_is_ejected(machine, made):
    stick = machine.stick(parts=2)
    result = machine.flash(made, stick, "--yes")
    assert result.returncode == 0, result.stderr
    assert stick.read_bytes()[: 10 * MIB] == raw(made)
    assert "Acme Stick 3000" in result.stderr and "16MB" in result.stderr and "sdx2" in result.stderr
    assert (machine.base / "ejected").read_text().strip() == str(stick)


def test_a_card_in_a_reader_of_the_machine_is_taken(machine, made):
    card = machine.disk("mmcblk0", "platform/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa", 179, name="SC16G", type="SD")
    result = machine.flash(made, card, "--yes")
    assert result.returncode == 0, result.stderr
    assert "SC16G" in result.stderr


@pytest.mark.parametrize("name, kind", [("mmcblk0", "MMC"), ("mmcblk0boot0", "MMC"), ("mmcblk0rpmb", "SD")])
def test_memory_soldered_onto_the_board_is_no_card(machine, made, name, kind):
    disk = machine.disk(name, "platform/fe340000.mmc/mmc_host/mmc0/mmc0:0001", 179, name="DG4016", type=kind)
    refused(machine.flash(made, disk, "--yes"), disk, "built in")
    assert name not in machine.flash(made).stdout


def test_without_a_device_it_lists_what_can_be_written(machine, made):
    machine.stick()
    machine.disk("nvme0n1", "pci0000:00/0000:01:00.0/nvme/nvme0", 259, model="Built in")
    machine.disk("loop0", "virtual", 7, removable=1)
    result = machine.flash(made)
    assert result.returncode == 0
    assert "/dev/sdx  16MB  Acme Stick 3000  usb" in result.stdout
    assert "nvme" not in result.stdout and "loop" not in result.stdout


def test_nothing_is_written_without_a_yes(machine, made):
    refused(machine.flash(made, stick := machine.stick()), stick, "nobody to ask", "--yes")


def test_a_built_in_disk_is_refused_unless_forced(machine, made):
    disk = machine.disk("sdy", "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0", 8, model="Built in")
    refused(machine.flash(made, disk, "--yes"), disk, "built in")
    assert machine.flash(made, disk, "--yes", "--force").returncode == 0
    assert disk.read_bytes()[: 10 * MIB] == raw(made)
    assert not (machine.base / "ejected").exists()


@pytest.mark.parametrize("number, source", [("8:1", "/dev/sdx1"), ("8:1", "none"), ("0:40", "/dev/sdx1"), ("8:0", "/dev/sdx")])
def test_a_mounted_disk_is_refused_unless_forced(machine, made, number, source):
    stick = machine.stick(parts=1)
    machine.mount(number, "/media/stick", source)
    refused(machine.flash(made, stick, "--yes"), stick, "in use", "/media/stick")
    assert machine.flash(made, stick, "--yes", "--force").returncode == 0


def test_a_disk_that_carries_a_mounted_volume_is_refused(machine, made):
    stick = machine.stick(parts=1)
    machine.disk("dm-0", "virtual", 253)
    (machine.sys / "class/block/sdx1/holders/dm-0").symlink_to(machine.sys / "class/block/dm-0")
    machine.mount("253:0", "/secret", "/dev/mapper/secret")
    refused(machine.flash(made, stick, "--yes"), stick, "/secret")


def test_a_disk_that_is_swapped_to_is_refused(machine, made):
    stick = machine.stick(parts=1)
    (machine.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sdx1 partition 1 0 -2\n")
    refused(machine.flash(made, stick, "--yes"), stick, "swap on /dev/sdx1")


@pytest.mark.parametrize("point", ["/", "/boot/efi", "/usr"])
def test_the_disk_of_this_system_is_refused_even_when_forced(machine, made, point):
    stick = machine.stick(parts=1)
    machine.mount("8:1", point, "/dev/root")
    refused(machine.flash(made, stick, "--yes", "--force"), stick, "never")


def test_a_partition_is_refused(machine, made):
    machine.stick(parts=1)
    part = machine.base / "sdx1"
    part.write_bytes(bytes(2 * MIB))
    refused(machine.flash(made, part, "--yes", "--force"), part, "is a partition")


def test_a_file_that_is_no_disk_is_refused(machine, made):
    other = machine.base / "notes.txt"
    other.write_bytes(bytes(2 * MIB))
    refused(machine.flash(made, other, "--yes", "--force"), other, "is not a disk")


def test_a_plain_file_is_refused_where_the_real_sys_is_asked(machine, made):
    """The fake kernel is what makes a file pass for a disk, nothing else does."""
    stick = machine.stick()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KVMD_")}
    result = subprocess.run([ROOT / "scripts/flash", made, stick, "--yes", "--force"], env=environment, text=True, capture_output=True)
    refused(result, stick, "is not a disk")


def test_a_disk_too_small_is_refused(machine, made):
    small = machine.disk("sdx", "usb1/1-1", 8, mib=8)
    refused(machine.flash(made, small, "--yes", "--force"), small, "too small", "8.0MB")


def test_a_write_protected_card_is_refused(machine, made):
    stick = machine.stick()
    (machine.sys / "class/block/sdx/ro").write_text("1\n")
    refused(machine.flash(made, stick, "--yes", "--force"), stick, "write-protected")


def test_a_damaged_image_is_refused_even_when_forced(machine, image):
    stick = machine.stick()
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    refused(machine.flash(image, stick, "--yes", "--force"), stick, "damaged")


def test_an_image_without_checksum_is_refused_unless_forced(machine, image):
    stick = machine.stick()
    (image.parent / "SHA256SUMS").unlink()
    refused(machine.flash(image, stick, "--yes"), stick, "no checksum")
    assert machine.flash(image, stick, "--yes", "--force").returncode == 0


@pytest.mark.parametrize("ending", [".img.zst.sha256", ".sha256"])
def test_a_checksum_file_of_the_image_alone_is_understood(machine, image, ending):
    stick = machine.stick()
    (image.parent / "SHA256SUMS").unlink()
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    (image.parent / f"pikvm-test-1.0.0{ending}").write_text(f"{digest} *{image.name}\n")
    assert machine.flash(image, stick, "--yes").returncode == 0


def test_an_image_may_be_a_link(machine, made, tmp_path):
    stick = machine.stick()
    link = tmp_path / made.name
    link.symlink_to(made)
    shutil.copy(made.parent / "SHA256SUMS", tmp_path)
    result = machine.flash(link, stick, "--yes")
    assert result.returncode == 0, result.stderr
    assert stick.read_bytes()[: 10 * MIB] == raw(made)


def test_a_disk_that_loses_what_is_written_is_found_out(machine, made):
    stick = machine.stick()
    # Writes like dd and then forgets a byte, as a forged card does.
    machine.tool("dd", f'/bin/dd "$@"; status=$?; case "$*" in *of=*) printf x | /bin/dd of={stick} bs=1 seek=5000000 conv=notrunc status=none;; esac; exit $status')
    result = machine.flash(made, stick, "--yes")
    assert result.returncode != 0
    assert "not what was written" in result.stderr
    assert not (machine.base / "ejected").exists()


def bmaptool(machine):
    """What bmaptool does, in short: the mapped blocks, and nothing else."""
    machine.tool("bmaptool", f'exec {shutil.which("python3")} {machine.base}/copy.py "$@"')
    (machine.base / "copy.py").write_text(
        "import re, subprocess, sys\n"
        "quiet, copy, flag, bmap, image, device = sys.argv[1:]\n"
        "assert (quiet, copy, flag) == ('--quiet', 'copy', '--bmap')\n"
        "data = subprocess.run(['zstd', '-dcq', image], check=True, capture_output=True).stdout\n"
        "with open(device, 'r+b') as out:\n"
        "    for first, last in re.findall(r'> (\\d+)(?:-(\\d+))? <', open(bmap).read().split('BlockMap', 1)[1]):\n"
        "        start, end = int(first) * 4096, (int(last or first) + 1) * 4096\n"
        "        out.seek(start); out.write(data[start:end])\n"
    )


def test_with_a_block_map_only_what_is_in_use_is_written_to_an_empty_disk(machine, image):
    bmap_of(image)
    bmaptool(machine)
    stick = machine.stick()
    stick.write_bytes(bytes(16 * MIB))
    machine.tool("dd", 'case "$*" in *of=*) echo "dd wrote" >&2; exit 1;; esac; exec /bin/dd "$@"')
    result = machine.flash(image, stick, "--yes")
    assert result.returncode == 0, result.stderr
    assert stick.read_bytes()[: 10 * MIB] == raw(image)


def test_what_a_disk_held_before_does_not_stay_in_the_holes_of_the_map(machine, image):
    bmap_of(image)
    bmaptool(machine)
    stick = machine.stick()
    result = machine.flash(image, stick, "--yes")
    assert result.returncode == 0, result.stderr
    assert "something old in between" in result.stderr
    assert stick.read_bytes()[: 10 * MIB] == raw(image)


def test_a_block_map_that_leaves_out_what_matters_does_no_harm(machine, image):
    bmap_of(image)
    machine.tool("bmaptool", "exit 0")
    stick = machine.stick()
    assert machine.flash(image, stick, "--yes").returncode == 0
    assert stick.read_bytes()[: 10 * MIB] == raw(image)


def test_a_pre_seed_is_put_on_the_partition_for_the_boot_choice(machine, made, tmp_path):
    stick = machine.stick()
    seed = tmp_path / "mine.yaml"
    seed.write_text("hostname: attic\n")
    result = machine.flash(made, stick, "--yes", "--preseed", seed)
    assert result.returncode == 0, result.stderr
    read = subprocess.run(["mtype", "-i", f"{stick}@@{2048 * 512}", "::kvm.yaml"], check=True, capture_output=True)
    assert read.stdout == seed.read_bytes()


def test_a_pre_seed_that_cannot_be_read_stops_before_anything_is_written(machine, made, tmp_path):
    stick = machine.stick()
    refused(machine.flash(made, stick, "--yes", "--preseed", tmp_path / "none.yaml"), stick, "cannot read")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 70000)
    refused(machine.flash(made, stick, "--yes", "--preseed", large), stick, "too large")


def mapped(bmap):
    """[(start, end)] in bytes of what a block map says has to be written."""
    text = bmap.read_text()
    unit = int(re.search(r"<BlockSize>\s*(\d+)", text)[1])
    return [(int(first) * unit, (int(last or first) + 1) * unit) for first, last in re.findall(r">\s*(\d+)(?:-(\d+))?\s*</Range>", text)]


@pytest.mark.parametrize("name", ["sel", "boot_a", "root_a", "data", "msd"])
def test_what_a_card_held_before_does_not_show_through_the_block_map(image_files, tmp_path, name):
    """A hole of the map is left as it was on the card: nothing may be one that anybody reads as zeros."""
    raw_image, bmap = image_files
    table = json.loads(subprocess.run(["sfdisk", "--json", raw_image], check=True, capture_output=True, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin")).stdout)
    part = next(entry for entry in table["partitiontable"]["partitions"] if entry["name"] == name)
    begin, size = part["start"] * 512, part["size"] * 512
    card = tmp_path / name
    with raw_image.open("rb") as source, card.open("w+b") as target:
        for _ in range(size // MIB):
            target.write(b"\xa5" * MIB)
        for start, end in mapped(bmap):
            start, end = max(start, begin), min(end, begin + size)
            while start < end:
                source.seek(start)
                target.seek(start - begin)
                start += target.write(source.read(min(MIB, end - start)))
    check = {
        "sel": ["fsck.vfat", "-n", card],
        "boot_a": ["fsck.vfat", "-n", card],
        "root_a": ["cmp", f"--bytes={(raw_image.parent / 'root.squashfs').stat().st_size}", card, raw_image.parent / "root.squashfs"],
    }.get(name, ["e2fsck", "-f", "-n", card])
    done = subprocess.run(check, text=True, capture_output=True, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


@pytest.fixture
def image_files():
    """The image that was built last, and its block map."""
    if os.environ.get("KVMD_IMAGE") != "1":
        pytest.skip("image tests run by scripts/test --image, or with KVMD_IMAGE=1")
    built = pathlib.Path(os.environ.get("KVMD_IMAGE_DIR", ROOT / ".cache/image/qemu-x86_64"))
    images = sorted(built.glob("pikvm-*.img"), key=lambda path: path.stat().st_mtime)
    assert images, f"no image in {built}: scripts/build-image qemu-x86_64"
    return images[-1], images[-1].with_suffix(".bmap")
