import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from appliance import ROOT, running  # noqa: E402


@pytest.fixture(scope="module")
def pattern():
    """The appliance on fakes: a test pattern, no devices."""
    yield from running("pattern")


@pytest.fixture(scope="session")
def machine():
    """The appliance with a virtual machine as its target."""
    yield from running("vm")


@pytest.fixture(scope="module")
def reference():
    """The appliance under the settings of the recorded reference."""
    yield from running("pattern", configs=[ROOT / "tests/clients/reference.yaml"])
