"""What a person does with the page, whatever the test is about. Screenshots go to .cache/screenshots."""

import subprocess

from appliance import ROOT, wait_for
from playwright.sync_api import expect

SHOTS = ROOT / ".cache/screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE = {"width": 360, "height": 640}


def open_page(browser, appliance, path="/", **options):
    context = browser.new_context(ignore_https_errors=True, locale=options.pop("locale", "en-US"), **options)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    # What the content security policy forbids is told on the console alone.
    page.on("console", lambda message: page.problems.append(message.text) if "Content Security Policy" in message.text else None)
    page.goto(appliance.url + path)
    return page


def sign_in(page, passwd="admin", user="admin"):
    page.get_by_label("User").fill(user)
    page.get_by_label("Password", exact=True).fill(passwd)
    page.get_by_role("button", name="Sign in").click()


def console(browser, appliance, user="admin", passwd="admin", **options):
    """The page of somebody who has signed in and sees the screen."""
    page = open_page(browser, appliance, **options)
    sign_in(page, passwd, user)
    arrive(page)
    return page


def arrive(page):
    """The screen's page is there, and connected."""
    expect(page.locator("#stage")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


def see(page):
    """The target's picture is there. Playwright's own waiting evaluates a text in the page, which the page's policy forbids."""
    there = "document.getElementById('picture').naturalWidth > 100 && document.getElementById('notice').hidden"
    wait_for(lambda: page.evaluate(there), "the picture")


def leave(page):
    assert page.problems == []
    page.context.close()


def shot(page, name, **more):
    page.screenshot(path=SHOTS / f"{name}.png", **more)


def fits_a_phone(page):
    """Nothing sticks out of the page, and nothing to press is too small for a thumb."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], f"the page is {wide} px wide"
    small = page.eval_on_selector_all(
        "button, summary, select, .button, input:not([type=checkbox])",
        "all => all.filter(e => e.offsetParent && e.getBoundingClientRect().height < 44).map(e => e.outerHTML)",
    )
    assert small == []


def kvmctl(appliance, *words, typed=""):
    """The shell on the appliance."""
    program = ROOT / "target/debug/kvmctl"
    done = subprocess.run([program, "--state", appliance.state, *words], input=typed, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_user(appliance, user, role):
    """A user whose password is their name, long enough."""
    kvmctl(appliance, "passwd", "add", "-i", user, typed=f"{user} {user} {user}\n")
    kvmctl(appliance, "role", "set", user, role)
    return {"user": user, "passwd": f"{user} {user} {user}"}
