"""aiopikvm: every method it has is called, and its models check every answer."""

import asyncio
import inspect

from tally import Tally

CLASSES = ("atx", "auth", "gpio", "hid", "msd", "prometheus", "redfish", "streamer", "switch", "system")
EDID = "00ffffffffffff0031d8010000000000011e0103800000780aee91a3544c99260f5054210800".ljust(256, "0")


def methods(thing):
    return {name for name, _ in inspect.getmembers(thing, inspect.isfunction) if not name.startswith("_")}


async def first(lines):
    async for line in lines:
        return line
    return False


async def two_halves(size):
    for _ in range(2):
        yield bytes(size // 2)


class Scenario:
    """What is called, in an order that leaves each call something to do. A call that is never made is a failure, too."""

    def __init__(self, tally, kvm):
        self.tally, self.kvm, self.done = tally, kvm, set()

    async def call(self, name, /, *arguments, **named):
        resource, method = name.split(".")
        self.done.add(name)
        return await self.tally.check_async(name, lambda: getattr(getattr(self.kvm, resource), method)(*arguments, **named))

    async def holds(self, what, state, condition):
        """That a call was not only answered: `condition` of the state that `state` gives."""

        async def ask():
            for _ in range(100):
                if condition(await state()):
                    return True
                await asyncio.sleep(0.1)
            return False

        await self.tally.check_async(what, ask)

    async def refused(self, what, act, status):
        """The client's own error, with this status."""
        from aiopikvm import APIError, AuthError

        async def ask():
            try:
                await act()
            except (APIError, AuthError) as error:
                return error.status_code == status
            return False

        await self.tally.check_async(what, ask)

    async def panel(self):
        kvm = self.kvm
        await self.call("atx.get_state")
        for method, lit in (("power_off_hard", False), ("power_on", True), ("click_reset", True), ("reset_hard", True), ("click_power", False)):
            await self.call(f"atx.{method}")
            await self.holds(f"atx.{method}: the light", kvm.atx.get_state, lambda state, lit=lit: state.leds.power is lit and not state.busy)
        for method in ("power_on", "power_off", "click_power_long"):
            await self.call(f"atx.{method}")
            await self.holds(f"atx.{method}: let go", kvm.atx.get_state, lambda state: not state.busy)
        await self.call("gpio.get_state")
        await self.call("gpio.switch", "relay1", True)
        await self.holds("gpio.switch: the channel", kvm.gpio.get_state, lambda state: state.outputs["relay1"].state and not state.outputs["relay1"].busy)
        await self.call("gpio.pulse", "relay1")
        await self.refused("gpio.switch: no such channel", lambda: kvm.gpio.switch("nope", True), 400)

    async def input(self):
        await self.call("hid.get_state")
        await self.call("hid.get_keymaps")
        await self.call("hid.set_params", keyboard_output="usb", mouse_output="usb")
        await self.call("hid.set_connected", True)
        await self.call("hid.type_text", "Hello", slow=False)
        await self.call("hid.type_text", "Hello", limit=3, slow=True)
        await self.call("hid.send_key", "KeyA")
        await self.call("hid.send_shortcut", "ControlLeft", "KeyC")
        await self.call("hid.send_mouse_button", "left")
        await self.call("hid.send_mouse_move", 0, 0)
        await self.call("hid.send_mouse_relative", 5, -5)
        await self.call("hid.send_mouse_wheel", 0, -3)
        await self.refused("hid.send_key: no such key", lambda: self.kvm.hid.send_key("NoKey"), 400)
        await self.call("hid.reset")

    async def drive(self, remote):
        state = self.kvm.msd.get_state
        await self.call("msd.get_state")
        await self.call("msd.upload", "judge.iso", bytes(100_000))
        await self.holds("msd.upload: the image", state, lambda state: state.storage.images["judge.iso"]["size"] == 100_000)
        await self.refused("msd.upload: without a length", lambda: self.kvm.msd.upload("parts.iso", two_halves(1000)), 400)
        await self.call("msd.upload_remote", remote)
        await self.holds("msd.upload_remote: the image", state, lambda state: state.storage.images["remote.iso"]["complete"])
        await self.call("msd.set_params", cdrom=True, rw=False)
        await self.kvm.request("POST", "/api/msd/set_params", params={"image": "judge.iso"})  # its set_params has no image
        await self.call("msd.set_connected", True)
        await self.refused("msd.remove: while it is connected", lambda: self.kvm.msd.remove("judge.iso"), 400)
        await self.call("msd.set_connected", False)
        await self.call("msd.remove", "judge.iso")
        await self.holds("msd.remove: the image", state, lambda state: "judge.iso" not in state.storage.images)
        await self.call("msd.reset")

    async def fleet(self):
        await self.call("prometheus.get_metrics")
        await self.call("redfish.get_root")
        await self.call("redfish.get_systems")
        await self.call("redfish.get_system", 0)
        await self.call("redfish.update_system", 0)
        await self.call("redfish.reset", "On")
        await self.holds("redfish.reset: the light", self.kvm.atx.get_state, lambda state: state.leds.power)
        await self.refused("redfish.reset: no such way", lambda: self.kvm.redfish.reset("Nope"), 400)

    async def socket(self, socket, events):
        check = self.tally.check_async
        await check("ws.events", lambda: first(events))
        await check("ws.send_key", lambda: socket.send_key("KeyA", state=True))
        await check("ws.send_mouse_move", lambda: socket.send_mouse_move(1, 1))
        await check("ws.send_mouse_button", lambda: socket.send_mouse_button("left", True))
        await check("ws.send_mouse_wheel", lambda: socket.send_mouse_wheel(0, 1))
        await check("ws.ping", lambda: socket.ping())
        self.done |= {f"ws.{name}" for name in ("events", "send_key", "send_mouse_move", "send_mouse_button", "send_mouse_wheel", "ping")}

        async def heard():
            """The answer to the ping, and a picture."""
            pong = online = False
            async for event in events:
                pong |= event["event_type"] == "pong"
                streamer = event["event"].get("streamer") if event["event_type"] == "streamer" else None
                online |= bool(streamer and streamer["source"]["online"])
                if pong and online:
                    return True
            return False

        await check("ws: pong, and a source that is online", heard)

    async def picture(self):
        await self.refused("streamer.snapshot: while it is stopped", self.kvm.streamer.snapshot, 503)
        async with self.kvm.ws(stream=1) as socket:
            events = socket.events()
            await self.socket(socket, events)
            await self.call("streamer.get_state")
            await self.holds("streamer.get_state: it runs", self.kvm.streamer.get_state, lambda state: state.streamer is not None)
            await self.call("streamer.snapshot")
            await self.call("streamer.get_ocr_info")
            await self.call("streamer.ocr", allow_offline=True)
            await self.call("streamer.delete_snapshot")

    async def switch(self):
        """None is fitted: orders are taken and come to nothing, as with the reference; what is not about ports is real."""
        await self.call("switch.get_state")
        await self.call("switch.get_edids")
        await self.call("switch.set_active", "0")
        await self.call("switch.set_active_prev")
        await self.call("switch.set_active_next")
        await self.call("switch.set_beacon", True, port=0)
        await self.call("switch.set_port_params", 0, name="judge")
        await self.call("switch.set_colors", "FFA500:BF:0028")
        await self.call("switch.reset", 0)
        await self.call("switch.atx_power", 0, "on")
        await self.call("switch.atx_click", 0, "power")
        await self.call("switch.create_edid", "judge", EDID)
        edids = await self.kvm.switch.get_edids()
        made = next((edid.id for edid in edids if edid.data == EDID.upper() or edid.data == EDID), "")
        await self.call("switch.change_edid", "0", made)
        await self.call("switch.remove_edid", made)
        await self.refused("switch.remove_edid: no such EDID", lambda: self.kvm.switch.remove_edid("nope"), 400)

    async def system(self):
        await self.call("system.get_info")
        await self.call("system.get_info", "auth", "system")
        await self.call("system.get_log", seek=60)
        self.done.add("system.stream_log")
        await self.tally.check_async("system.stream_log", lambda: first(self.kvm.system.stream_log(seek=3600)))

    async def access(self, url):
        from aiopikvm import PiKVM

        await self.call("auth.check")
        await self.call("auth.login", "admin", "admin")
        await self.call("auth.logout")
        async with PiKVM(url, user="admin", passwd="wrong", verify_ssl=False) as stranger:
            await self.refused("a wrong password", stranger.auth.check, 403)

    def never_called(self):
        from aiopikvm._ws import PiKVMWebSocket

        every = {f"{resource}.{method}" for resource in CLASSES for method in methods(type(getattr(self.kvm, resource)))}
        every |= {f"ws.{method}" for method in methods(PiKVMWebSocket)}
        for name in sorted(every - self.done):
            self.tally.bad(name, "the scenario does not call it")


async def play(tally, url, remote):
    from aiopikvm import PiKVM

    async with PiKVM(url, user="admin", passwd="admin", verify_ssl=False, timeout=30) as kvm:
        scenario = Scenario(tally, kvm)
        parts = (
            scenario.panel(),
            scenario.input(),
            scenario.drive(remote),
            scenario.fleet(),
            scenario.picture(),
            scenario.switch(),
            scenario.system(),
            scenario.access(url),
        )
        for part in parts:
            try:
                await part
            except Exception as why:  # the other parts are judged all the same
                tally.bad(part.__name__, f"{type(why).__name__}: {why}")
        scenario.never_called()


def judge(appliance, remote):
    tally = Tally()
    try:
        import aiopikvm  # noqa: F401
    except ImportError:
        tally.skipped = "aiopikvm needs Python 3.13, which is not to be had here"
        return tally
    asyncio.run(play(tally, appliance.url, remote))
    return tally
