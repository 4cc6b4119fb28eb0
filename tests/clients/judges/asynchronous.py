"""aiopikvm: every method it has is called, and its models check every answer."""

import asyncio
import inspect

from tally import Tally

CLASSES = ("atx", "auth", "gpio", "hid", "msd", "prometheus", "redfish", "streamer", "switch", "system")
EDID = "00ffffffffffff0031d8010000000000011e0103800000780aee91a3544c99260f5054210800".ljust(256, "0")


def methods(thing):
    return {name for name, _ in inspect.getmembers(type(thing), inspect.isfunction) if not name.startswith("_")}


async def first(lines):
    async for line in lines:
        return line
    return False


async def one_chunk():
    yield bytes(65_536)


async def scenario(tally, url, remote):
    from aiopikvm import PiKVM

    async with PiKVM(url, user="admin", passwd="admin", verify_ssl=False, timeout=30) as kvm:
        done = set()

        async def call(name, /, *arguments, **named):
            resource, method = name.split(".")
            done.add(name)
            return await tally.check_async(f"{name}", lambda: getattr(getattr(kvm, resource), method)(*arguments, **named))

        await call("auth.check")
        await call("atx.get_state")
        for method in ("power_off_hard", "power_on", "click_reset", "reset_hard", "click_power", "power_on", "power_off", "click_power_long"):
            await call(f"atx.{method}")
        await call("gpio.get_state")
        await call("gpio.switch", "relay1", True)
        await asyncio.sleep(0.5)  # a channel settles
        await call("gpio.pulse", "relay1")
        await call("hid.get_state")
        await call("hid.get_keymaps")
        await call("hid.set_params", keyboard_output="usb", mouse_output="usb")
        await call("hid.set_connected", True)
        await call("hid.type_text", "Hello", slow=False)
        await call("hid.send_key", "KeyA")
        await call("hid.send_shortcut", "ControlLeft", "KeyC")
        await call("hid.send_mouse_button", "left")
        await call("hid.send_mouse_move", 0, 0)
        await call("hid.send_mouse_relative", 5, -5)
        await call("hid.send_mouse_wheel", 0, -3)
        await call("hid.reset")
        await call("msd.get_state")
        await call("msd.upload", "judge.iso", bytes(100_000))
        await call("msd.upload_remote", remote)
        await call("msd.set_params", cdrom=True, rw=False)
        await kvm.request("POST", "/api/msd/set_params", params={"image": "judge.iso"})  # its set_params has no image
        await call("msd.set_connected", True)
        await call("msd.set_connected", False)
        await call("msd.remove", "judge.iso")
        await call("msd.reset")
        await call("prometheus.get_metrics")
        await call("redfish.get_root")
        await call("redfish.get_systems")
        await call("redfish.get_system", 0)
        await call("redfish.update_system", 0)
        await call("redfish.reset", "On")
        async with kvm.ws(stream=1) as socket:
            events = socket.events()
            await tally.check_async("ws.events", lambda: first(events))
            await tally.check_async("ws.send_key", lambda: socket.send_key("KeyA", state=True))
            await tally.check_async("ws.send_mouse_move", lambda: socket.send_mouse_move(1, 1))
            await tally.check_async("ws.send_mouse_button", lambda: socket.send_mouse_button("left", True))
            await tally.check_async("ws.send_mouse_wheel", lambda: socket.send_mouse_wheel(0, 1))
            await tally.check_async("ws.ping", lambda: socket.ping())
            async for event in events:
                streamer = event["event"].get("streamer") if event["event_type"] == "streamer" else None
                if streamer and streamer["source"]["online"]:
                    break
            await call("streamer.get_state")
            await call("streamer.snapshot")
            await call("streamer.get_ocr_info")
            await call("streamer.ocr", allow_offline=True)
            await call("streamer.delete_snapshot")
        await call("switch.get_state")
        await call("switch.get_edids")
        await call("switch.set_active", "0")
        await call("switch.set_active_prev")
        await call("switch.set_active_next")
        await call("switch.set_beacon", True, port=0)
        await call("switch.set_port_params", 0, name="judge")
        await call("switch.set_colors", "FFA500:BF:0028")
        await call("switch.reset", 0)
        await call("switch.atx_power", 0, "on")
        await call("switch.atx_click", 0, "power")
        await call("switch.create_edid", "judge", EDID)
        made = await kvm.request("POST", "/api/switch/edids/create", params={"name": "judge", "data": EDID})
        edid = made.json()["result"]["id"]
        await call("switch.change_edid", "0", edid)
        await call("switch.remove_edid", edid)
        await call("system.get_info")
        await call("system.get_log", seek=60)
        done.add("system.stream_log")
        await tally.check_async("system.stream_log", lambda: first(kvm.system.stream_log(seek=3600)))
        await call("auth.login", "admin", "admin")
        await call("auth.logout")
        for resource in CLASSES:
            for method in sorted(methods(getattr(kvm, resource))):
                if f"{resource}.{method}" not in done:
                    tally.bad(f"{resource}.{method}", "the scenario does not call it")


def judge(appliance, remote):
    tally = Tally()
    try:
        import aiopikvm  # noqa: F401
    except ImportError:
        tally.skipped = "aiopikvm needs Python 3.13, which is not to be had here"
        return tally
    try:
        asyncio.run(scenario(tally, appliance.url, remote))
    except Exception as why:  # what was said until then stands
        tally.bad("the scenario", f"{type(why).__name__}: {why}")
    return tally
