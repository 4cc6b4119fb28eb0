"""One types at a time: who has keyboard and mouse, asking for them, handing them over, taking them."""

import pytest
from appliance import Appliance
from person import add_user, console, leave, shot
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def shared():
    """An appliance on which one person at a time types."""
    made = Appliance("pattern", settings="kvmd: {hid: {one_holder: true}}\n")
    yield made
    made.close()


@pytest.fixture(scope="module")
def people(shared):
    return {user: add_user(shared, user, role) for user, role in [("bob", "operator"), ("carol", "viewer")]}


def press(page, key):
    page.locator("#stage").click()
    page.keyboard.press(key)


def title(page):
    return page.locator("#holder > summary")


def panel(page):
    """The menu, opened."""
    if not page.locator("#holder .panel").is_visible():
        title(page).click()
    return page.locator("#holder .panel")


def test_keyboard_and_mouse_are_asked_for_handed_over_and_taken(browser, shared, people):
    admin, bob, carol = console(browser, shared), console(browser, shared, **people["bob"]), console(browser, shared, **people["carol"])
    expect(title(admin)).to_contain_text("Typing: nobody")
    press(admin, "KeyA")
    expect(title(admin)).to_contain_text("Typing: you")
    for other in [bob, carol]:
        expect(title(other)).to_contain_text("Typing: admin")

    press(bob, "KeyB")
    expect(bob.locator("#toast")).to_contain_text("admin has keyboard and mouse. Ask for them")
    assert shared.result("/api/hid/holder")["holder"]["user"] == "admin", "who presses a key takes nothing away"
    panel(bob).get_by_role("button", name="Ask for them").click()
    expect(panel(bob)).to_contain_text("You asked for them: number 1 in line.")
    expect(panel(bob).get_by_role("button", name="Take them")).to_be_hidden()
    expect(admin.locator("#holder [data-role=badge]")).to_have_text("1")
    shot(admin, "holder-asked")
    expect(panel(carol)).to_contain_text("bob asks for them")
    expect(panel(carol).get_by_role("button")).to_have_count(0)

    panel(admin).get_by_role("button", name="Hand over to bob").click()
    expect(title(bob)).to_contain_text("Typing: you")
    expect(title(admin)).to_contain_text("Typing: bob")
    press(admin, "KeyC")
    assert shared.result("/api/hid/holder")["holder"]["user"] == "bob"
    shot(admin, "holder-other")

    panel(admin).get_by_role("button", name="Take them").click()
    expect(title(admin)).to_contain_text("Typing: you")
    panel(admin).get_by_role("button", name="Give them up").click()
    expect(title(bob)).to_contain_text("Typing: nobody")
    press(bob, "KeyD")
    expect(title(admin)).to_contain_text("Typing: bob")
    # Who leaves holds nothing.
    leave(bob)
    expect(title(admin)).to_contain_text("Typing: nobody")
    leave(carol)
    leave(admin)


def test_where_everybody_types_at_once_there_is_no_such_menu(browser, pattern):
    page = console(browser, pattern)
    expect(page.locator("#keyboard")).to_be_visible()
    expect(page.locator("#holder")).to_be_hidden()
    leave(page)
