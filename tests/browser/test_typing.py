"""The dialog that types a text: what cannot be typed is marked before."""

import re

from person import PHONE, console, fits_a_phone, leave, shot
from playwright.sync_api import expect


def open_dialog(page):
    page.locator("#keyboard > summary").click()
    page.get_by_role("button", name="Type text…").click()
    return page.locator("#type-text")


def test_what_a_layout_cannot_type_is_marked_before_anything_is_typed(browser, pattern):
    page = console(browser, pattern)
    typed = []
    page.on("request", lambda request: typed.append(request) if re.search(r"hid/print\?", request.url) else None)
    dialog = open_dialog(page)
    button = dialog.get_by_role("button", name="Type", exact=True)
    expect(button).to_be_disabled()
    dialog.get_by_label("Text to type").fill("Grüße, 漢字!\n")
    expect(dialog.locator("mark")).to_have_text(["ü", "ß", "漢", "字"])
    expect(dialog.get_by_role("status")).to_contain_text("The layout en-us cannot type: ü (U+00FC)")
    expect(button).to_be_disabled()
    shot(page, "typing-marked")

    dialog.get_by_label("Layout").select_option("de")
    expect(dialog.locator("mark")).to_have_text(["漢", "字"])
    expect(button).to_be_disabled()
    dialog.get_by_label("Type nothing if a character cannot be typed").uncheck()
    expect(dialog.get_by_role("status")).to_contain_text("they are left out: 漢 (U+6F22)  字 (U+5B57)")
    button.click()
    expect(page.get_by_text("The text is typed.")).to_be_visible()
    assert [re.findall("keymap=de.*strict=false", request.url) != [] for request in typed] == [True]
    leave(page)


def test_accents_that_were_written_apart_are_one_letter(browser, pattern):
    page = console(browser, pattern)
    dialog = open_dialog(page)
    dialog.get_by_label("Layout").select_option("de")
    dialog.get_by_label("Text to type").fill("Gru\u0308n")
    expect(dialog.get_by_role("status")).to_have_text("All of it can be typed.")
    expect(dialog.get_by_role("button", name="Type", exact=True)).to_be_enabled()
    leave(page)


def test_typing_can_be_stopped(browser, pattern):
    page = console(browser, pattern)
    dialog = open_dialog(page)
    dialog.get_by_label("Text to type").fill("all work and no play " * 2000)
    dialog.get_by_label("Slowly").check()
    dialog.get_by_role("button", name="Type", exact=True).click()
    dialog.get_by_role("button", name="Stop typing").click()
    expect(page.get_by_text("Typing was stopped.")).to_be_visible()
    expect(dialog.get_by_label("Text to type")).to_have_value(re.compile("^all work"))
    expect(dialog.get_by_role("button", name="Type", exact=True)).to_be_enabled()
    leave(page)


def test_the_dialog_fits_a_phone(browser, pattern):
    page = console(browser, pattern, viewport=PHONE)
    dialog = open_dialog(page)
    dialog.get_by_label("Text to type").fill("漢字 " * 200)
    expect(dialog.locator("mark").first).to_be_visible()
    fits_a_phone(page)
    expect(dialog.get_by_role("button", name="Close")).to_be_in_viewport()
    shot(page, "phone-typing")
    leave(page)
