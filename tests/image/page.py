"""The web page of an appliance in headless Chromium, with the patience that an emulated machine takes. Screenshots go to .cache/screenshots."""

import contextlib
import time

from appliance import ROOT, wait_for
from machine import PASSWORD, USER, patience
from playwright.sync_api import expect, sync_playwright

SHOTS = ROOT / ".cache/screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextlib.contextmanager
def open_page(machine):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        context = chromium.new_context(ignore_https_errors=True, locale="en-US", viewport={"width": 1280, "height": 800})
        context.set_default_timeout(patience(120) * 1000)
        expect.set_options(timeout=patience(120) * 1000)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(machine.url + "/")
        yield page
        chromium.close()


def shot(page, name):
    page.screenshot(path=SHOTS / f"image-{name}.png")


def claim(machine, code, name, zone):
    """Claims the appliance, up to the target's picture; what was seen, and how long it took."""
    began = time.monotonic()
    with open_page(machine) as page:
        first = page.url
        # What the device says of itself comes after the page.
        expect(page.locator("[name=hostname]")).not_to_have_value("")
        shot(page, "claim")
        page.locator("[name=code]").fill(code)
        page.locator("[name=passwd]").fill(PASSWORD)
        page.locator("[name=hostname]").fill(name)
        page.locator("[name=timezone]").select_option(zone)
        shot(page, "claim-filled")
        page.locator("#claim button.main").click()
        expect(page).to_have_url(f"{machine.url}/")
        expect(page.locator("#stage")).to_be_visible()
        expect(page.locator("#banner")).to_be_hidden()
        # Playwright's own waiting evaluates a text in the page, which the page's content security policy forbids.
        there = "document.getElementById('picture').naturalWidth > 100 && document.getElementById('notice').hidden"
        wait_for(lambda: page.evaluate(there), "the picture", patience(120))
        width = page.evaluate("document.getElementById('picture').naturalWidth")
        shot(page, "console")
        pages = [url.removeprefix(machine.url) for url in (first, page.url)]
        return {"first page": pages[0], "last page": pages[1], "picture": width, "problems": page.problems, "seconds": time.monotonic() - began}


def update(machine, bundle):
    """Installs a bundle as a person does, and lets the appliance restart; what the page said, each text once, and the seconds it took."""
    said = []
    # The target's picture would take most of an emulated processor.
    machine.post("/api/streamer/set_params?desired_fps=1&quality=10")
    began = time.monotonic()
    with open_page(machine) as page:
        page.locator("#user, [name=user]").first.fill(USER)
        page.locator("input[type=password]").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        menu = page.locator("#update")
        menu.locator("> summary").click()
        menu.locator("[data-role=file]").set_input_files(bundle)
        page.locator("#confirm [value=ok]").click()
        restart = menu.locator("[data-role=restart]")
        deadline = time.monotonic() + patience(600)
        shots = set()
        while not restart.is_visible():
            text = menu.locator("[data-role=state]").inner_text()
            why = menu.locator("[data-role=why]")
            assert not why.is_visible(), why.inner_text()
            if text and text not in said:
                said.append(text)
            word = text.split(" ")[0]
            if word not in shots:
                shots.add(word)
                shot(page, f"update-{len(shots)}")
            assert time.monotonic() < deadline, f"the page says {said[-5:]}"
            page.wait_for_timeout(200)
        took = time.monotonic() - began
        shot(page, "update-ready")
        restart.click()
        with page.expect_response("**/api/system/update/reboot") as answer:
            page.locator("#confirm [value=ok]").click()
        assert answer.value.status == 200
        return {"said": said, "seconds": took, "problems": page.problems}
