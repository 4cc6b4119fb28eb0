"""The web page in headless Chromium, as a person uses it. Screenshots go to .cache/screenshots."""

import json

from appliance import ROOT, wait_for
from person import PHONE, fits_a_phone, open_page, see, shot, sign_in
from playwright.sync_api import expect


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
    page = open_page(browser, pattern, viewport=PHONE)
    sign_in(page)
    expect(page.locator("#banner")).to_be_hidden()
    shot(page, "phone-console")
    page.locator("#power > summary").click()
    fits_a_phone(page)
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
    see(page)
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
