"""Every example of the two documents the product was asked for by: the calls, and every field of the answers they show."""

import json
import re
import subprocess
import time

import pyotp
import requests
import urllib3
from appliance import Appliance, wait_for

# The fields of `GET /api/info` in the second document, as paths; values are this machine's own.
INFO = """
auth.enabled extras.ipmi.daemon extras.ipmi.description extras.ipmi.enabled extras.ipmi.icon extras.ipmi.name extras.ipmi.path extras.ipmi.place
extras.ipmi.port extras.ipmi.started extras.janus.daemon extras.janus.description extras.janus.enabled extras.janus.name extras.janus.path
extras.janus.place extras.janus.started extras.janus_static.daemon extras.janus_static.enabled extras.janus_static.name extras.janus_static.path
extras.janus_static.place extras.janus_static.started extras.vnc.daemon extras.vnc.description extras.vnc.enabled extras.vnc.icon extras.vnc.name
extras.vnc.path extras.vnc.place extras.vnc.port extras.vnc.started extras.webterm.daemon extras.webterm.description extras.webterm.enabled
extras.webterm.icon extras.webterm.name extras.webterm.path extras.webterm.place extras.webterm.started fan.monitored fan.state hw.health.temp.cpu
hw.health.throttling hw.platform.base hw.platform.serial hw.platform.type meta.kvm meta.server.host system.kernel.machine system.kernel.release
system.kernel.system system.kernel.version system.kvmd.version system.streamer.app system.streamer.features system.streamer.version
""".split()

# The events of the first document with the fields they carry.
FIRST_EVENTS = {
    "gpio_model_state": ["scheme.inputs", "scheme.outputs", "view.header.title", "view.table"],
    "info_extras_state": ["vnc.name", "vnc.port", "vnc.enabled", "ipmi.place"],
    "info_hw_state": ["platform.type", "platform.base", "health.temp.cpu", "health.throttling"],
    "info_meta_state": ["server.host", "kvm"],
    "info_system_state": ["kvmd.version", "streamer.app", "streamer.version", "streamer.features", "kernel.system", "kernel.release"],
    "wol_state": ["enabled", "target.ip", "target.port", "target.mac"],
    "gpio_state": ["inputs", "outputs"],
    "hid_state": ["online", "keyboard.online", "keyboard.leds.caps", "keyboard.leds.scroll", "keyboard.leds.num", "mouse.online"],
    "atx_state": ["enabled", "busy", "leds.power", "leds.hdd"],
    "msd_state": [
        "enabled", "online", "busy", "storage.size", "storage.free", "storage.images", "storage.uploading", "drive.image",
        "drive.connected", "drive.cdrom", "features.multi", "features.cdrom",
    ],
    "streamer_state": ["limits.max_fps", "params.desired_fps", "params.quality", "snapshot.saved", "streamer", "features.quality", "features.resolution"],
}


def dig(value, path):
    for key in path.split("."):
        assert isinstance(value, dict) and key in value, f"{path}: {key} is missing in {json.dumps(value)[:300]}"
        value = value[key]
    return value


def curl(*arguments):
    run = subprocess.run(["curl", "-sk", "-i", *arguments], capture_output=True, text=True, check=True, timeout=60)
    head, _, body = run.stdout.replace("\r", "").partition("\n\n")
    return int(head.split()[1]), head, body


def test_single_requests_by_headers_and_by_basic(pattern):
    for credentials in (["-H", "X-KVMD-User:admin", "-H", "X-KVMD-Passwd:admin"], ["--user", "admin:admin"], ["-u", "admin:admin"]):
        status, head, body = curl(*credentials, f"{pattern.url}/api/auth/check")
        assert status == 200 and json.loads(body) == {"ok": True, "result": {}}
        assert "www-authenticate" not in head.lower()
    assert curl(f"{pattern.url}/api/auth/check")[0] == 401
    assert curl("-u", "admin:wrong", f"{pattern.url}/api/auth/check")[0] == 403


def test_a_session_from_login_to_logout(pattern):
    status, head, _ = curl("-X", "POST", "--data", "user=admin", "--data", "passwd=admin", f"{pattern.url}/api/auth/login")
    assert status == 200
    token = re.search(r"^set-cookie: auth_token=([0-9a-f]{64}); (.*)$", head, re.IGNORECASE | re.MULTILINE)
    assert token and "Path=/" in token[2]
    cookie = ["-H", f"Cookie: auth_token={token[1]}"]
    assert curl(*cookie, f"{pattern.url}/api/auth/check")[0] == 200
    assert curl("-X", "POST", *cookie, f"{pattern.url}/api/auth/logout")[0] == 200
    assert curl(*cookie, f"{pattern.url}/api/auth/check")[0] == 403
    assert curl("-X", "POST", "--data", "user=admin", "--data", "passwd=bad", f"{pattern.url}/api/auth/login")[0] == 403


def test_info_shows_the_whole_tree(pattern):
    status, _, body = curl("-u", "admin:admin", f"{pattern.url}/api/info")
    assert status == 200
    result = json.loads(body)["result"]
    for path in INFO:
        dig(result, path)
    assert set(json.loads(curl("-u", "admin:admin", f"{pattern.url}/api/info?fields=system,hw")[2])["result"]) == {"system", "hw"}
    assert dig(result, "system.kernel.release") == open("/proc/sys/kernel/osrelease").read().strip()


def test_a_socket_without_stream_delivers_each_event_of_the_first_document(pattern):
    with pattern.socket(stream=0) as socket:
        for name, paths in FIRST_EVENTS.items():
            event = socket.wait_event(name)["event"]
            for path in paths:
                dig(event, path)
        assert socket.events[0]["event_type"] == "loop"


LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (kvmd[\w-]*)\.service\] --- .*")


def test_the_log_is_sought_and_followed(pattern):
    marker = f"seeds-test-{time.time_ns()}"
    pattern.get(f"/api/auth/check?first={marker}")
    lines = wait_for(
        lambda: [line for line in pattern.get("/api/log?seek=3600").text.split("\r\n") if marker in line], "the request in the log"
    )
    access = re.compile(
        r"\[[^\]]+ kvmd\.service\] --- kvmd\.access {23}INFO --- "
        r"\[admin \(xhdr\) / 127\.0\.0\.1\] 'GET /auth/check\?first=\S+ HTTP/[\d.]+' => 200; size=\d+ --- referer='-'; user_agent='python-requests/\S+'"
    )
    assert access.fullmatch(lines[0]), lines[0]
    for line in pattern.get("/api/log").text.strip().split("\r\n"):
        assert LINE.fullmatch(line), line

    second = f"seeds-follow-{time.time_ns()}"
    with pattern.get("/api/log?seek=1&follow=1", stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        received = answer.iter_lines()
        pattern.get(f"/api/auth/check?second={second}")
        asked = time.monotonic()
        assert any(second in line.decode() for line in received)
        print(f"a new line came {time.monotonic() - asked:.3f} s after its request")


def test_a_one_time_code_is_appended_to_the_password(tmp_path):
    appliance = Appliance("pattern")
    try:
        secret = "3OBBOGSJRYRBZH35PGXURM4CMWTH3WSU"
        (appliance.state / "var/kvmd/totp.secret").write_text(secret)
        urllib3.disable_warnings()

        def ask(code):
            return requests.get(
                f"{appliance.url}/api/info", verify=False, headers={"X-KVMD-User": "admin", "X-KVMD-Passwd": "admin" + code}
            )

        assert ask("").status_code == 403
        assert ask(pyotp.TOTP(secret).now()).status_code == 200
        totp = pyotp.TOTP(secret)
        assert ask(totp.at(int(time.time()) - 3600)).status_code == 403
        assert appliance.post("/api/auth/login", headers={}, data={"user": "admin", "passwd": "admin" + totp.now()}).status_code == 200
        assert appliance.post("/api/auth/login", headers={}, data={"user": "admin", "passwd": "admin"}).status_code == 403
    finally:
        appliance.close()


def test_the_plain_port_redirects(pattern):
    answer = requests.get(f"http://127.0.0.1:{pattern.http_port}/api/info?x=1", allow_redirects=False)
    assert answer.status_code == 301
    assert answer.headers["location"] == f"{pattern.url}/api/info?x=1"
    assert "max-age=31536000" in pattern.get("/api/auth/check").headers["strict-transport-security"]
