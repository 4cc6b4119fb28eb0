"""schemathesis: what the document says, tried with thousands of good and bad requests, operation by operation."""

import json
import os
import pathlib
import subprocess
import tempfile
import xml.etree.ElementTree as xml

from appliance import CREDENTIALS
from tally import ROOT, Tally, tool

HERE = pathlib.Path(__file__).resolve().parent

# Not tried, and why.
LEFT_OUT = {
    "POST /api/system/reboot": "would end the appliance, on a machine from an image",
    "POST /api/system/factory_reset": "would end the appliance, on a machine from an image",
    "POST /api/system/update/reboot": "would end the appliance, on a machine from an image",
    "POST /api/system/update/rollback": "would end the appliance, on a machine from an image",
    "GET /streamer/stream": "has no end",
}


def judge(appliance, remote):
    tally = Tally()
    for name, why in LEFT_OUT.items():
        print(f"    left out: {name}: {why}")
    with tempfile.TemporaryDirectory() as directory:
        report, file = pathlib.Path(directory) / "report.xml", pathlib.Path(directory) / "openapi.json"
        document = appliance.get("/api/openapi.json").json()
        file.write_text(json.dumps(document))
        command = [tool("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run", file, "--url", appliance.url]
        command += ["--tls-verify", "false", "--no-color", "--report-junit-path", report]
        for name, value in CREDENTIALS.items():
            command += ["--header", f"{name}: {value}"]
        for name in LEFT_OUT:
            command += ["--exclude-name", name]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HERE), "KVMD_REMOTE": remote}
        ran = subprocess.run(command, check=False, cwd=directory, env=environment, capture_output=True, text=True, timeout=1800)
        logs = ROOT / ".cache/judges/logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "schemathesis.txt").write_text(ran.stdout + ran.stderr)
        if not report.exists():
            tally.bad("schemathesis", (ran.stdout + ran.stderr)[-300:])
            return tally
        missed = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item} - set(LEFT_OUT)
        for case in xml.parse(report).getroot().iter("testcase"):
            missed.discard(case.get("name"))
            wrong = [child for child in case if child.tag in ("failure", "error")]
            skipped = case.find("skipped")
            if wrong:
                tally.bad(case.get("name"), wrong[0].text or wrong[0].get("message"))
            elif skipped is not None:
                tally.bad(case.get("name"), f"was skipped: {skipped.get('message')}")
            else:
                tally.good()
    for name in sorted(missed):
        tally.bad(name, "was not tried")
    return tally
