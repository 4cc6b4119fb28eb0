"""pikvm-lib and pikvm-cli: every call that is theirs."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from appliance import wait_for
from fake_machine import appliance_with_fake_machine
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


def strict(call, seen):
    """The library does not look at the status of an answer. `seen` keeps the last one."""

    def asked(*arguments, **named):
        response = call(*arguments, **named)
        response.raise_for_status()
        seen[:] = [response]
        return response

    return asked


def eventually(condition):
    end = time.monotonic() + 20
    while not (value := condition()):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return value


def use(tally, client, remote, directory):
    """Every call, and what it was to bring about: an answer that is only sent is no point."""
    seen = []
    client._get, client._post = strict(client._get, seen), strict(client._post, seen)
    check = tally.check
    check("isauth", client.isauth)
    check("get_system_info", lambda: client.get_system_info()["system"]["kvmd"]["version"] == "4.197")
    check("get_system_log", lambda: (client.get_system_log(), bool(seen[0].text.strip()))[1])
    check("get_prometheus_metrics", client.get_prometheus_metrics)
    check("get_atx_state", lambda: client.get_atx_state()["enabled"])
    light = lambda: client.get_atx_state()["leds"]["power"]  # noqa: E731
    rest = lambda: eventually(lambda: not client.get_atx_state()["busy"])  # noqa: E731
    if not light():
        client.click_atx_button("power")
        assert eventually(light) and rest(), "the machine does not start"
    check("click_atx_button", lambda: (client.click_atx_button("power"), eventually(lambda: not light()) and rest())[1])
    check("set_atx_power", lambda: (client.set_atx_power(action="on"), eventually(light) and rest())[1])
    check("get_gpio_state", lambda: "relay1" in client.get_gpio_state()["model"]["scheme"]["outputs"])
    relay = lambda: client.get_gpio_state()["state"]["outputs"]["relay1"]["state"]  # noqa: E731
    check("switch_gpio_channel", lambda: (client.switch_gpio_channel("relay1", state=1), eventually(relay))[1])
    # A pulse ends with the switch off.
    check("pulse_gpio_channel", lambda: (client.pulse_gpio_channel("relay1"), eventually(lambda: not relay()))[1])
    image = pathlib.Path(directory) / "library.iso"
    image.write_bytes(bytes(100_000))
    drive = lambda: client.get_msd_state()["drive"]  # noqa: E731
    images = lambda: client.get_msd_state()["storage"]["images"]  # noqa: E731
    chosen = lambda: (drive()["image"] or {}).get("name")  # noqa: E731
    check("get_msd_state", lambda: client.get_msd_state()["online"])
    check("upload_msd_image", lambda: (client.upload_msd_image(str(image), "library.iso"), "library.iso" in images())[1])
    check("upload_msd_remote", lambda: (client.upload_msd_remote(remote, "remote.iso"), "remote.iso" in images())[1])
    lend = lambda name: client.set_msd_parameters(name, cdrom=True, flash=False)  # noqa: E731
    check("set_msd_parameters", lambda: (lend("library.iso"), chosen() == "library.iso" and drive()["cdrom"])[1])
    check("connect_msd", lambda: (client.connect_msd(), drive()["connected"])[1])
    check("disconnect_msd", lambda: (client.disconnect_msd(), not drive()["connected"])[1])
    check("remove_msd_image", lambda: (client.remove_msd_image("library.iso"), "library.iso" not in images())[1])
    lend("remote.iso")
    client.connect_msd()
    check("reset_msd", lambda: drive()["connected"] and (client.reset_msd(), eventually(lambda: not drive()["connected"]))[1])
    check("get_streamer_state", lambda: "features" in client.get_streamer_state())
    check("get_streamer_image", lambda: client.get_streamer_image().size[0] > 0)
    check("get_streamer_snapshot", lambda: os.path.getsize(client.get_streamer_snapshot(snapshot_path=directory)) > 0)
    with appliance_with_fake_machine() as (appliance, machine):
        type_and_point(check, type(client)(appliance.url.removeprefix("https://"), "admin", "admin"), machine)
    check("get_json_message", lambda: bool(client.ws_client.get_json_message()["event_type"]))
    check("close", lambda: (client.ws_client.close(), not client.ws_client.ws.connected)[1])


def type_and_point(check, client, machine):
    """What is sent and never answered: each until the machine has it."""

    def arrives(name, act, *wanted):
        begin = len(machine.input)
        # Where the pointer is comes with each of its buttons.
        axes = {axis for axis, _ in wanted} & {"x", "y"}
        arrived = lambda: [one for one in machine.input[begin:] if axes or one[0] not in ("x", "y")]  # noqa: E731
        check(name, lambda: (act(), eventually(lambda: arrived() == list(wanted)))[1])

    def stroke(*keys):
        return [(key, True) for key in keys] + [(key, False) for key in reversed(keys)]

    arrives("keyDown", lambda: client.keyDown("a"), ("a", True))
    arrives("keyUp", lambda: client.keyUp("a"), ("a", False))
    arrives("press", lambda: client.press("b"), *stroke("b"))
    arrives("hotkey", lambda: client.hotkey("ctrl", "c"), *stroke("ctrl", "c"))
    arrives("send_mouse_event", lambda: client.send_mouse_event("left", "true"), ("left", True))
    client.send_mouse_event("left", "false")
    assert eventually(lambda: machine.input[-1] == ("left", False))
    arrives("send_mouse_move_event", lambda: client.send_mouse_move_event(160, 120), ("x", 16383), ("y", 16383))
    arrives("send_mouse_wheel_event", lambda: client.send_mouse_wheel_event(1), *stroke("wheel-up"))
    arrives("send_click", lambda: client.send_click("right"), *stroke("right"))
    arrives("send_key", lambda: client.ws_client.send_key("Enter"), *stroke("ret"))
    arrives("send_key_press", lambda: client.ws_client.send_key_press("KeyD"), ("d", True))
    client.ws_client.send_key_press("KeyD", "false")
    assert eventually(lambda: machine.input[-1] == ("d", False))
    arrives("send_input", lambda: client.ws_client.send_input("Hi 1"), ("shift", True), *stroke("h"), ("shift", False), *stroke("i"), *stroke("spc"), *stroke("1"))
    client.ws_client.close()


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
