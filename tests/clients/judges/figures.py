"""Prometheus: its own parser, and its own linter."""

import shutil
import subprocess

from tally import Tally

PATH = "/api/export/prometheus/metrics"


def parser(appliance, _remote):
    from prometheus_client.parser import text_string_to_metric_families

    tally = Tally()
    names = set()
    for family in text_string_to_metric_families(appliance.get(PATH).text):
        if family.samples and family.name not in names:
            tally.good()
        else:
            tally.bad(family.name, "empty, or there twice")
        names.add(family.name)
    for name in ("pikvm_atx_enabled", "pikvm_atx_power", "pikvm_hw_mem_total", "pikvm_fan_monitored", "pikvm_gpio_output_online_relay1"):
        tally.check(name, lambda name=name: name in names)
    return tally


def linter(appliance, _remote):
    tally = Tally()
    promtool = shutil.which("promtool")
    if not promtool:
        tally.skipped = "promtool is not installed (Debian package prometheus)"
        return tally
    done = subprocess.run([promtool, "check", "metrics"], input=appliance.get(PATH).text, capture_output=True, text=True, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    for line in complaints:
        tally.bad("promtool", line)
    if done.returncode == 0 and not complaints:
        tally.good()
    return tally
