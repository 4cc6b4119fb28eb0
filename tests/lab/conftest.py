import contextlib
import os
import pathlib
import sys

import pytest
from appliance import CREDENTIALS, ROOT, Appliance, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import host  # noqa: E402

HERE = pathlib.Path(__file__).parent
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("KVMD_TEST_PROFILE", "debug")


def pytest_collection_modifyitems(config, items):
    if not host.inside():
        skip = pytest.mark.skip(reason="needs the laboratory: cargo xtask lab -- .cache/venv/bin/pytest tests/lab")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    made = item.funcargs.get("bench") if call.when == "call" else None
    if made and report.failed:
        with contextlib.suppress(Exception):
            lines = made.get("/api/log?seek=60").text.splitlines()
            report.sections.append(("the appliance's log", "\n".join(lines[-60:])))
    return report


class Bench(Appliance):
    """The appliance on the laboratory's devices, and the other end of every cable."""

    def __init__(self, settings=""):
        self.camera = host.Camera()
        self.chip = host.Chip()
        self.storage = host.ext4_on_loop("/tmp", 192)
        os.environ["KVMD_SHARE"] = str(ROOT / "rootfs-overlay/usr/share/kvmd")
        device = f"kvmd: {{streamer: {{source: {{type: v4l2, device: {self.camera.node}, input: HDMI}}}}}}\n"
        device += f"supervisor: {{storage: {{device: {self.storage}}}}}\n" + settings
        super().__init__("", configs=[HERE / "lab.yaml"], settings=device, command=[BIN / "kvmd-supervisor", "--print-url"])
        self.reports = host.Reports()
        try:
            wait_for(lambda: self.reports.ready() == {0, 1, 2}, "the host to see keyboard and mice", 30)
            wait_for(lambda: self.result("/api/hid")["online"] and self.result("/api/msd")["online"], "HID and drive to be online", 30)
        except AssertionError:
            print(self.log())
            print(self.get("/api/log?seek=600").text)
            self.close()
            raise

    @property
    def gadget(self):
        return pathlib.Path("/sys/kernel/config/usb_gadget/kvmd")

    def unbind(self):
        """Pulls the USB cable."""
        (self.gadget / "UDC").write_text("\n")

    def bind(self):
        (self.gadget / "UDC").write_text(sorted(path.name for path in pathlib.Path("/sys/class/udc").iterdir())[0] + "\n")

    def close(self):
        if hasattr(self, "reports"):
            self.reports.close()
        super().close()


@pytest.fixture(scope="session")
def bench():
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def wired(bench):
    """A bench where nothing is pressed, connected or selected, and every signal is there."""
    bench.camera.signal(0)
    for line in (16, 19, 22, 24):
        bench.chip.pull(line, False)
    drive = bench.result("/api/msd")["drive"]
    if drive["connected"]:
        bench.post("/api/msd/set_connected?connected=0")
    bench.post("/api/hid/set_params?mouse_output=usb")
    wait_for(lambda: bench.get("/api/auth/check", headers=CREDENTIALS).status_code == 200, "the appliance")
    return bench
