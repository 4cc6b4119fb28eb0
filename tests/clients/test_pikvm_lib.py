"""pikvm-lib, a client that nobody here wrote, does its usual work against us."""

import pytest
from appliance import wait_for
from fake_machine import appliance_with_fake_machine
from pikvm_lib.pikvm import PiKVM
from pikvm_lib.pikvm_websocket import PiKVMWebsocket


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the library writes a log file where it stands


@pytest.fixture
def client(pattern):
    host = pattern.url.removeprefix("https://")
    client = PiKVM(host, "admin", "admin")
    yield client
    if client.ws_client:
        client.ws_client.close()


def test_it_signs_in_and_reads_every_state(client):
    assert client.isauth()
    assert client.get_system_info()["system"]["kvmd"]["version"] == "4.197"
    assert client.get_atx_state()["enabled"] is True
    assert client.get_msd_state()["online"] is True
    assert "scheme" in client.get_gpio_state()["model"]


def test_its_power_calls_work(client, pattern):
    assert client.get_atx_state()["leds"]["power"] is True
    for press, lit in ((lambda: client.click_atx_button("power"), False), (lambda: client.set_atx_power(action="on"), True)):
        press()
        wait_for(lambda: client.get_atx_state()["leds"]["power"] is lit, f"the power light: {lit}")
        wait_for(lambda: not client.get_atx_state()["busy"], "the button to be let go")


def test_its_drive_calls_work(client, pattern, tmp_path):
    image = tmp_path / "library.iso"
    image.write_bytes(bytes(100_000))
    client.upload_msd_image(str(image), "library.iso")
    assert pattern.result("/api/msd")["storage"]["images"]["library.iso"]["size"] == 100_000
    client.set_msd_parameters("library.iso", cdrom=True, flash=False)
    client.connect_msd()
    wait_for(lambda: client.get_msd_state()["drive"]["connected"], "the drive to be connected")
    client.disconnect_msd()
    client.remove_msd_image("library.iso")
    assert "library.iso" not in pattern.result("/api/msd")["storage"]["images"]


def test_its_keyboard_types():
    with appliance_with_fake_machine() as (appliance, machine):
        with PiKVMWebsocket(appliance.url.removeprefix("https://"), "admin", "admin", activate_streamer=False) as socket:
            socket.send_input("Hi 1")
            socket.send_key("Enter")
            keys = ["shift", "h", "h", "shift", "i", "i", "spc", "spc", "1", "1", "ret", "ret"]
            wait_for(lambda: [key for key, _ in machine.keys] == keys, "every key to arrive, in order")
