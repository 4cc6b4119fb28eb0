"""pikvm-lib and pikvm-cli: every call that is theirs."""

import json
import os
import pathlib
import subprocess
import tempfile

from appliance import wait_for
from tally import Tally, tool


def library(appliance, remote):
    from pikvm_lib.pikvm import PiKVM

    tally = Tally()
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # the library writes where it stands
        try:
            use(tally, PiKVM(appliance.url.removeprefix("https://"), "admin", "admin"), remote, directory)
        finally:
            os.chdir(before)
    return tally


def use(tally, client, remote, directory):
    check = tally.check
    check("isauth", client.isauth)
    check("get_system_info", lambda: client.get_system_info()["system"]["kvmd"]["version"] == "4.197")
    check("get_system_log", client.get_system_log)
    check("get_prometheus_metrics", client.get_prometheus_metrics)
    check("get_atx_state", lambda: client.get_atx_state()["enabled"])
    check("click_atx_button", lambda: client.click_atx_button("power"))
    wait_for(lambda: not client.get_atx_state()["busy"], "the button to be let go")
    check("set_atx_power", lambda: client.set_atx_power(action="on"))
    check("get_gpio_state", lambda: "relay1" in client.get_gpio_state()["model"]["scheme"]["outputs"])
    check("switch_gpio_channel", lambda: client.switch_gpio_channel("relay1", state=1))
    check("pulse_gpio_channel", lambda: client.pulse_gpio_channel("relay1"))
    image = pathlib.Path(directory) / "library.iso"
    image.write_bytes(bytes(100_000))
    images = lambda: client.get_msd_state()["storage"]["images"]  # noqa: E731
    check("get_msd_state", lambda: client.get_msd_state()["online"])
    check("upload_msd_image", lambda: (client.upload_msd_image(str(image), "library.iso"), "library.iso" in images())[1])
    check("upload_msd_remote", lambda: (client.upload_msd_remote(remote, "remote.iso"), "remote.iso" in images())[1])
    check("set_msd_parameters", lambda: client.set_msd_parameters("library.iso", cdrom=True, flash=False))
    check("connect_msd", lambda: (client.connect_msd(), client.get_msd_state()["drive"]["connected"])[1])
    check("disconnect_msd", lambda: (client.disconnect_msd(), not client.get_msd_state()["drive"]["connected"])[1])
    check("remove_msd_image", lambda: (client.remove_msd_image("library.iso"), "library.iso" not in images())[1])
    check("reset_msd", client.reset_msd)
    check("get_streamer_state", lambda: "features" in client.get_streamer_state())
    check("get_streamer_image", lambda: client.get_streamer_image().size[0] > 0)
    check("get_streamer_snapshot", lambda: os.path.getsize(client.get_streamer_snapshot(snapshot_path=directory)) > 0)
    for name, act in (
        ("keyDown", lambda: client.keyDown("a")),
        ("keyUp", lambda: client.keyUp("a")),
        ("press", lambda: client.press("A")),
        ("hotkey", lambda: client.hotkey("ctrl", "c")),
        ("send_mouse_event", lambda: client.send_mouse_event("left", "false")),
        ("send_mouse_move_event", lambda: client.send_mouse_move_event(10, 10)),
        ("send_mouse_wheel_event", lambda: client.send_mouse_wheel_event(1)),
        ("send_click", lambda: client.send_click("right")),
        ("send_key", lambda: client.ws_client.send_key("Enter")),
        ("send_key_press", lambda: client.ws_client.send_key_press("a")),
        ("send_input", lambda: client.ws_client.send_input("Hello, World")),
        ("get_json_message", lambda: client.ws_client.get_json_message()),
    ):
        check(name, act)
    check("close", client.ws_client.close)


def command_line(appliance, _remote):
    tally = Tally()
    with tempfile.TemporaryDirectory() as home:

        def run(*arguments, answer=""):
            done = subprocess.run([tool("pikvm-cli"), *arguments], env={**os.environ, "HOME": home}, input=answer, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr
            return done.stdout

        tally.check("configure", lambda: run("configure", "--url", appliance.url, "-u", "admin", "-p", "admin"))
        tally.check("info", lambda: json.loads(run("info"))["ok"])
        tally.check("atx status", lambda: json.loads(run("atx", "status"))["result"]["enabled"])
        for action, answer in (("on", ""), ("off", ""), ("off_hard", "y\n")):
            wait_for(lambda: not appliance.result("/api/atx")["busy"], "the buttons to be let go")
            tally.check(f"atx {action}", lambda: run("atx", action, answer=answer))
        # It asks for `reset`, an action PiKVM has never had.
        tally.check("atx reset", lambda: run("atx", "reset", answer="y\n"))
    return tally
