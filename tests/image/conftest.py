"""What the image tests share: where the image is, one laboratory boot of its root, and one machine that was started, claimed and frozen."""

import os
import pathlib
import sys
import tempfile

import pytest
from appliance import ROOT

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import first  # noqa: E402
import labroot  # noqa: E402
import release  # noqa: E402

BUILT = pathlib.Path(os.environ.get("KVMD_IMAGE_DIR", ROOT / ".cache/image/qemu-x86_64"))
# The whole of what the issue asks for, instead of what fits into a run of all tests.
FULL = os.environ.get("KVMD_IMAGE_FULL") == "1"


def wanted(path):
    """They take long: they run when they are asked for, and then what they need has to be there."""
    if os.environ.get("KVMD_IMAGE") != "1":
        pytest.skip("image tests run by scripts/test --image, or with KVMD_IMAGE=1")
    assert path and path.exists(), f"{path or 'an image'} is missing in {BUILT}: scripts/build-image qemu-x86_64"
    return path


@pytest.fixture(scope="session")
def built():
    """What was built, as it is now: a build that runs meanwhile makes new files, and these are links to the old."""
    with tempfile.TemporaryDirectory(prefix="test-", dir=wanted(BUILT.parent)) as place:
        images = sorted(BUILT.glob("pikvm-*.img"), key=lambda path: path.stat().st_mtime)
        for source, name in ((wanted(images[-1] if images else None), "image.img"), *((wanted(BUILT / name), name) for name in PARTS)):
            os.link(source, pathlib.Path(place) / name)
        yield pathlib.Path(place)


PARTS = ("root.squashfs", "boot.vfat")


@pytest.fixture(scope="session")
def image(built):
    """The disk of a fresh appliance."""
    return built / "image.img"


@pytest.fixture(scope="session")
def squashfs(built):
    """Its root."""
    return built / "root.squashfs"


@pytest.fixture(scope="session")
def releases(built):
    """Makes update bundles, good and bad, out of what was built."""
    return release.Workshop(built, ROOT / ".cache/image/test-releases")


@pytest.fixture(scope="session")
def lab(squashfs):
    """The root in the laboratory."""
    made = labroot.Lab(squashfs)
    yield made
    made.close()


@pytest.fixture(scope="session")
def began(image, tmp_path_factory):
    """The first start of a fresh appliance, from the flashed card to the claimed console page, and what was seen on the way."""
    return first.start(image, pathlib.Path("/var/tmp") / f"kvmd-first-{os.getpid()}")


@pytest.fixture(scope="session")
def claimed(began):
    """That appliance, frozen: `thaw()` gives one that runs."""
    return began.frozen


@pytest.fixture(scope="session", autouse=True)
def cleaned():
    yield
    first.clean(pathlib.Path("/var/tmp") / f"kvmd-first-{os.getpid()}")
