"""The page of the API in headless Chromium."""

import json

from appliance import ROOT
from person import PHONE, arrive, leave, open_page, shot, sign_in
from playwright.sync_api import expect


def test_every_call_is_found_by_keyboard_and_says_how_it_is_tried(browser, pattern):
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    calls = sum(len(item) for path, item in document["paths"].items() if not path.startswith("/api/redfish"))
    page = open_page(browser, pattern)
    sign_in(page)
    arrive(page)
    page.goto(pattern.url + "/docs/")
    expect(page.get_by_role("status").first).to_have_text(f"{calls} calls")
    shot(page, "docs")

    page.get_by_label("Find: a path, a word, a parameter, a role").focus()
    page.keyboard.type("power action atx")
    expect(page.get_by_role("status").first).to_have_text("2 calls")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('details')?.id") == "post_atx_power":
            break
    page.keyboard.press("Enter")
    call = page.locator("#post_atx_power")
    expect(call).to_contain_text("Needs: operator. It changes something.")
    expect(call).to_contain_text("ValidatorError, AtxDisabledError")
    expect(call.locator("pre").last).to_have_text(f"curl -k -u admin -X POST '{pattern.url}/api/atx/power?action=on'")
    shot(page, "docs-power")

    page.get_by_label("Find: a path, a word, a parameter, a role").fill("")
    page.get_by_label("Only what changes something").check()
    # The only one that tells and, with a switch, changes.
    for changes in ("#get_streamer_snapshot", "#post_atx_power"):
        expect(page.locator(changes)).to_be_visible()
    expect(page.locator("#get_atx")).to_be_hidden()
    leave(page)


def test_each_call_opens_in_chinese_on_a_phone(browser, pattern):
    page = open_page(browser, pattern, locale="zh-CN", viewport=PHONE)
    page.get_by_label("用户名").fill("admin")
    page.get_by_label("密码", exact=True).fill("admin")
    page.get_by_role("button", name="登录").click()
    arrive(page)
    page.goto(pattern.url + "/docs/#post_msd_write")
    expect(page.locator("#post_msd_write")).to_contain_text("操作员")
    page.evaluate("for (const call of document.querySelectorAll('details')) call.open = true")
    expect(page.locator("details > div")).to_have_count(page.locator("details").count())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    shot(page, "docs-phone")
    leave(page)
