"""Redfish: DMTF's two validators and its tool, and the library of OpenStack."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from appliance import wait_for
from tally import ROOT, Tally, tool

LOGS = ROOT / ".cache/judges/logs"
SCHEMAS = pathlib.Path(__file__).with_name("redfish-schemas-2025.4.zip")


def login(appliance):
    return ["--rhost", appliance.url, "--user", "admin", "--password", "admin"]


def tool_of_dmtf(appliance, _remote):
    """redfishtool, by password and by session."""
    tally = Tally()
    host = appliance.url.removeprefix("https://")
    for auth in ("Basic", "Session"):
        for words in (
            ["versions"],
            ["root"],
            ["Systems", "list"],
            ["Systems", "-I", "0", "get"],
            ["Systems", "-I", "0", "reset", "On"],
            ["Chassis", "list"],
            ["Chassis", "-I", "1", "get"],
            ["Managers", "list"],
            ["Managers", "-I", "BMC", "get"],
            ["SessionService", "get"],
            ["SessionService", "Sessions"],
            ["AccountService", "get"],
            ["AccountService", "Roles"],
            ["raw", "GET", "/redfish/v1/Managers/BMC/VirtualMedia/MSD"],
        ):
            command = [tool("redfishtool"), "-r", host, "-u", "admin", "-p", "admin", "-A", auth, "-S", "Always", *words]
            wait_for(lambda: not appliance.result("/api/atx")["busy"], "the buttons to be let go")

            def run(command=command):
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, done.stdout + done.stderr

            tally.check(f"{auth} {' '.join(words)}", run)
    return tally


def library(appliance, _remote):
    """sushy, as OpenStack's Ironic uses it."""
    import sushy
    from sushy import auth, exceptions

    tally = Tally()
    check = tally.check
    appliance.post("/api/msd/write?image=sushy.iso", data=bytes(100_000))
    for how, login in (("session", auth.SessionAuth("admin", "admin")), ("basic", auth.BasicAuth("admin", "admin"))):
        root = check(f"{how}: root", lambda login=login: sushy.Sushy(f"{appliance.url}/redfish/v1", auth=login, verify=False))
        if root is None:
            continue
        system = check(f"{how}: system", lambda root=root: root.get_system("/redfish/v1/Systems/0"))
        check(f"{how}: system collection", lambda root=root: len(root.get_system_collection().get_members()) == 1)
        check(f"{how}: chassis", lambda root=root: root.get_chassis("/redfish/v1/Chassis/1").identity == "1")
        manager = check(f"{how}: manager", lambda root=root: root.get_manager("/redfish/v1/Managers/BMC"))
        check(f"{how}: session service", lambda root=root: root.get_session_service().service_enabled)
        check(f"{how}: registries", lambda root=root: root.registries is not None)
        check(f"{how}: allowed resets", lambda system=system: sushy.RESET_TYPE_FORCE_OFF in system.get_allowed_reset_system_values())
        for kind, state in ((sushy.RESET_TYPE_FORCE_OFF, sushy.POWER_STATE_OFF), (sushy.RESET_TYPE_ON, sushy.POWER_STATE_ON)):
            wait_for(lambda: not appliance.result("/api/atx")["busy"], "the buttons to be let go")

            def power(kind=kind, state=state, system=system):
                system.reset_system(kind)
                return wait_for(lambda: system.refresh(force=True) or system.power_state == state, f"power {state}")

            check(f"{how}: {kind}", power)
        check(f"{how}: no boot override is allowed", lambda system=system: not system.get_allowed_system_boot_source_values() - {sushy.BOOT_SOURCE_TARGET_NONE})

        def refused(system=system):
            try:
                system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
            except exceptions.SushyError:
                return True
            return False

        check(f"{how}: a boot override is refused", refused)
        media = check(f"{how}: virtual media", lambda manager=manager: manager.virtual_media.get_members()[0])

        def insert(media=media):
            media.insert_media("sushy.iso")
            media.refresh(force=True)
            return media.inserted and media.write_protected

        def eject(media=media):
            media.eject_media()
            media.refresh(force=True)
            return not media.inserted

        check(f"{how}: insert", insert)
        check(f"{how}: eject", eject)
        check(f"{how}: a system that is not there", lambda root=root: not_there(root, exceptions))
        if how == "session":
            check("session: close", lambda login=login: login.close() or True)
    return tally


def not_there(root, exceptions):
    try:
        root.get_system("/redfish/v1/Systems/nope")
    except exceptions.HTTPError:
        return True
    return False


def validator(module, appliance, more=()):
    LOGS.mkdir(parents=True, exist_ok=True)
    command = [tool(module), *login(appliance), *more]
    # Where these are set, the validators' HTTP library checks certificates although it was told not to.
    own = {name: value for name, value in os.environ.items() if name not in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    return subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=LOGS, env=own)


def protocol(appliance, _remote):
    """redfish-protocol-validator: what it could not test (accounts, events, SSDP: there are none) is not counted."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as report:
        done = validator("rf_protocol_validator", appliance, ["--no-cert-check", "--report-dir", report, "--report-type", "tsv"])
        files = sorted(pathlib.Path(report).glob("*.tsv"))
        if not files:
            tally.bad("rf_protocol_validator", done.stdout + done.stderr)
            return tally
        for line in files[-1].read_text().splitlines():
            fields = line.split("\t")
            verdict = next((field for field in fields if field in ("PASS", "WARN", "FAIL")), None)
            if verdict == "PASS":
                tally.good()
            elif verdict:
                tally.bad(verdict, " ".join(fields))
    return tally


def schemas(place, appliance):
    """DMTF's schemas beside the appliance's own, so that nothing has to be fetched.

    Those in the tree are the ones that our resources are of, unchanged, from DMTF's repository Redfish-Publications (version 2025.4, the
    directory `csdl`); they are free (BSD, see LICENSE.md beside them). KVMD_REDFISH_SCHEMAS names a directory of others.
    """
    if given := os.environ.get("KVMD_REDFISH_SCHEMAS"):
        shutil.copytree(given, place, dirs_exist_ok=True)
    else:
        shutil.unpack_archive(SCHEMAS, place)
    own = "PiKVMVirtualMedia_v1.xml"
    (place / own).write_text(appliance.get(f"/redfish/v1/Schemas/{own}").text)


def service(appliance, _remote):
    """redfish-service-validator: every property of every resource against DMTF's schemas. What is optional and absent is not counted."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        schemas(pathlib.Path(directory), appliance)
        done = validator("rf_service_validator", appliance, ["--schema_directory", directory, "--skipschema", "--logdir", str(LOGS)])
    counts = re.search(r"^\| +(\d+) +\| +(\d+) +\| +(\d+) +\|", done.stdout, re.MULTILINE)
    if not counts:
        tally.bad("rf_service_validator", (done.stdout + done.stderr)[-600:])
        return tally
    tally.good(int(counts[1]))
    for number in range(int(counts[3])):
        tally.bad("FAIL", f"{number + 1} of {counts[3]}, see {LOGS}")
    print(f"    warnings: {counts[2]}")
    return tally
