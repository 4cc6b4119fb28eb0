"""Text typed in every layout arrives as it was: what the keyboard sends is read by a model of a desktop with that layout.

The model is libxkbcommon with Debian's layouts and dead keys (target_keyboard.py). Ten thousand characters a layout (two thousand for the
less used), drawn by chance from all that our layout says it can type, go through the crate `hid` as a client's paste does; the model must
read the same text, with nothing left down, no key of the numeric pad used, and Caps Lock as it was. KVMD_TEST_PASTE=COUNT asks for that
many, of every layout.
"""

import json
import os
import random
import subprocess
import unicodedata

import pytest
from appliance import ROOT, wait_for
from fake_machine import appliance_with_fake_machine
from target_keyboard import TargetKeyboard

KEYMAPS = ROOT / "rootfs-overlay/usr/share/kvmd/keymaps"
COUNT = int(os.environ.get("KVMD_TEST_PASTE", "0"))
MOST_USED = {"de", "en-gb", "en-us", "en-us-altgr-intl", "es", "fr", "it", "ja", "pl", "pt-br", "ru", "sv", "tr"}

# The name of ours, and what the target has chosen of X11's.
LAYOUTS = {
    "ar": ("ara", ""), "bepo": ("fr", "bepo"), "cz": ("cz", ""), "da": ("dk", ""), "de": ("de", ""), "de-ch": ("ch", "de"),
    "en-gb": ("gb", ""), "en-us": ("us", ""), "en-us-altgr-intl": ("us", "altgr-intl"), "en-us-colemak": ("us", "colemak"),
    "es": ("es", ""), "et": ("ee", ""), "fi": ("fi", ""), "fo": ("fo", ""), "fr": ("fr", ""), "fr-be": ("be", ""),
    "fr-ca": ("ca", ""), "fr-ch": ("ch", "fr"), "hr": ("hr", ""), "hu": ("hu", ""), "is": ("is", ""), "it": ("it", ""),
    "ja": ("jp", ""), "lt": ("lt", ""), "lv": ("lv", ""), "mk": ("mk", ""), "nl": ("nl", ""), "no": ("no", ""), "pl": ("pl", ""),
    "pt": ("pt", ""), "pt-br": ("br", ""), "ru": ("ru", ""), "sl": ("si", ""), "sv": ("se", ""), "th": ("th", ""), "tr": ("tr", ""),
}  # fmt: skip
# One key, two letters: desktops replace the ligature by what it is made of.
LIGATURES = set("ﻵﻷﻹﻻ")
# Typed as their typewriter forms, where the layout has those.
TYPOGRAPHIC = dict(zip("‚‘’„“”–", "'''\"\"\"-")) | {"—": "--"}


def as_typed(text, typable):
    forms = {fancy: plain for fancy, plain in TYPOGRAPHIC.items() if plain[0] in typable}
    return "".join(forms.get(character, character) for character in text)


@pytest.fixture(scope="module")
def typist():
    """Asks the crate: (layout, Caps Lock's light, text) gives what the target would get."""
    build = ["cargo", "build", "--locked", "--quiet", "-p", "hid", "--example", "paste", "--message-format", "json"]
    built = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    programs = [message.get("executable") for message in map(json.loads, built.splitlines()) if message.get("target", {}).get("name") == "paste"]
    process = subprocess.Popen([programs[-1], str(KEYMAPS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(layout, caps, text):
        process.stdin.write(json.dumps([layout, caps, text]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait()


def read(reports, layout, caps=False):
    """What the target makes of the reports."""
    target = TargetKeyboard(*LAYOUTS[layout], caps_lock=caps)
    for report in reports:
        target.report(bytes.fromhex(report))
    text, at_rest, caps_after, keypad = target.text, not target.down, target.caps_lock, target.keypad_used
    target.close()
    assert at_rest, "something is still pressed"
    assert caps_after == caps
    assert not keypad, "the numeric pad types what Num Lock says"
    return text


def test_every_shipped_layout_is_judged():
    assert {path.name for path in KEYMAPS.iterdir()} == set(LAYOUTS)


def test_the_shipped_files_are_what_the_script_makes():
    check = subprocess.run([ROOT / "scripts/make-keymaps", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
    # With another version of the packages nothing is looked at: that is no pass.
    if unseen := [line for line in check.stdout.splitlines() if line.startswith("not compared")]:
        pytest.skip("; ".join(unseen))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_target_reads_what_was_pasted(typist, layout):
    typable = typist(layout, False, None)["typable"]
    generator = random.Random(f"paste {layout}")
    # All of them at least once.
    text = "".join(generator.sample(typable, len(typable)))
    count = COUNT or (10_000 if layout in MOST_USED else 2000)
    text += "".join(generator.choices(typable, k=count - len(text)))
    answer = typist(layout, False, text)
    assert answer["untypable"] == ""
    expected, seen = as_typed(text, typable), read(answer["reports"], layout)
    wrong = sum(a != b for a, b in zip(expected, seen)) + abs(len(expected) - len(seen))
    print(f"{layout}: {len(text)} characters, {len(set(text))} different, {len(answer['reports'])} reports, {wrong} wrong")
    first = next((i for i, (a, b) in enumerate(zip(expected, seen)) if a != b), min(len(expected), len(seen)))
    assert seen == expected, f"{wrong} wrong, the first at {first}: {expected[first:first + 10]!r} was read as {seen[first:first + 10]!r}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_key_of_the_target_types_can_be_pasted(typist, layout):
    """The other way around: nothing that the target has on a key is called untypable."""
    target = TargetKeyboard(*LAYOUTS[layout])
    plain = {c for c in target.plainly_typed() if unicodedata.category(c)[0] != "C" and c not in LIGATURES}
    target.close()
    missing = plain - set(typist(layout, False, None)["typable"])
    print(f"{layout}: {len(plain)} characters on keys")
    assert missing == set()


@pytest.mark.parametrize("layout", ["de", "en-us", "fr", "ja", "ru", "tr"])
def test_caps_lock_at_the_target_changes_nothing(typist, layout):
    typable = [c for c in typist(layout, False, None)["typable"] if c not in TYPOGRAPHIC]
    text = "".join(random.Random(f"caps {layout}").choices(typable, k=1000))
    assert read(typist(layout, True, text)["reports"], layout, caps=True) == text


def test_the_judge_would_notice_a_wrong_layout(typist):
    """German text on a keyboard that the target takes for a US one: y and z change places, and so on."""
    text = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich."
    reports = typist("de", False, text)["reports"]
    assert read(reports, "de") == text
    assert read(reports, "en-us") != text
    # Caps Lock that nobody told us of.
    target = TargetKeyboard("de", caps_lock=True)
    for report in reports:
        target.report(bytes.fromhex(report))
    assert target.text != text


def test_what_cannot_be_typed_is_named(typist):
    answer = typist("ru", False, "привет, ls 你好 ls")
    assert answer["untypable"] == "ls你好"
    assert read(answer["reports"], "ru") == "привет,   "


# QEMU's names of keys, by Linux's numbers.
QCODES = dict(zip("qwertyuiop", range(16, 26))) | dict(zip("asdfghjkl", range(30, 39))) | dict(zip("zxcvbnm", range(44, 51)))
QCODES |= dict(zip("1234567890", range(2, 12))) | {"minus": 12, "equal": 13, "tab": 15, "bracket_left": 26, "bracket_right": 27, "ret": 28}
QCODES |= {"semicolon": 39, "apostrophe": 40, "grave_accent": 41, "shift": 42, "backslash": 43, "comma": 51, "dot": 52, "slash": 53, "spc": 57}
QCODES |= {"less": 86, "alt_r": 100}


def test_a_client_s_paste_reaches_a_machine():
    """The whole way: HTTP, the daemon, the driver for virtual machines; the machine only notes its keys."""
    text = "Zwölf Boxkämpfer (à 100 €) jagen\tViktor: «é~^`» — \\o/ {[@]}\r\nÜber den Sylter Deich\n"
    with appliance_with_fake_machine() as (appliance, machine):
        answer = appliance.request("POST", "/api/hid/print?limit=0&keymap=de", data=text.encode())
        assert answer.json() == {"ok": True, "result": {}}
        wait_for(lambda: machine.keys and machine.keys[-1] == ("ret", False), "the last stroke to arrive")
        target = TargetKeyboard(*LAYOUTS["de"])
        for name, pressed in machine.keys:
            target.key(QCODES[name], pressed)
    assert target.text == text.replace("\r", "").replace("—", "--")
