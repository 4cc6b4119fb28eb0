"""The recorded answers of the reference, file by file (tests/recordings/README.md says how each server is set).

Every row counts. One that differs on purpose (tests/clients/differences.txt) is not passed, and says why; any other that differs is new.
"""

import os
import re
import subprocess
import sys

from appliance import Appliance
from tally import ROOT, Tally

CLIENTS = ROOT / "tests/clients"
REFERENCE = CLIENTS / "reference.yaml"


def reasons():
    """Why a row differs on purpose, by its name."""
    lines = (CLIENTS / "differences.txt").read_text().splitlines()
    rows = [line.split(" # ", 1) for line in lines if " # " in line and not line.startswith("#")]
    return {name.strip(): why for name, why in rows}


def replay(file, base, groups=None):
    command = [sys.executable, CLIENTS / "replay.py", base, ROOT / "tests/recordings" / file, "--verbose"]
    if groups:
        command += ["--groups", groups]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    tally = Tally()
    found = re.search(r"^(\d+) of (\d+) answers agree", done.stdout, re.MULTILINE)
    if not found:
        tally.bad(file, done.stdout + done.stderr)
        return tally
    tally.good(int(found[1]))
    known = reasons()
    for line in done.stdout.splitlines():
        # A name may have blanks in it; the score's lines have no colon.
        if row := re.match(r"^(.+?): (.*)", line):
            why = f"on purpose: {known[row[1]]}" if row[1] in known else row[2]
            tally.bad(row[1], why)
    if tally.total != int(found[2]):
        tally.bad(file, f"{found[2]} rows, and {tally.total} are told of")
    return tally


def against(file, configs=(), base=None, groups=None, remote_server=False, image=None):
    appliance = Appliance("pattern", configs=configs)
    remote = subprocess.Popen([sys.executable, CLIENTS / "remote.py"]) if remote_server else None
    if image:
        appliance.post(f"/api/msd/write?image={image}", data=bytes(4096))
    try:
        return replay(file, base(appliance) if base else f"unix:{appliance.unix}", groups)
    finally:
        if remote:
            remote.terminate()
            remote.wait()
        appliance.close()


def main(_appliance, _remote):
    return against("http-main.jsonl", [REFERENCE])


def drive(_appliance, _remote):
    return against("http-msd.jsonl", [REFERENCE], remote_server=True)


def open_to_all(_appliance, _remote):
    return against("http-noauth-msdoff.jsonl", [REFERENCE, CLIENTS / "open.yaml"])


def gateway(_appliance, _remote):
    return against("http-gateway.jsonl", [REFERENCE], base=lambda appliance: f"{appliance.url}/api")


def fitted(_appliance, _remote):
    """With a front panel, GPIO and a drive. What needs a journal is asked where there is one: tests/lab asks all of it."""
    journal = ",log" if os.path.isdir("/run/systemd/journal") else ""
    return against("http-vm.jsonl", [REFERENCE, CLIENTS / "fitted.yaml"], groups=f"atx,gpio,msd,prometheus,redfish{journal}", image="rf.iso")
