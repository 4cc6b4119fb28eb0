#!/usr/bin/env python3
"""Runs the judges against a live appliance and prints what each says.

    run.py [--write] [--allow-skip] [JUDGE…]

The README's table is what they said last. This run fails when one passes less than the table says or finds more to complain of, when one
the table has a figure for could not be asked (`--allow-skip`: that is no failure), and when one has no figure there. `--write` puts this
run's figures into the table. Started by `scripts/test --clients`.
"""

import argparse
import pathlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import asynchronous  # noqa: E402
import figures  # noqa: E402
import fleet  # noqa: E402
import libraries  # noqa: E402
import recordings  # noqa: E402
import schema  # noqa: E402
import wire  # noqa: E402
from appliance import Appliance  # noqa: E402
from tally import ROOT, Tally  # noqa: E402

JUDGES = {
    "aiopikvm": asynchronous.judge,
    "pikvm-lib": libraries.library,
    "pikvm-cli": libraries.command_line,
    "prometheus-client": figures.parser,
    "promtool": figures.linter,
    "redfishtool": fleet.tool_of_dmtf,
    "sushy": fleet.library,
    "redfish-service-validator": fleet.service,
    "redfish-protocol-validator": fleet.protocol,
    "websocat": wire.judge,
    "recording http-main": recordings.main,
    "recording http-msd": recordings.drive,
    "recording http-noauth-msdoff": recordings.open_to_all,
    "recording http-gateway": recordings.gateway,
    "recording http-vm": recordings.fitted,
    # Last: it leaves keys, images and settings behind.
    "schemathesis": schema.judge,
}
BEGIN, END = "<!-- judges -->", "<!-- /judges -->"


class File(BaseHTTPRequestHandler):
    """An image to be fetched."""

    def do_GET(self):
        body = bytes(200_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def last(readme):
    """What the table says: passed and total of each judge."""
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) of (\d+) \|", readme, re.MULTILINE)
    return {name: (int(passed), int(total)) for name, passed, total in rows}


def table(scores):
    rows = [f"| {name} | {passed} of {total} |" for name, (passed, total) in scores.items()]
    return "\n".join([BEGIN, "| Judge | Passed |", "|---|---|", *rows, END])


def verdict(tally, known, allow_skip):
    """Why what a judge said is a failure of this run, or nothing. `known` is what the table says of it, if anything."""
    if tally.skipped:
        return "" if allow_skip or known is None else f"not asked, but the README has a figure ({tally.skipped})"
    if known is None:
        return "the README has no figure for it"
    return tally.worse_than(*known)


def ask(judge, name, appliance, remote):
    begin = time.monotonic()
    try:
        tally = judge(appliance, remote)
    except Exception as why:  # one judge's fall is not the others'
        tally = Tally()
        tally.bad(name, f"{type(why).__name__}: {why}")
    for failure in tally.failures:
        print(f"    {failure}")
    score = f"skipped: {tally.skipped}" if tally.skipped else f"{tally.passed} of {tally.total}"
    print(f"{name}: {score} ({time.monotonic() - begin:.0f} s)", flush=True)
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judges", nargs="*", metavar="JUDGE", help=", ".join(JUDGES))
    parser.add_argument("--write", action="store_true", help="put the figures into README.md")
    parser.add_argument("--allow-skip", action="store_true", help="a judge that cannot be asked here is no failure")
    args = parser.parse_args()
    chosen = {name: judge for name, judge in JUDGES.items() if not args.judges or any(name.startswith(one) for one in args.judges)}
    if not chosen:
        parser.error("there is no such judge")
    readme = ROOT / "README.md"
    text = readme.read_text()
    known, said, wrong = last(text), {}, {}
    remote = ThreadingHTTPServer(("127.0.0.1", 0), File)
    threading.Thread(target=remote.serve_forever, daemon=True).start()
    appliance = Appliance("pattern", configs=[HERE / "settings.yaml"])
    try:
        for name, judge in chosen.items():
            tally = ask(judge, name, appliance, f"http://127.0.0.1:{remote.server_port}/remote.iso")
            if not tally.skipped:
                said[name] = (tally.passed, tally.total)
            if why := verdict(tally, known.get(name), args.allow_skip):
                wrong[name] = why
    finally:
        appliance.close()
        remote.shutdown()
    if args.write:
        scores = known | said
        ordered = {name: scores[name] for name in JUDGES if name in scores}
        readme.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: table(ordered), text, flags=re.DOTALL))
    for name, why in wrong.items():
        print(f"{name}: {why}")
    # What is written is what is known from now on.
    sys.exit(any(name not in said for name in wrong) if args.write else bool(wrong))


if __name__ == "__main__":
    main()
