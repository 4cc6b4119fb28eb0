"""Prometheus: its own parser, and its own linter, while somebody watches: only then are all figures there."""

import shutil
import subprocess

from appliance import wait_for
from tally import Tally

PATH = "/api/export/prometheus/metrics"
# What is there on every machine; temperatures, throttling and fans depend on the board.
NAMES = (
    "pikvm_atx_enabled",
    "pikvm_atx_power",
    "pikvm_fan_monitored",
    "pikvm_gpio_input_online_led1",
    "pikvm_gpio_input_state_led1",
    "pikvm_gpio_output_online_relay1",
    "pikvm_gpio_output_state_relay1",
    "pikvm_hw_mem_available",
    "pikvm_hw_mem_percent",
    "pikvm_hw_mem_total",
    "kvmd_websocket_clients",
    "kvmd_websocket_viewers",
    "kvmd_streamer_running",
    "kvmd_streamer_online",
    "kvmd_streamer_captured_fps",
    "kvmd_streamer_clients",
    "kvmd_streamer_latency_seconds",
)


def figures(appliance):
    def told():
        text = appliance.get(PATH).text
        return text if "kvmd_streamer_latency_seconds{" in text else None

    with appliance.socket(stream=1):
        return wait_for(told, "the figures of a streamer that runs")


def parser(appliance, _remote):
    from prometheus_client.parser import text_string_to_metric_families

    tally = Tally()
    text = figures(appliance)
    families = tally.check("it parses", lambda: list(text_string_to_metric_families(text))) or []
    tally.check("no family is empty", lambda: all(family.samples for family in families))
    names = [family.name for family in families]
    tally.check("no family is there twice", lambda: len(names) == len(set(names)))
    for name in NAMES:
        tally.check(name, lambda name=name: name in names)
    return tally


def linter(appliance, _remote):
    tally = Tally()
    promtool = shutil.which("promtool")
    if not promtool:
        tally.skipped = "promtool is not installed (Debian package prometheus)"
        return tally
    done = subprocess.run([promtool, "check", "metrics"], input=figures(appliance), capture_output=True, text=True, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    for line in complaints:
        tally.bad("promtool", line)
    if done.returncode == 0 and not complaints:
        tally.good()
    return tally
