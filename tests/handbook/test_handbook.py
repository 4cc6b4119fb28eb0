"""The handbook says nothing that is not there: links, files, verbs of kvmctl, paths of the API, settings, error classes.

That its steps lead where they say, the image tests show; this is quick, and fails when something is renamed.
"""

import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/handbook").glob("*.md"))
PROSE = [*PAGES, ROOT / "docs/security.md", ROOT / "docs/ports.md"]
KVMCTL = ROOT / "target" / ("release" if os.environ.get("KVMD_PROFILE") == "release" else "debug") / "kvmctl"


def found(pattern, pages=PROSE):
    """Every match in the pages, with the page it was first seen on."""
    seen = {}
    for page in pages:
        for match in re.findall(pattern, page.read_text(), re.MULTILINE):
            seen.setdefault(match, page.name)
    assert seen, f"no page has {pattern}: the test looks for the wrong thing"
    return sorted(seen.items())


def anchors(page):
    """The anchors of a page's headings, as they are made from them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target} is no heading there"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/handbook/README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    assert len(page.read_text().splitlines()) <= 110, "whoever reads this has no time"


@pytest.mark.parametrize("path, page", found(r"\b((?:scripts|board)/[\w./-]*\w)"))
def test_scripts_and_boards_are_there(path, page):
    assert (ROOT / path).exists(), f"{page}: {path}"


def verbs():
    """What the pages say after kvmctl, up to the first word that is a value."""
    for line, page in found(r"kvmctl((?: [a-z][a-z-]+)+)"):
        yield tuple(line.split()), page


@pytest.mark.skipif(not KVMCTL.exists(), reason=f"{KVMCTL} is not built")
@pytest.mark.parametrize("words, page", verbs(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_kvmctl_knows_its_verbs(words, page):
    """A word that is no verb has to be a value of the verb before it."""
    commands = lambda said: re.findall(r"^  ([a-z-]+) ", said.partition("Commands:")[2].partition("Options:")[0], re.MULTILINE)  # noqa: E731
    known, path = commands(says()), []
    for word in words:
        if known:
            assert word in known, f"{page}: kvmctl {' '.join(words)}: {word} is none of {known}"
            path.append(word)
            known = commands(says(*path))
        else:
            assert "<" in says(*path).partition("\n\n")[2].partition("Options")[0] or "[" in says(*path), f"{page}: kvmctl {' '.join(path)} takes nothing, not {word}"
            break


def says(*words):
    done = subprocess.run([KVMCTL, *words, "--help"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("label, page", found(r"(?:[Pp]ress|[Mm]enu|\*\*System settings\*\*,) \*\*([^*]+)\*\*|\*\*(System settings)\*\*", PAGES))
def test_what_is_to_be_pressed_is_on_the_page(label, page):
    assert "".join(label) in json.loads((ROOT / "web/share/i18n/en.json").read_text()).values(), f"{page}: {label}"


def sources(crate):
    return "\n".join(path.read_text() for path in (ROOT / "daemons" / crate / "src").rglob("*.rs"))


@pytest.mark.parametrize("path, page", found(r"/api((?:/[a-z_]+)+)"))
def test_paths_of_the_api_are_routes(path, page):
    assert re.search(rf'Entry::\w+\("{re.escape(path)}"', sources("api")), f"{page}: /api{path}"


@pytest.mark.parametrize("key, page", found(r"`((?:kvmd|supervisor|nginx|otg)\.[a-z_.]+[a-z])(?:\.\*)?`"))
def test_settings_are_settings(key, page):
    assert f"`{key}`" in (ROOT / "docs/configuration.md").read_text() or f"`{key}." in (ROOT / "docs/configuration.md").read_text(), f"{page}: {key}"


@pytest.mark.parametrize("name, page", found(r"`(\w+Error)`"))
def test_error_classes_are_classes(name, page):
    assert name in sources("model"), f"{page}: {name}"


def test_all_keys_of_a_pre_seed_are_explained_and_no_others():
    known = re.search(r'let known = "([^"]+)"', (ROOT / "daemons/supervisor/src/preseed.rs").read_text())[1].split(", ")
    page = (ROOT / "docs/handbook/preseed.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(known)
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    assert sorted(re.findall(r"^(\w+):", example, re.MULTILINE)) == sorted(known)


def test_the_first_partition_is_where_the_pages_say():
    """Commands that reach into an image name its offset."""
    align = re.search(r"align=(\d+)", (ROOT / "scripts/image/disk.sh").read_text())[1]
    assert {offset for offset, _ in found(r"card\.img@@(\d+)M")} == {align}
    rows = [line.split() for line in (ROOT / "board/partitions").read_text().splitlines() if line and not line.startswith("#")]
    assert rows[0][0] == "sel" and f"{rows[0][1]} MB, label `{rows[0][3]}`" in (ROOT / "docs/handbook/preseed.md").read_text()
    assert rows[5][0] == "data", "recovery.md: the sixth"


def test_the_lines_of_the_front_panel_are_those_of_the_board():
    board = (ROOT / "board/rpi4/main.yaml").read_text()
    page = (ROOT / "docs/handbook/wiring.md").read_text()
    for line, key in {"power button": "power_switch_pin", "reset button": "reset_switch_pin", "power light": "power_led_pin", "disk light": "hdd_led_pin"}.items():
        pin = re.search(rf"{key}: (\d+)", board)[1]
        assert re.search(rf"^\| {line} \| {pin} \|", page, re.MULTILINE), f"{line}: GPIO {pin}"
