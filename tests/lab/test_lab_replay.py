"""The answers recorded on a machine with GPIO, front panel and a real drive, replayed on the laboratory's kernel interfaces."""

import subprocess
import sys

import pytest
from appliance import ROOT

CLIENTS = ROOT / "tests/clients"
FLOOR = "97"


@pytest.mark.parametrize("group", ["gpio", "atx", "msd", "log", "prometheus", "redfish"])
def test_the_recorded_answers_of_a_group_agree(wired, group):
    if group == "redfish":
        wired.post("/api/msd/write?image=rf.iso", data=bytes(4096))  # what its rows insert
    command = [sys.executable, CLIENTS / "replay.py", f"unix:{wired.unix}", ROOT / "tests/recordings/http-vm.jsonl"]
    command += ["--groups", group, "--min", FLOOR, "--allow", CLIENTS / "differences.txt", "--verbose"]
    run = subprocess.run(command, capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
