"""The web page in headless Chromium, as a person uses it. Screenshots go to .cache/screenshots."""

import json

import pytest
from appliance import ROOT, wait_for
from playwright.sync_api import expect, sync_playwright

SHOTS = ROOT / ".cache/screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        yield chromium
        chromium.close()


def open_page(browser, appliance, **options):
    context = browser.new_context(ignore_https_errors=True, locale=options.pop("locale", "en-US"), **options)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(appliance.url + "/")
    return page


def sign_in(page, passwd="admin"):
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password", exact=True).fill(passwd)
    page.get_by_role("button", name="Sign in").click()


def shot(page, name):
    page.screenshot(path=SHOTS / f"{name}.png")


def test_a_wrong_password_is_explained(browser, pattern):
    page = open_page(browser, pattern)
    expect(page).to_have_url(f"{pattern.url}/login/")
    sign_in(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong user, password or code.")
    shot(page, "login-wrong")
    page.context.close()


def test_the_page_speaks_chinese(browser, pattern):
    page = open_page(browser, pattern, locale="zh-CN")
    expect(page.get_by_role("heading")).to_have_text("登录")
    shot(page, "login-zh")
    page.context.close()


def test_the_owner_s_language_is_everybody_s_until_they_choose_another(browser, pattern):
    page = open_page(browser, pattern)
    sign_in(page)
    expect(page.locator("#stage")).to_be_visible()
    page.goto(pattern.url + "/system/")
    page.locator("#speech select").select_option("zh-CN")
    page.locator("#speech button").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    shot(page, "settings-language")
    page.context.close()

    page = open_page(browser, pattern)
    expect(page.get_by_role("heading")).to_have_text("登录")
    page.locator("#language").select_option("en")
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    pattern.post("/api/system/language?name=en")
    assert page.problems == []
    page.context.close()


def test_every_language_has_every_text():
    texts = {file.stem: json.loads(file.read_text()) for file in (ROOT / "web/share/i18n").glob("*.json")}
    assert len(texts) >= 2
    for code, known in texts.items():
        assert set(known) == set(texts["en"]), code


def test_a_phone_can_use_it(browser, pattern):
    page = open_page(browser, pattern, viewport={"width": 360, "height": 640})
    sign_in(page)
    expect(page.locator("#banner")).to_be_hidden()
    shot(page, "phone-console")
    page.locator("#power > summary").click()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, f"the page is {wide} px wide"
    small = page.eval_on_selector_all(
        "button, summary, select, .button", "all => all.filter(e => e.offsetParent && e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"
    )
    assert small == []
    shot(page, "phone")
    assert page.problems == []
    page.context.close()


def test_signing_out_leads_to_the_login_page(browser, pattern):
    page = open_page(browser, pattern)
    sign_in(page)
    page.locator("#system > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{pattern.url}/login/")
    page.goto(pattern.url + "/")
    expect(page).to_have_url(f"{pattern.url}/login/")
    page.context.close()


def test_a_person_types_powers_and_boots_from_an_upload(browser, machine):
    page = open_page(browser, machine, viewport={"width": 1280, "height": 800})
    sign_in(page)
    expect(page.locator("#light-power")).to_have_attribute("data-look", "good")
    page.wait_for_function("document.getElementById('picture').naturalWidth > 100 && document.getElementById('notice').hidden")
    machine.wait_screen("KVM TARGET READY")
    page.locator("#stage").click()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+KeyF")
    page.keyboard.type("rom the browser")
    page.keyboard.press("Enter")
    assert "typed: From" in machine.wait_screen("You typed: From the browser")
    shot(page, "console")

    page.locator("#power > summary").click()
    page.get_by_role("button", name="Force off (long press)").click()
    expect(page.locator("#confirm")).to_be_visible()
    shot(page, "power-confirm")
    page.locator("#confirm [value=ok]").click()
    expect(page.locator("#light-power")).to_have_attribute("data-look", "idle", timeout=30_000)
    expect(page.locator("#notice")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Turn on").click()
    page.locator("#confirm [value=ok]").click()
    expect(page.locator("#light-power")).to_have_attribute("data-look", "good", timeout=30_000)

    page.locator("#drive > summary").click()
    page.locator("#drive [data-role=file]").set_input_files(ROOT / ".cache/target/rescue.iso")
    expect(page.locator("#drive [data-role=image]")).to_have_value("rescue.iso", timeout=120_000)
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("#drive [data-role=state]")).to_contain_text("Connected: rescue.iso")
    shot(page, "drive")
    page.locator("#power > summary").click()
    page.get_by_role("button", name="Reset", exact=True).click()
    page.locator("#confirm [value=ok]").click()
    machine.wait_screen("RESCUE ISO READY")
    shot(page, "rescue")
    page.locator("#drive > summary").click()
    page.get_by_role("button", name="Disconnect").click()
    page.get_by_role("button", name="Delete image").click()
    page.locator("#confirm [value=ok]").click()
    wait_for(lambda: machine.result("/api/msd")["storage"]["images"] == {}, "the image to be deleted")
    machine.post("/api/atx/click?button=reset&wait=1")
    assert page.problems == []
    page.context.close()
