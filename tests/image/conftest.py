"""What the image tests share: where the image is, one laboratory boot of its root, and one machine that was started, claimed and frozen."""

import os
import pathlib
import pickle
import shutil
import sys
import tempfile

import pytest
from appliance import ROOT

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import first  # noqa: E402
import labroot  # noqa: E402
import release  # noqa: E402
import second  # noqa: E402

BUILT = pathlib.Path(os.environ.get("KVMD_IMAGE_DIR", ROOT / ".cache/image/qemu-x86_64"))


def pytest_collection_modifyitems(items):
    """Emulated machines take their time, however these tests are called."""
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(5400))


def wanted(path):
    """They take long: they run when they are asked for, and then what they need has to be there."""
    if os.environ.get("KVMD_IMAGE") != "1":
        pytest.skip("tests of the image run by scripts/test --image or --root, or with KVMD_IMAGE=1")
    assert path and path.exists(), f"{path or 'an image'} is missing in {BUILT}: scripts/build-image qemu-x86_64"
    return path


@pytest.fixture(scope="session")
def built():
    """What was built, as it is now: a build that runs meanwhile makes new files, and these are links to the old."""
    with tempfile.TemporaryDirectory(prefix="test-", dir=wanted(BUILT.parent)) as place:
        images = sorted(BUILT.glob("pikvm-*.img"), key=lambda path: path.stat().st_mtime)
        for source, name in ((images[-1] if images else BUILT / "image.img", "image.img"), *((BUILT / name, name) for name in PARTS)):
            # For the laboratory the root is enough.
            if source.exists():
                os.link(source, pathlib.Path(place) / name)
        yield pathlib.Path(place)


PARTS = ("root.squashfs", "boot.vfat")


@pytest.fixture(scope="session")
def image(built):
    """The disk of a fresh appliance."""
    return wanted(built / "image.img")


@pytest.fixture(scope="session")
def squashfs(built):
    """Its root."""
    return wanted(built / "root.squashfs")


@pytest.fixture(scope="session")
def releases(built):
    """Makes update bundles, good and bad, out of what was built."""
    wanted(built / "boot.vfat")
    return release.Workshop(built, ROOT / ".cache/image/test-releases")


@pytest.fixture(scope="session")
def lab(squashfs):
    """The root in the laboratory."""
    # Programs to try without building an image: a list as in PATH.
    programs = [path for path in os.environ.get("KVMD_IMAGE_PROGRAMS", "").split(":") if path]
    # RAUC's service wants to know which slot runs, as the boot loader says it.
    made = labroot.Lab(squashfs, append="rauc.slot=a", programs=programs)
    yield made
    made.close()


@pytest.fixture(scope="session")
def stages(image):
    """A directory for the long stages that tests share, each made once. With KVMD_IMAGE_KEEP=1 it is kept for the next run on the same image."""
    stamp = image.stat()
    place = pathlib.Path("/var/tmp") / f"kvmd-stages-{stamp.st_ino}-{int(stamp.st_mtime)}"
    keep = os.environ.get("KVMD_IMAGE_KEEP") == "1"
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(exist_ok=True)

    def stage(name, make):
        memory = place / f"{name}.pickle"
        if not memory.exists():
            shutil.rmtree(place / name, ignore_errors=True)
            made = make(place / name)
            memory.write_bytes(pickle.dumps(made))
        return pickle.loads(memory.read_bytes())

    # A disk of its own: the image may be built anew before the next run.
    stage.image = place / "image.img"
    if not stage.image.exists():
        os.link(image, stage.image) if image.stat().st_dev == place.stat().st_dev else shutil.copy(image, stage.image)
    yield stage
    if not keep:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def began(stages):
    """The first start of a fresh appliance, from the flashed card to the claimed console page, and what was seen on the way."""
    return stages("first", lambda place: first.start(stages.image, place))


@pytest.fixture(scope="session")
def claimed(began):
    """That appliance, frozen: `thaw()` gives one that runs."""
    return began.frozen


@pytest.fixture(scope="session")
def updated(stages, claimed, releases):
    """That appliance after an update that was found good, with all writes of it."""
    return stages("second", lambda place: second.update(claimed, releases, place))
