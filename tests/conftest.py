import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from appliance import ROOT, Appliance  # noqa: E402


def appliance(target, **more):
    made = Appliance(target, **more)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pattern():
    """The appliance on fakes: a test pattern, no devices."""
    yield from appliance("pattern")


@pytest.fixture(scope="session")
def machine():
    """The appliance with a virtual machine as its target."""
    yield from appliance("vm")


@pytest.fixture(scope="module")
def reference():
    """The appliance under the settings of the recorded reference."""
    yield from appliance("pattern", configs=[ROOT / "tests/clients/reference.yaml"])
